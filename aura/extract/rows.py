"""From documents to rows of a shard: cleaned, hashed, named, with affect vectors. Runs in worker processes."""

import io
from collections.abc import Iterable
from dataclasses import dataclass, field

import pyarrow as pa
import xxhash

from aura.corpus.corpus import SCHEMA, text_hash
from aura.extract import accounts
from aura.extract.accounts import FileAccount
from aura.extract.documents.affect import Lexicon, affect_vectors
from aura.extract.documents.cleaning import clean
from aura.extract.documents.compression import Damaged, decompressed
from aura.extract.documents.document import Continued, Item, Lost
from aura.extract.documents.impostors import HEAD_BYTES, impostor
from aura.extract.documents.readers import documents, named_encoding, one_document_per_file
from aura.extract.documents.regular_files import read_regular
from aura.extract.documents.txt_files import whole_file
from aura.extract.options import Extract, Source
from aura.extract.sources.input_files import InputFile, unreadable


@dataclass(frozen=True)
class Recipe:
    """Everything but the files that decides what extraction makes of a source."""

    name: str
    source: Source
    settings: Extract
    lexicon: Lexicon


@dataclass
class Extracted:
    """Documents, in the order of the files, and the files' accounts."""

    documents: pa.Table
    accounts: pa.Table


@dataclass
class _Rows:
    """Rows under way: a list for each column that is not computed from the others."""

    recipe: Recipe
    texts: list[bytes] = field(default_factory=list)
    docs: list[str] = field(default_factory=list)
    hashes: list[bytes] = field(default_factory=list)

    def add(self, account: FileAccount, items: Iterable[Item], first: int = 0) -> None:
        """Clean the documents of a file, of which the first given here has the number `first`."""
        settings, encoding = self.recipe.settings, named_encoding(self.recipe.source)
        single = one_document_per_file(self.recipe.source)
        for number, item in enumerate(items, start=first):
            if isinstance(item, Lost):
                account.lose(item, "")
                continue
            account.bytes_decoded += len(item)
            account.cut += isinstance(item, Continued)
            text = clean(item, settings.invalid_text, settings.min_chars, encoding)
            if isinstance(text, Lost):
                account.lose(text, f"document {number + 1}", len(item))
                continue
            account.documents += 1
            account.bytes_kept += len(text)
            self.texts.append(text)
            self.docs.append(account.file if number == 0 and single else f"{account.file}#{number}")
            self.hashes.append(text_hash(text))

    def table(self) -> pa.Table:
        """The rows as a table of the corpus's schema."""
        affect = affect_vectors(self.texts, self.recipe.lexicon)
        columns = (self.texts, self.docs, [self.recipe.name] * len(self.docs), affect, self.hashes)
        arrays = [
            values if isinstance(values, pa.Array) else pa.array(values, column.type)
            for values, column in zip(columns, SCHEMA, strict=True)
        ]
        return pa.Table.from_arrays(arrays, schema=SCHEMA)


def extract_files(files: Iterable[InputFile], recipe: Recipe) -> Extracted:
    """Read and clean whole files."""
    rows, found = _Rows(recipe), []
    for file in files:
        account = FileAccount(file.name)
        limit = recipe.settings.max_document_bytes
        rows.add(account, documents_of(file, recipe.source, limit, account))
        file.require(account.digest)
        found.append(account)
    return Extracted(rows.table(), accounts.table(found))


def extract_items(file: str, first: int, items: list[Item], digest: str, recipe: Recipe) -> Extracted:
    """Clean a block of a large file's documents, of which the first has the number `first`."""
    rows, account = _Rows(recipe), FileAccount(file, digest=digest)
    rows.add(account, items, first)
    return Extracted(rows.table(), accounts.table([account]))


def documents_of(file: InputFile, source: Source, limit: int, account: FileAccount) -> Iterable[Item]:
    """The documents of a file, raw and cut at `limit` bytes; enters in its account the bytes that it read."""
    if file.problem:
        account.digest = file.problem
        return [Lost(file.problem)]
    try:
        data = read_regular(file.place)
    except OSError as error:
        account.digest = unreadable(error)
        return [Lost(account.digest)]
    account.bytes_read = len(data)
    account.digest = xxhash.xxh3_128_hexdigest(data)
    if reason := impostor(source.kind, file.name, data[:HEAD_BYTES]):
        return [Lost(reason)]
    try:
        data = decompressed(file.name, data)
    except Damaged as error:
        return [Lost(str(error))]
    account.bytes_decompressed = len(data)
    plain = source.kind == "txt" and source.documents == "file" and not source.encoding
    if plain and (whole := whole_file(data, limit)):
        return [whole]  # as `documents` would, in a tenth of the time: most corpora are such files
    return documents(source, io.BytesIO(data), limit)

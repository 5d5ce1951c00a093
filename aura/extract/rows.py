"""From documents to rows of a shard: cleaned, hashed, named, with affect vectors. Runs in worker processes."""

import io
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from aura.core import arrow
from aura.corpus.corpus import SCHEMA, text_hash
from aura.extract import accounts
from aura.extract.accounts import FileAccount
from aura.extract.cleaning import clean, clean_already
from aura.extract.options import Extract
from aura.extract.readers import documents, named_encoding, one_document_per_file
from aura.sources.documents.affect import Lexicon, affect_vectors
from aura.sources.documents.compression import Damaged, decompressed
from aura.sources.documents.document import Continued, Item, Lost
from aura.sources.documents.impostors import HEAD_BYTES, impostor
from aura.sources.documents.txt_files import whole_file
from aura.sources.input_files import InputFile, fetched_ahead, unreadable
from aura.sources.options import Source

arrow.use_system_memory()


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

    def add(
        self, account: FileAccount, items: Sequence[Item], first: int = 0, clean_ones: Set[int] = frozenset()
    ) -> None:
        """Clean the documents of a file, of which the first given here has the number `first`.

        `clean_ones` are the numbers of those that are known to be clean already.
        """
        settings, encoding = self.recipe.settings, named_encoding(self.recipe.source)
        texts, numbers = [], []
        for number, item in enumerate(items, start=first):
            text = item
            if not isinstance(item, Lost) and number not in clean_ones:
                text = clean(item, settings.invalid_text, settings.min_chars, encoding)
            if not isinstance(text, Lost):
                texts.append(text)
                numbers.append(number)
            elif isinstance(item, Lost):
                account.lose(item, "")
            else:
                account.lose(text, f"document {number + 1}", len(item))
        account.bytes_decoded += sum(len(item) for item in items if not isinstance(item, Lost))
        account.cut += sum(isinstance(item, Continued) for item in items)
        account.documents += len(texts)
        account.bytes_kept += sum(map(len, texts))
        single = one_document_per_file(self.recipe.source)
        self.texts += texts
        self.docs += [account.file if number == 0 and single else f"{account.file}#{number}" for number in numbers]
        self.hashes += map(text_hash, texts)

    def table(self) -> pa.Table:
        """The rows as a table of the corpus's schema."""
        affect = affect_vectors(self.texts, self.recipe.lexicon)
        columns = (_strings(self.texts), self.docs, [self.recipe.name] * len(self.docs), affect, self.hashes)
        arrays = [
            values if isinstance(values, pa.Array) else pa.array(values, column.type)
            for values, column in zip(columns, SCHEMA, strict=True)
        ]
        return pa.Table.from_arrays(arrays, schema=SCHEMA)


def _strings(texts: list[bytes]) -> pa.LargeStringArray:
    """Texts that are valid UTF-8 as Arrow's strings, put together in one copy."""
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))
    buffers = (pa.py_buffer(np.concatenate([[0], ends]).astype(np.int64)), pa.py_buffer(b"".join(texts)))
    return pa.LargeStringArray.from_buffers(len(texts), *buffers)


def extract_files(files: Iterable[InputFile], recipe: Recipe) -> Extracted:
    """Read and clean whole files."""
    rows, found = _Rows(recipe), []
    for file in fetched_ahead(files):
        account = FileAccount(file.name)
        limit = recipe.settings.max_document_bytes
        rows.add(account, list(documents_of(file, recipe.source, limit, account)))
        file.require(account.digest)
        found.append(account)
    return Extracted(rows.table(), accounts.table(found))


def extract_portions(
    account: FileAccount, items: Iterable[Item], first: int, recipe: Recipe
) -> Iterator[tuple[int, pa.Table]]:
    """Clean the documents of a large file, of which the first has the number `first`, some megabytes at a time.

    Yields how many numbers the documents have taken, those that were lost too, and the documents.
    """
    for held in _portions(items, recipe.settings.max_document_bytes // 4):
        rows = _Rows(recipe)
        found = clean_already([b"" if isinstance(item, Lost) else item for item in held], recipe.settings.min_chars)
        rows.add(account, held, first, set((first + np.flatnonzero(found)).tolist()))
        first += len(held)
        yield len(held), rows.table()


def _portions(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Items in lists of about `size` bytes; a loss counts as a few bytes, so that a file of losses is cut too."""
    held: list[Item] = []
    held_bytes = 0
    for item in items:
        held.append(item)
        held_bytes += 64 + (0 if isinstance(item, Lost) else len(item))
        if held_bytes >= size:
            yield held
            held, held_bytes = [], 0
    if held:
        yield held


def documents_of(file: InputFile, source: Source, limit: int, account: FileAccount) -> Iterable[Item]:
    """The documents of a file, raw and cut at `limit` bytes; enters in its account the bytes that it read."""
    if file.problem:
        account.digest = file.problem
        return [Lost(file.problem)]
    try:
        data = file.read()
    except OSError as error:
        account.digest = unreadable(error)
        return [Lost(account.digest)]
    account.bytes_read = len(data)
    account.digest = file.digest_of(data)
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

"""The shards of one chunk of a large file: recalled from the action cache, numbered anew, or made.

A chunk is read once and written once, by one task. Its shards are kept under the hash of its bytes and the number of
its first document, because its documents are named by their numbers in the file. Where only that number has changed,
the shards are copied with other names: that costs a quarter of making them.
"""

import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from aura.core.files import sha256_file
from aura.core.keys import action_key
from aura.corpus.corpus import SCHEMA
from aura.corpus.shards import ShardWriter
from aura.extract import readers
from aura.extract.accounts import FileAccount
from aura.extract.assembly import ExtractionRun
from aura.extract.chunks import Chunk, opened_now
from aura.extract.rows import Recipe, extract_portions
from aura.sources.documents import compression
from aura.sources.documents.compression import Damaged
from aura.sources.documents.document import Item, Lost
from aura.sources.documents.impostors import HEAD_BYTES, impostor
from aura.sources.documents.txt_files import Range
from aura.sources.input_files import UNREADABLE
from aura.storage.placement import Kept

_PLACE = re.compile(r"^(document|line|row) (\d+)")  # in a file, of what was lost


@dataclass(frozen=True)
class Made:
    """A chunk's shards where they belong, and the chunk's account: no table, of which each would take 13 kB."""

    account: FileAccount
    documents: int  # that it has, with those that were lost: so many numbers does it take
    digests: dict[str, str] = field(default_factory=dict)  # SHA-256 of each shard, by the name of its file
    kept: list[Kept] = field(default_factory=list)
    apart: bool = True  # False where its file cannot be read in parts; there are no shards then
    extracted: bool = True


@dataclass(frozen=True)
class Known:
    """The cache's knowledge about a chunk, wherever in its file it stood."""

    first: int
    line: int
    documents: int
    shards: int
    account: FileAccount

    def account_of(self, chunk: Chunk) -> FileAccount:
        """Its account, with the place of its first loss as it is in this chunk."""

        def moved(found: re.Match[str]) -> str:
            by = chunk.first - self.first if found[1] == "document" else chunk.line - self.line
            return f"{found[1]} {int(found[2]) + by}"

        return replace(self.account, first_bad=_PLACE.sub(moved, self.account.first_bad, count=1))


def known(chunk: Chunk, *, run: ExtractionRun) -> Known | None:
    """Return what the cache knows about a chunk."""
    entry = run.cache.get(_content_key(chunk, run))
    return Known(**entry.record | {"account": FileAccount(**entry.record["account"])}) if entry else None


def find(chunk: Chunk, *, run: ExtractionRun) -> Made | None:
    """The shards of a chunk that was made before, recalled to where they belong."""
    found = known(chunk, run=run)
    if found is None:
        return None
    kept, digests = [], {}
    for number in range(found.shards):
        path = _path(chunk, number, run)
        one = run.place.recall(run.cache, _shard_key(chunk, chunk.first, number, run), {"parquet": path})
        if one is None:
            return None
        kept.append(one)
        digests[path.name] = one.record["sha256"]
    return Made(found.account_of(chunk), found.documents, digests, kept, extracted=False)


def make(chunk: Chunk, *, run: ExtractionRun) -> Made:
    """Write the shards of a chunk and keep them; runs in a worker process."""
    chunk.require_unchanged()
    found = known(chunk, run=run)
    writing = _Writing(chunk, run)
    if found and found.first != chunk.first and _copied(found, writing):
        return writing.made(found.account_of(chunk), found.documents, extracted=False)
    account = FileAccount(chunk.file.name, digest=chunk.digest)
    documents = 0
    try:
        for number, table in extract_portions(account, _items(chunk, account, run.recipe), chunk.first, run.recipe):
            documents += number
            writing.add(table)
        writing.close()
    except Damaged as error:
        writing.forget()
        if chunk.span:
            return Made(account, 0, apart=False)
        read = account.bytes_read
        account = FileAccount(chunk.file.name, bytes_read=read, digest=chunk.digest)
        account.lose(Lost(str(error)), "")
        documents = 1
    chunk.require_unchanged()
    return writing.made(account, documents, extracted=True)


def forget(chunk: Chunk, *, run: ExtractionRun) -> None:
    """Take the shard of a part of a file away from where it would belong."""
    _path(chunk, 0, run).unlink(missing_ok=True)


class _Writing:
    """The shards of a chunk under way; one is closed and kept when it has the chunk's bytes of text."""

    def __init__(self, chunk: Chunk, run: ExtractionRun) -> None:
        self.chunk, self.run = chunk, run
        self.kept: list[Kept] = []
        self.digests: dict[str, str] = {}
        self.paths: list[Path] = []
        self.writer: ShardWriter | None = None
        self.bytes = 0

    def add(self, documents: pa.Table) -> None:
        """Write the next documents."""
        if not len(documents):
            return
        if self.writer is None:
            self.paths.append(_path(self.chunk, len(self.paths), self.run))
            self.writer, self.bytes = ShardWriter(self.paths[-1]), 0
        self.writer.add(documents)
        self.bytes += pc.sum(pc.binary_length(documents["text"])).as_py()
        if self.bytes >= self.chunk.shard_bytes and self.chunk.span is None:
            self.close()

    def close(self) -> None:
        """End the shard under way."""
        if self.writer is None:
            return
        self.writer.close()
        self.writer = None
        self.chunk.require_unchanged()  # before the cache has it under the hash of other bytes
        path, number = self.paths[-1], len(self.paths) - 1
        self.digests[path.name] = sha256_file(path)
        key = _shard_key(self.chunk, self.chunk.first, number, self.run)
        record = {"sha256": self.digests[path.name]}
        self.kept.append(self.run.place.keep(self.run.cache, key, record, {"parquet": path}))

    def forget(self) -> None:
        """Leave nothing of what was written."""
        if self.writer and self.writer.file:
            self.writer.file.close()
        for path in self.paths:
            path.unlink(missing_ok=True)
        self.writer, self.paths, self.kept, self.digests = None, [], [], {}

    def made(self, account: FileAccount, documents: int, *, extracted: bool) -> Made:
        """All that was written, as known to the cache from now on."""
        found = Known(self.chunk.first, self.chunk.line, documents, len(self.paths), account)
        if not self.chunk.digest.startswith(UNREADABLE):
            self.run.cache.put(_content_key(self.chunk, self.run), asdict(found), {})
        return Made(account, documents, self.digests, self.kept, extracted=extracted)


def _copied(found: Known, writing: _Writing) -> bool:
    """Copy the shards of a chunk that stood elsewhere in its file; False if the cache no longer has one of them."""
    chunk, run = writing.chunk, writing.run
    made_by = f"dvc repro extract@{run.recipe.name}"
    for number in range(found.shards):
        key = _shard_key(chunk, found.first, number, run)
        with run.place.opened(run.cache, key, "parquet", made_by) as file:
            if file is None:
                writing.forget()
                return False
            with pq.ParquetFile(file) as opened:
                for group in range(opened.num_row_groups):
                    table = opened.read_row_group(group, use_threads=False)
                    writing.add(_renamed(table, chunk.file.name, chunk.first - found.first))
        writing.close()
    return True


def _renamed(documents: pa.Table, file: str, by: int) -> pa.Table:
    """Documents of a file with other numbers in their names."""
    numbers = pc.cast(pc.utf8_slice_codeunits(documents["doc"], len(file) + 1), pa.int64())
    names = pc.binary_join_element_wise(f"{file}#", pc.cast(pc.add(numbers, by), pa.string()), "")
    return documents.set_column(SCHEMA.get_field_index("doc"), SCHEMA.field("doc"), names).cast(SCHEMA)


def _path(chunk: Chunk, number: int, run: ExtractionRun) -> Path:
    """The place of a shard: the file's, and its number there."""
    name = xxhash.xxh3_128_hexdigest(chunk.file.name.encode())
    return run.folder / f"{name}-{chunk.number + number:06d}.parquet"


def _content_key(chunk: Chunk, run: ExtractionRun) -> str:
    return action_key("chunk", run.namespace, chunk.content)


def _shard_key(chunk: Chunk, first: int, number: int, run: ExtractionRun) -> str:
    return action_key("shard of a chunk", run.namespace, chunk.content, first, number)


def _items(chunk: Chunk, account: FileAccount, recipe: Recipe) -> Iterator[Item]:
    """The documents of a chunk, with its sizes entered in its account; raises `Damaged`, perhaps at the last."""
    if chunk.digest.startswith(UNREADABLE) or chunk.file.problem:
        yield Lost(chunk.digest)
        return
    account.bytes_read = chunk.size
    limit = recipe.settings.max_document_bytes
    with opened_now(chunk.file) as file:
        if chunk.span is None:
            yield from _whole(chunk, file, account, recipe)
            return
        account.bytes_decompressed = chunk.size
        if chunk.span.groups:
            yield from readers.documents_of_part(
                recipe.source, readers.RowGroups(file, range(*chunk.span.groups), chunk.line), limit
            )
            return
        file.seek(chunk.span.start)
        part = Range(file, chunk.size, chunk.line)
        yield from readers.documents_of_part(recipe.source, part, limit)
        if part.ends_inside and not chunk.last:
            raise Damaged("a record that goes on behind the end of a chunk")


def _whole(chunk: Chunk, file: BinaryIO, account: FileAccount, recipe: Recipe) -> Iterator[Item]:
    """The documents of a file that is read as a stream."""
    name, source, limit = chunk.file.name, recipe.source, recipe.settings.max_document_bytes
    if reason := impostor(source.kind, name, file.read(HEAD_BYTES)):
        yield Lost(reason)
        return
    if not compression.is_compressed(name):
        account.bytes_decompressed = account.bytes_read
        file.seek(0)
        yield from readers.documents(source, file, limit)
        return
    with compression.as_stream(_counted(compression.blocks(name, file), account)) as stream:
        if source.kind == "parquet":
            with tempfile.TemporaryFile() as whole:  # Parquet is read from its end
                shutil.copyfileobj(stream, whole)
                whole.seek(0)
                yield from readers.documents(source, whole, limit)
        else:
            yield from readers.documents(source, stream, limit)
            while stream.read(compression.BLOCK_BYTES):  # to the checksum at its end, which vouches for all
                pass


def _counted(pieces: Iterator[bytes], account: FileAccount) -> Iterator[bytes]:
    for piece in pieces:
        account.bytes_decompressed += len(piece)
        yield piece

"""Packs: extracted documents in the action cache, a few hundred input files to an entry.

An entry per file would cost 30,000 files for 140 MB of text; an entry per 256 files would do all of them again
for one that changed. So a pack holds a batch of files and says which rows are whose: for a batch with a changed
file, the latest pack of its place gives the rows of the others, and only the changed file is read and cleaned.
Batches must not shift when a file comes or goes: one ends after a file whose hashed name falls below a chance
that grows with the file's size, as in content-defined chunking. The price is that a file which begins or ends a
batch, added or removed, has that one batch (256 files or 4 MB on average) extracted again.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import xxhash

from aura.cache import Cache, action_key
from aura.ingestion.readers import InputFile

BATCH_FILES, BATCH_BYTES = 256, 4_000_000  # one or the other, on average: what one worker takes at a time
_BLOCK = 1 << 20  # bytes hashed at a time
_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")  # half the disk of plain text, at little time


@dataclass
class FileAccount:
    """What became of one input file: each number is counted where it happens, none by subtraction."""

    file: str
    bytes_read: int = 0
    bytes_decompressed: int = 0  # what readers were given: all of a plain file, nothing of a damaged one
    bytes_decoded: int = 0  # UTF-8 bytes of the documents a reader found in it
    bytes_kept: int = 0
    documents: int = 0
    lost: Counter[str] = field(default_factory=Counter)  # documents by reason
    digest: str = ""  # XXH3 of the bytes that were read, or why they could not be
    rows: dict[int, int] = field(default_factory=dict)  # documents by shard


_FIELDS = tuple(FileAccount.__dataclass_fields__)


@dataclass
class BatchResult:
    """The documents of a batch of files, by shard and in the order of the files, and the files' accounts."""

    shards: dict[int, pa.Table]
    accounts: list[FileAccount]


@dataclass(frozen=True)
class Batch:
    """Files that are extracted together; `place` stays the same while other files come, change and go."""

    place: str
    files: list[InputFile]
    digests: list[str]
    size: int  # bytes


@dataclass(frozen=True)
class Pack:
    """A stored batch: its key in the cache, and its files' accounts."""

    key: str
    accounts: list[FileAccount]


def batches(files: list[InputFile]) -> Iterator[Batch]:
    """Hash all files and cut them, in their order, into batches."""
    place, names, digests, size = "", [], [], 0
    for file in files:
        digest, length = _fingerprint(file)
        names.append(file)
        digests.append(digest)
        size += length
        if _ends_batch(file.name, length):
            yield Batch(place, names, digests, size)
            place, names, digests, size = file.name, [], [], 0
    if names:
        yield Batch(place, names, digests, size)


def _ends_batch(name: str, size: int) -> bool:
    return bool(xxhash.xxh3_64_intdigest(name.encode()) / 2**64 < 1 / BATCH_FILES + size / BATCH_BYTES)


def _fingerprint(file: InputFile) -> tuple[str, int]:
    """A file's digest, as in `FileAccount`, and its size."""
    digest, size = xxhash.xxh3_128(), 0
    try:
        with file.path.open("rb", buffering=0) as opened:
            while block := opened.read(_BLOCK):
                digest.update(block)
                size += len(block)
    except OSError as error:
        return unreadable(error), 0
    return digest.hexdigest(), size


def unreadable(error: OSError) -> str:
    """What stands for the content of a file that cannot be read."""
    return f"unreadable: {error.strerror}"


def find(cache: Cache, namespace: str, batch: Batch) -> Pack | None:
    """The pack of exactly these files, if the cache has it."""
    return _load(cache, _key(namespace, batch.files, batch.digests))


def make(
    cache: Cache, namespace: str, batch: Batch, extract: Callable[[list[InputFile]], BatchResult]
) -> tuple[Pack, int]:
    """Store the pack of a batch, extracting only the files that the latest pack of its place lacks; counts them.

    Arguments:
        namespace: the hash of everything but the files that decides what `extract` returns.
    """
    known = _latest(cache, namespace, batch)
    fresh = [file for file, digest in zip(batch.files, batch.digests, strict=True) if (file.name, digest) not in known]
    result = extract(fresh)
    if known:
        result = _merged(batch, known, result)
    # The bytes that were read decide, should a file have changed since it was hashed.
    key = _key(namespace, batch.files, [account.digest for account in result.accounts])
    record = [_as_list(account) for account in result.accounts]
    cache.put(key, record, {str(shard): _serialised(table) for shard, table in result.shards.items()})
    cache.put(_place_key(namespace, batch), key, {})
    return Pack(key, result.accounts), len(fresh)


def documents(cache: Cache, key: str, shard: int) -> pa.Table | None:
    """The documents of a pack that belong to a shard; None if the cache no longer has them undamaged."""
    entry = cache.get(key)
    data = entry.read(str(shard)) if entry else None
    return None if data is None else pa.ipc.open_stream(data).read_all()


def _key(namespace: str, files: list[InputFile], digests: list[str]) -> str:
    return action_key("pack", namespace, [file.name for file in files], digests)


def _place_key(namespace: str, batch: Batch) -> str:
    return action_key("place", namespace, batch.place)


def _load(cache: Cache, key: str) -> Pack | None:
    entry = cache.get(key)
    return Pack(key, [_from_list(values) for values in entry.record]) if entry else None


Known = dict[tuple[str, str], tuple[FileAccount, dict[int, pa.Table]]]  # by name and digest: account, rows by shard


def _latest(cache: Cache, namespace: str, batch: Batch) -> Known:
    """What the latest pack of the batch's place knows of files; nothing if it is gone or damaged."""
    place = cache.get(_place_key(namespace, batch))
    pack = _load(cache, place.record) if place else None
    if not pack:
        return {}
    shards = {}
    for shard in {shard for account in pack.accounts for shard in account.rows}:
        table = documents(cache, pack.key, shard)
        if table is None:
            return {}
        shards[shard] = table
    return _by_file(BatchResult(shards, pack.accounts))


def _by_file(result: BatchResult) -> Known:
    known: Known = {}
    starts: Counter[int] = Counter()
    for account in result.accounts:
        mine = {shard: result.shards[shard].slice(starts[shard], rows) for shard, rows in account.rows.items()}
        known[account.file, account.digest] = account, mine
        starts.update(account.rows)
    return known


def _merged(batch: Batch, known: Known, fresh: BatchResult) -> BatchResult:
    """The batch's files in order, each from `fresh` if it was extracted now, else from `known`."""
    new = {account.file: (account, rows) for account, rows in _by_file(fresh).values()}
    parts: dict[int, list[pa.Table]] = {}
    accounts = []
    for file, digest in zip(batch.files, batch.digests, strict=True):
        account, rows = new[file.name] if file.name in new else known[file.name, digest]
        accounts.append(account)
        for shard, table in rows.items():
            parts.setdefault(shard, []).append(table)
    return BatchResult({shard: pa.concat_tables(tables) for shard, tables in parts.items()}, accounts)


def _serialised(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=_OPTIONS) as writer:
        writer.write_table(table.combine_chunks())
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _as_list(account: FileAccount) -> list[Any]:
    return [getattr(account, name) for name in _FIELDS]


def _from_list(values: list[Any]) -> FileAccount:
    account = FileAccount(**dict(zip(_FIELDS, values, strict=True)))
    account.lost = Counter(account.lost)
    account.rows = {int(shard): count for shard, count in account.rows.items()}  # JSON's keys are strings
    return account

"""Packs: extracted documents in the action cache, a few hundred input files to an entry.

An entry per file would cost 30,000 files for 140 MB of text; an entry per 256 files would do all of them again
for one that changed. So a pack holds a batch of files and says which rows are whose: for a batch with a changed
file, the latest pack of its place gives the rows of the others, and only the changed file is read and cleaned.
Batches must not shift when a file comes or goes: one ends after a file whose hashed name falls below a chance
that grows with the file's size, as in content-defined chunking. The price is that a file which begins or ends a
batch, added or removed, has that one batch (256 files or 4 MB on average) extracted again. A file that is too large
to be held is no part of a batch: see `blocks.py`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import xxhash

from aura.cache import Cache, action_key
from aura.ingestion.accounts import FileAccount, from_list
from aura.ingestion.input_files import InputFile
from aura.ingestion.rows import Extracted

BATCH_FILES, BATCH_BYTES = 256, 4_000_000  # one or the other, on average: what one worker takes at a time
_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")  # half the disk of plain text, at little time


@dataclass(frozen=True)
class Batch:
    """Files that are extracted together; `place` stays the same while other files come, change and go."""

    place: str
    files: list[InputFile]
    digests: list[str]
    size: int  # bytes
    large: bool = False  # one file that is extracted in blocks


@dataclass(frozen=True)
class Pack:
    """A stored batch, or block: its key in the cache, and its files' accounts."""

    key: str
    accounts: list[FileAccount]


def batches(files: Iterable[InputFile], is_large: Callable[[str, int], bool]) -> Iterator[Batch]:
    """Hash all files and cut them, in their order, into batches; one that `is_large` (name, bytes) is its own."""
    place = ""
    names: list[InputFile] = []
    digests: list[str] = []
    size = 0
    for file in files:
        digest, length = file.fingerprint()
        large = is_large(file.name, length)
        if large and names:
            yield Batch(place, names, digests, size)
            names, digests, size = [], [], 0
        if large:
            yield Batch(file.name, [file], [digest], length, large=True)
            place = file.name
            continue
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


def find(cache: Cache, namespace: str, batch: Batch) -> Pack | None:
    """The pack of exactly these files, if the cache has it."""
    return load(cache, _key(namespace, batch.files, batch.digests))


def load(cache: Cache, key: str) -> Pack | None:
    """The pack under `key`, if the cache has it."""
    entry = cache.get(key)
    return Pack(key, [from_list(values) for values in entry.record]) if entry else None


def make(
    cache: Cache, namespace: str, batch: Batch, extract: Callable[[list[InputFile]], Extracted]
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
    pack = store(cache, key, result)
    cache.put(_place_key(namespace, batch), key, {})
    return pack, len(fresh)


def store(cache: Cache, key: str, result: Extracted) -> Pack:
    """Keep extracted documents, and their files' accounts, under `key`."""
    record = [account.as_list() for account in result.accounts]
    cache.put(key, record, {str(shard): _serialised(table) for shard, table in result.shards.items()})
    return Pack(key, result.accounts)


def documents(cache: Cache, key: str, shard: int) -> pa.Table | None:
    """The documents of a pack that belong to a shard; None if the cache no longer has them undamaged."""
    entry = cache.get(key)
    data = entry.read(str(shard)) if entry else None
    return None if data is None else pa.ipc.open_stream(data).read_all()


def _key(namespace: str, files: list[InputFile], digests: list[str]) -> str:
    return action_key("pack", namespace, [file.name for file in files], digests)


def _place_key(namespace: str, batch: Batch) -> str:
    return action_key("place", namespace, batch.place)


Known = dict[tuple[str, str], tuple[FileAccount, dict[int, pa.Table]]]  # by name and digest: account, rows by shard


def _latest(cache: Cache, namespace: str, batch: Batch) -> Known:
    """What the latest pack of the batch's place knows of files; nothing if it is gone or damaged."""
    place = cache.get(_place_key(namespace, batch))
    pack = load(cache, place.record) if place else None
    if not pack:
        return {}
    shards = {}
    for shard in {shard for account in pack.accounts for shard in account.rows}:
        table = documents(cache, pack.key, shard)
        if table is None:
            return {}
        shards[shard] = table
    return _by_file(Extracted(shards, pack.accounts))


def _by_file(result: Extracted) -> Known:
    known: Known = {}
    starts: Counter[int] = Counter()
    for account in result.accounts:
        mine = {shard: result.shards[shard].slice(starts[shard], rows) for shard, rows in account.rows.items()}
        known[account.file, account.digest] = account, mine
        starts.update(account.rows)
    return known


def _merged(batch: Batch, known: Known, fresh: Extracted) -> Extracted:
    """The batch's files in order, each from `fresh` if it was extracted now, else from `known`."""
    new = {account.file: (account, rows) for account, rows in _by_file(fresh).values()}
    parts: dict[int, list[pa.Table]] = {}
    accounts = []
    for file, digest in zip(batch.files, batch.digests, strict=True):
        account, rows = new[file.name] if file.name in new else known[file.name, digest]
        accounts.append(account)
        for shard, table in rows.items():
            parts.setdefault(shard, []).append(table)
    return Extracted({shard: pa.concat_tables(tables) for shard, tables in parts.items()}, accounts)


def _serialised(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=_OPTIONS) as writer:
        writer.write_table(table.combine_chunks())
    data: bytes = sink.getvalue().to_pybytes()
    return data

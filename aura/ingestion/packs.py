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
from dataclasses import dataclass, replace

import pyarrow as pa
import xxhash

from aura.cache import Cache, action_key
from aura.ingestion import accounts
from aura.ingestion.input_files import InputFile
from aura.ingestion.rows import Extracted

BATCH_FILES, BATCH_BYTES = 256, 4_000_000  # one or the other, on average: what one worker takes at a time
_ACCOUNTS = "accounts"
_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")  # half the disk of plain text, at little time


@dataclass(frozen=True)
class Batch:
    """Files that are extracted together; `place` stays the same while other files come, change and go."""

    place: str
    files: list[InputFile]
    size: int  # bytes
    large: bool = False  # one file that is extracted in blocks
    digests: list[str] | None = None  # of the files' bytes, where the cache may know them


@dataclass(frozen=True)
class Pack:
    """A stored batch, or block: its key in the cache, and its files' accounts."""

    key: str
    accounts: pa.Table


def batches(files: Iterable[InputFile], is_large: Callable[[str, int], bool]) -> Iterator[Batch]:
    """Cut files, in their order, into batches; one that `is_large` (name, bytes) is its own."""
    place, held, size = "", list[InputFile](), 0
    for file in files:
        length = file.size()
        large = is_large(file.name, length)
        if large and held:
            yield Batch(place, held, size)
            held, size = [], 0
        if large:
            yield Batch(file.name, [file], length, large=True)
            place = file.name
            continue
        held.append(file)
        size += length
        if _ends_batch(file.name, length):
            yield Batch(place, held, size)
            place, held, size = file.name, [], 0
    if held:
        yield Batch(place, held, size)


def _ends_batch(name: str, size: int) -> bool:
    return bool(xxhash.xxh3_64_intdigest(name.encode()) / 2**64 < 1 / BATCH_FILES + size / BATCH_BYTES)


def is_known(cache: Cache, namespace: str, batch: Batch) -> bool:
    """Whether anything was ever made of a batch in this place: if not, there is no use in hashing its files."""
    return cache.get(_place_key(namespace, batch)) is not None


def hashed(batch: Batch) -> Batch:
    """The batch with its files' digests."""
    return replace(batch, digests=[file.fingerprint()[0] for file in batch.files])


def find(cache: Cache, namespace: str, batch: Batch) -> Pack | None:
    """The pack of exactly these files, if the cache has it."""
    return load(cache, _key(namespace, batch.files, batch.digests)) if batch.digests else None


def load(cache: Cache, key: str) -> Pack | None:
    """The pack under `key`, if the cache has it."""
    accounts = _part(cache, key, _ACCOUNTS)
    return None if accounts is None else Pack(key, accounts)


def make(
    cache: Cache, namespace: str, batch: Batch, extract: Callable[[list[InputFile]], Extracted]
) -> tuple[Pack, int]:
    """Store the pack of a batch, extracting only the files that the latest pack of its place lacks; counts them.

    Arguments:
        namespace: the hash of everything but the files that decides what `extract` returns.
    """
    known = _latest(cache, namespace, batch) if batch.digests else None
    if known and batch.digests:
        there = set(_names(known.accounts))
        fresh = [
            file for file, digest in zip(batch.files, batch.digests, strict=True) if (file.name, digest) not in there
        ]
        result = _merged(batch.files, batch.digests, known, extract(fresh))
    else:
        fresh = batch.files
        result = extract(fresh)
    # The bytes that were read decide, should a file have changed since it was hashed.
    key = _key(namespace, batch.files, result.accounts["digest"].to_pylist())
    pack = store(cache, key, result)
    cache.put(_place_key(namespace, batch), key, {})
    return pack, len(fresh)


def store(cache: Cache, key: str, result: Extracted) -> Pack:
    """Keep extracted documents, and their files' accounts, under `key`."""
    tables = {_ACCOUNTS: result.accounts} | {str(shard): table for shard, table in result.shards.items()}
    cache.put(key, {}, {name: _serialised(table) for name, table in tables.items()})
    return Pack(key, result.accounts)


def documents(cache: Cache, key: str, shard: int) -> pa.Table | None:
    """The documents of a pack that belong to a shard; None if the cache no longer has them undamaged."""
    return _part(cache, key, str(shard))


def _part(cache: Cache, key: str, name: str) -> pa.Table | None:
    entry = cache.get(key)
    data = entry.read(name) if entry else None
    return None if data is None else pa.ipc.open_stream(data).read_all()


def _key(namespace: str, files: list[InputFile], digests: list[str]) -> str:
    return action_key("pack", namespace, [file.name for file in files], digests)


def _place_key(namespace: str, batch: Batch) -> str:
    return action_key("place", namespace, batch.place)


def _latest(cache: Cache, namespace: str, batch: Batch) -> Extracted | None:
    """The latest pack of the batch's place, if it is there and undamaged."""
    place = cache.get(_place_key(namespace, batch))
    pack = load(cache, place.record) if place else None
    if not pack:
        return None
    shards = {shard: documents(cache, pack.key, shard) for shard in accounts.shards(pack.accounts)}
    return None if any(table is None for table in shards.values()) else Extracted(shards, pack.accounts)


def _names(found: pa.Table) -> list[tuple[str, str]]:
    """Name and digest of each file."""
    return list(zip(found["file"].to_pylist(), found["digest"].to_pylist(), strict=True))


def _merged(files: list[InputFile], digests: list[str], known: Extracted, fresh: Extracted) -> Extracted:
    """The files in order, each from `fresh` if it was extracted now, else from `known`."""
    both = pa.concat_tables([known.accounts, fresh.accounts])
    old = {name: row for row, name in enumerate(_names(known.accounts))}
    new = {name: row for row, name in enumerate(fresh.accounts["file"].to_pylist(), start=len(known.accounts))}
    order = [
        new[file.name] if file.name in new else old[file.name, digest]
        for file, digest in zip(files, digests, strict=True)
    ]
    spans, ends = [], Counter[int]()  # where each file's documents lie in its shards
    for rows in both["rows"].to_pylist():
        spans.append({shard: range(ends[shard], ends[shard] + count) for shard, count in rows})
        ends.update(dict(rows))
    places: dict[int, list[int]] = {}
    for row in order:
        for shard, span in spans[row].items():
            places.setdefault(shard, []).extend(span)
    tables = {
        shard: pa.concat_tables([one.shards[shard] for one in (known, fresh) if shard in one.shards])
        for shard in places
    }
    return Extracted({shard: tables[shard].take(rows) for shard, rows in places.items()}, both.take(order))


def _serialised(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=_OPTIONS) as writer:
        writer.write_table(table.combine_chunks())
    data: bytes = sink.getvalue().to_pybytes()
    return data

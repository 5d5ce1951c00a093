"""One Parquet shard of an extracted source: planned, recalled from the action cache, or made.

A file belongs to the shard that a hash of its name says, whatever other files there are; a large file has shards of its
own (`chunk_shards.py`). A shard is the unit of work and of the cache: a worker reads its files, cleans them and writes
them, and keeps the finished shard with its files' accounts under the hash of those files. For a shard with a changed
file, the rows of the others come from the latest shard of its place, and only what changed is read and cleaned; and
where every file's stamp is as it was when that one was made, no file is even opened.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from aura.core.arrow import from_bytes, to_bytes
from aura.core.files import sha256_file
from aura.core.keys import action_key
from aura.corpus.corpus import SCHEMA
from aura.corpus.shards import ShardWriter
from aura.extract import accounts
from aura.extract.rows import Extracted, Recipe, extract_files
from aura.sources.input_files import UNREADABLE, InputFile
from aura.storage.cache import Cache
from aura.storage.placement import Kept, ShardPlace

FEWEST, MANY = 16, 4096  # shards, with `shards: auto`,
SHARD_BYTES, MOST_BYTES = 10_000_000, 256_000_000  # of files in each, at most: while they are few, and when many
PORTION = 4_000_000  # bytes of files that are read, cleaned and looked up, or copied, at once


@dataclass(frozen=True)
class ShardPlan:
    """A shard to be: its number of how many, and the files in it, in order."""

    number: int
    count: int
    files: list[InputFile]
    order: list[int]  # each file's place among all files of the source
    digests: list[str] | None = None  # of the files, where they are known

    def __str__(self) -> str:
        names = list(dict.fromkeys(file.name for file in self.files))
        files = names[0] if len(names) == 1 else f"{len(names):,} files from {names[0]} to {names[-1]}"
        return f"shard {self.number} of {self.count} ({files})"

    @property
    def cost(self) -> int:
        """The work of making it, in bytes to extract: copying an extracted file costs about a quarter of that."""
        size = sum(file.size for file in self.files)
        return size // 4 if self.digests else size

    def add(self, file: InputFile, place: int) -> None:
        """Put a file at its end."""
        self.files.append(file)
        self.order.append(place)

    def path(self, folder: Path) -> Path:
        """Its file."""
        return folder / f"{self.number:04d}.parquet"


@dataclass(frozen=True)
class Built:
    """A shard where it belongs, and the accounts of its files, in order."""

    kept: Kept
    accounts: pa.Table
    extracted: int = 0  # files that were read and cleaned for it

    @property
    def sha256(self) -> str | None:
        """SHA-256 of its file; None of a shard without documents, which has no file."""
        digest: str | None = self.kept.record.get("sha256")
        return digest


@dataclass(frozen=True)
class ExtractionRun:
    """Everything that decides a shard, and the folder for it; the same for all shards of a source."""

    recipe: Recipe
    namespace: str
    cache: Cache
    folder: Path
    place: ShardPlace


def shard_count(asked: int | str, size: int) -> int:
    """Return the number of shards that `size` bytes of small files are laid into."""
    if isinstance(asked, int):
        return asked
    count = FEWEST
    while size > count * (SHARD_BYTES if count < MANY else MOST_BYTES):
        count *= 2
    return count


def is_new(cache: Cache, namespace: str) -> bool:
    """Return whether nothing was ever extracted with this namespace, as far as the cache knows."""
    return cache.get(action_key("source", namespace)) is None


def remember_source(cache: Cache, namespace: str) -> None:
    """Let the cache know that a source was extracted."""
    cache.put(action_key("source", namespace), {}, {})


def planned(files: Sequence[tuple[int, InputFile]], count: int) -> list[ShardPlan]:
    """All shards that have files, of files with their places."""
    found = [ShardPlan(number, count, [], []) for number in range(count)]
    for place, file in files:
        found[_number(file.name, count)].add(file, place)
    return [shard for shard in found if shard.files]


def _number(name: str, count: int) -> int:
    return int(xxhash.xxh3_64_intdigest(f"{name}\0{0}".encode()) % count)


def find(shard: ShardPlan, *, run: ExtractionRun) -> Built | ShardPlan:
    """A shard that was made before, recalled to where it belongs; otherwise the shard, with digests that help."""
    latest = _latest(shard, run)
    if latest is None:
        return shard
    known = _accounts(run, latest.key)
    if known is not None and latest.is_of(shard, known):
        built = _recalled(shard, latest.key, known, run)
        if built:
            return built
    shard = replace(shard, digests=latest.digests(shard, known))
    key = _key(run, shard.files, shard.digests or [])
    built = _recalled(shard, key, _accounts(run, key), run)
    if built:
        _remember(shard, key, run)
    return built or shard


def make(shard: ShardPlan, *, run: ExtractionRun) -> Built:
    """Write a shard and keep it; runs in a worker process."""
    with _opened_latest(shard, run) as latest:
        writing = _Writing(shard.path(run.folder), run.recipe, latest)
        for file, digest in zip(shard.files, shard.digests or [""] * len(shard.files), strict=True):
            row = latest.rows.get((file.name, digest))
            if row is None:
                writing.extract(file)
            else:
                writing.copy(row)
        writing.close()
    found = pa.concat_tables(writing.accounts)
    # The bytes that were read decide, should a file have changed since it was hashed.
    key = _key(run, shard.files, found["digest"].to_pylist())
    path = shard.path(run.folder)
    record = {"sha256": sha256_file(path)} if path.exists() else {}
    kept = run.place.keep(run.cache, key, record, {"parquet": path} if record else {})
    run.cache.put(_accounts_key(key), {}, {"accounts": to_bytes(found)})
    _remember(shard, key, run)
    return Built(kept, found, writing.extracted)


class _Writing:
    """A shard under way: a portion of its files at a time, those to extract together and those to copy together."""

    def __init__(self, path: Path, recipe: Recipe, latest: "_Copied") -> None:
        self.writer, self.recipe, self.latest = ShardWriter(path), recipe, latest
        self.accounts: list[pa.Table] = []
        self.extracted = 0
        self.waiting: list[InputFile | int] = []  # files to extract, and rows to copy
        self.waiting_bytes = 0

    def extract(self, file: InputFile) -> None:
        """The next file is to be extracted."""
        self._wait(file, file.size)

    def copy(self, row: int) -> None:
        """The next file is in the latest shard, with this row of its accounts."""
        self._wait(row, self.latest.sizes[row])

    def close(self) -> None:
        """Write what still waits."""
        self._flush()
        self.writer.close()

    def _wait(self, file: InputFile | int, size: int) -> None:
        self.waiting.append(file)
        self.waiting_bytes += size
        if self.waiting_bytes >= PORTION:
            self._flush()

    def _flush(self) -> None:
        files = [file for file in self.waiting if isinstance(file, InputFile)]
        rows = [file for file in self.waiting if isinstance(file, int)]
        if files and rows:
            copied = [isinstance(file, int) for file in self.waiting]
            self._write(_in_order(extract_files(files, self.recipe), self.latest.take(rows), copied))
        elif files:
            self._write(extract_files(files, self.recipe))
        elif rows:
            self._write(self.latest.take(rows))
        self.extracted += len(files)
        self.waiting, self.waiting_bytes = [], 0

    def _write(self, result: Extracted) -> None:
        self.writer.add(result.documents)
        self.accounts.append(result.accounts)


def _in_order(extracted: Extracted, copied: Extracted, is_copied: list[bool]) -> Extracted:
    """Both as one, of which each file in turn is the next copied or the next extracted one."""
    places = np.argsort(is_copied, kind="stable")
    accounts = pa.concat_tables([extracted.accounts, copied.accounts])
    documents = pa.concat_tables([extracted.documents, copied.documents])
    owners = np.repeat(places, accounts["documents"].to_numpy())
    return Extracted(documents.take(np.argsort(owners, kind="stable")), accounts.take(np.argsort(places)))


class _Copied:
    """A shard of which files can be copied; or none."""

    def __init__(self, accounts: pa.Table, file: pq.ParquetFile | None) -> None:
        names = zip(accounts["file"].to_pylist(), accounts["digest"].to_pylist(), strict=True)
        self.rows = {name: row for row, name in enumerate(names)}
        self.sizes: list[int] = accounts["bytes_kept"].to_pylist()
        self.accounts, self.file = accounts, file
        self.ends = np.cumsum([0, *accounts["documents"].to_pylist()])
        metadata = file.metadata if file else None
        groups = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)] if metadata else []
        self.group_ends = np.cumsum([0, *groups])
        self.read: tuple[int, pa.Table] | None = None  # the last row group and its number: the next rows may be in it

    def take(self, rows: list[int]) -> Extracted:
        """The accounts of some rows, and their documents."""
        accounts = self.accounts.take(rows)
        counts = accounts["documents"].to_numpy()
        documents = np.arange(counts.sum()) + np.repeat(self.ends[rows] - np.cumsum(counts) + counts, counts)
        groups = np.searchsorted(self.group_ends, documents, side="right") - 1
        parts = (
            self._group(number).take(documents[groups == number] - self.group_ends[number])
            for number in np.unique(groups).tolist()
        )
        found = pa.concat_tables([SCHEMA.empty_table(), *parts])
        order = np.argsort(groups, kind="stable")
        if (np.diff(order) < 0).any():  # rows do not ascend where two files that are shown alike changed places
            found = found.take(np.argsort(order))
        return Extracted(found, accounts)

    def _group(self, number: int) -> pa.Table:
        if self.file is not None and (self.read is None or self.read[0] != number):
            self.read = number, self.file.read_row_group(number, use_threads=False)
        return self.read[1] if self.read else SCHEMA.empty_table()


_NONE = _Copied(accounts.SCHEMA.empty_table(), None)


@contextmanager
def _opened_latest(shard: ShardPlan, run: ExtractionRun) -> Iterator[_Copied]:
    """Open the latest shard of this place in the cache, if it is of use and undamaged."""
    latest = _latest(shard, run) if shard.digests else None
    found = _accounts(run, latest.key) if latest else None
    if latest is None or found is None:
        yield _NONE
        return
    with run.place.opened(run.cache, latest.key, "parquet", f"dvc repro extract@{run.recipe.name}") as file:
        if file is not None:
            with pq.ParquetFile(file) as opened:
                yield _Copied(found, opened)
        elif pc.sum(found["documents"], min_count=0).as_py():
            yield _NONE
        else:
            yield _Copied(found, None)  # nothing readable in any of its files: there is no shard, only accounts


def _recalled(shard: ShardPlan, key: str, found: pa.Table | None, run: ExtractionRun) -> Built | None:
    kept = None if found is None else run.place.recall(run.cache, key, {"parquet": shard.path(run.folder)})
    return Built(kept, found) if kept else None


def _accounts(run: ExtractionRun, key: str) -> pa.Table | None:
    entry = run.cache.get(_accounts_key(key))
    data = entry.read("accounts") if entry else None
    return None if data is None else from_bytes(data)


def _accounts_key(key: str) -> str:
    return action_key("accounts", key)


@dataclass(frozen=True)
class _Latest:
    """The latest shard of a place: its key, and the stamps of its files when it was made or found."""

    key: str
    stamps: list[int]

    def is_of(self, shard: ShardPlan, known: pa.Table) -> bool:
        """Return whether it has just the shard's files, unchanged and all readable; `known` are its accounts."""
        names = [file.name for file in shard.files]
        same = 0 not in self.stamps and self.stamps == _stamps(shard) and known["file"].to_pylist() == names
        return same and not pc.any(pc.starts_with(known["digest"], UNREADABLE)).as_py()

    def digests(self, shard: ShardPlan, known: pa.Table | None) -> list[str]:
        """Of each file, without opening those that it has with the same stamp."""
        there: dict[tuple[str, int], str] = {}
        if known is not None and len(known) == len(self.stamps):
            names, digests = (known[name].to_pylist() for name in ("file", "digest"))
            known_files = zip(zip(names, self.stamps, strict=True), digests, strict=True)
            there = {file: digest for file, digest in known_files if not digest.startswith(UNREADABLE)}
        return [
            there.get((file.name, file.stamp) if file.stamp else ("", 0)) or file.fingerprint()[0]
            for file in shard.files
        ]


def _latest(shard: ShardPlan, run: ExtractionRun) -> _Latest | None:
    """The latest shard of this place; or of the one it was a part of, with half as many shards."""
    places = [(shard.number, shard.count)]
    if shard.count % 2 == 0:
        places.append((shard.number % (shard.count // 2), shard.count // 2))
    for place in places:
        entry = run.cache.get(_place_key(run.namespace, *place))
        stamps = entry.read("stamps") if entry else None
        if entry and stamps is not None:
            return _Latest(entry.record, np.frombuffer(stamps, np.int64).tolist())
    return None


def _remember(shard: ShardPlan, key: str, run: ExtractionRun) -> None:
    stamps = np.array(_stamps(shard), np.int64).tobytes()
    run.cache.put(_place_key(run.namespace, shard.number, shard.count), key, {"stamps": stamps})


def _stamps(shard: ShardPlan) -> list[int]:
    return [file.stamp for file in shard.files]


def _place_key(namespace: str, number: int, count: int) -> str:
    return action_key("place", namespace, number, count)


def _key(run: ExtractionRun, files: list[InputFile], digests: list[str]) -> str:
    """Of a shard's content: the names and digests in it, in order."""
    digest = xxhash.xxh3_128()
    for file, own in zip(files, digests, strict=True):
        digest.update(f"{file.name}\0{own}\0".encode())
    return action_key("shard", run.namespace, digest.hexdigest())

"""The place of shards: plain files in a stage's output, or a store, with `shards.json` in the folder instead.

The one module that knows both. A stage's account of its shards (`manifest.json`) is the same either way, and so are the
shards' bytes; `shards.json` adds hashes, size and address of each, and is all that DVC then tracks. The price is that
`dvc push` and `dvc pull` move this list only: the store is where the shards are, for everyone.

A shard is verified before its first byte is used: a file is compared with _SHA256SUMS (`aura/core/checksums.py`),
once in a run, an object with the list.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from aura.core import checksums
from aura.core.errors import UserError
from aura.core.files import sha256_file
from aura.core.keys import action_key
from aura.storage import shard_lists, store
from aura.storage.cache import VARIABLE, Cache, Entry, project_cache
from aura.storage.store import BLOCK, CONNECTIONS, ObjectStore, Stored, altered, explained, fetched, is_intact, located
from aura.storage.stored_cache import StoredCache

LIST = shard_lists.LIST
FETCHED, FETCHED_BYTES = 4, 256_000_000  # shards that one process fetches at a time: at least, or so many bytes
at_once = store.at_once


@dataclass(frozen=True)
class ShardFile:
    """A file of an output: on this disk at `path`, or, with `stored`, in a store."""

    path: Path
    size: int
    made_by: str  # the command that makes it again
    recorded: str  # SHA-256 that its bytes must have; of a stored shard that of `stored`
    stored: Stored | None = None

    def __str__(self) -> str:
        return str(self.path)

    @contextmanager
    def opened(self) -> Iterator[Path | BinaryIO]:
        """Yield a file that Arrow can read, compared with its hash first; a stored shard is fetched for that."""
        if self.stored is None:
            self.verify()
            yield self.path
            return
        with fetched(self.stored, self.made_by) as copy:
            yield copy

    @contextmanager
    def skimmed(self, *, compared: bool = True) -> Iterator[Path | BinaryIO]:
        """The same to read a small part of it: a stored shard is read in ranges, and its store asked for its hash.

        Unless `compared`, it is not compared here: a task of this run must do so before its result counts.
        """
        if compared:
            self.verify()
        if self.stored is None:
            yield self.path
            return
        with explained(self.stored.uri):
            system, place = located(self.stored.uri)
            with system.open(place, "rb", block_size=BLOCK // 16) as file:
                yield file

    def sha256(self) -> str:
        """SHA-256 of its bytes, which must be the recorded one; those of a stored shard are compared when fetched."""
        if self.stored is None:
            self.verify()
        return self.recorded

    def verify(self) -> None:
        """Raise `UserError` unless the bytes are those that were recorded; compared once for all uses of this shard."""
        if self._sha256 != self.recorded:
            raise checksums.altered(self.path, self.recorded, self._sha256, self.made_by)

    def mark_compared(self) -> None:
        """Count as compared: a task of this run has done it in another process."""
        vars(self)["_sha256"] = self.recorded  # as `cached_property` keeps it

    @cached_property
    def _sha256(self) -> str:
        """The SHA-256 of its bytes; it goes along to another process."""
        if self.stored is None:
            return sha256_file(self.path)
        if not is_intact(self.stored):
            raise UserError(altered(self.stored, self.made_by))
        return self.stored.sha256


def shards(folder: Path, made_by: str, recorded: Mapping[str, str] | None = None) -> list[ShardFile]:
    """The shards of a folder, by name: every file that its record lists and that is no JSON, or those in its list.

    Arguments:
        folder: its files must be those that its record lists, or it is a `UserError`.
        made_by: the command that makes it again.
        recorded: SHA-256 of each file; those of the folder's own _SHA256SUMS when left out.
    """
    recorded = checksums.read(folder, made_by) if recorded is None else recorded
    if LIST not in recorded:
        names = sorted(name for name in recorded if "/" not in name and Path(name).suffix != ".json")
        return [ShardFile(folder / name, (folder / name).stat().st_size, made_by, recorded[name]) for name in names]
    checksums.compare(folder / LIST, recorded[LIST], made_by)
    listed = sorted(shard_lists.read(folder / LIST, made_by).items())
    return [ShardFile(folder / name, stored.size, made_by, stored.sha256, stored) for name, stored in listed]


@dataclass(frozen=True)
class Kept:
    """Shards that are where they belong, and what the action cache says of them."""

    record: Any  # what JSON can hold
    stored: dict[Path, Stored] = field(default_factory=dict)  # by the path that a plain file would have


@dataclass(frozen=True)
class ShardPlace:
    """The place of a stage's shards; `store` is None for this disk."""

    store: ObjectStore | None = None

    def cache(self) -> Cache:
        """The action cache beside it: in the store, if there is one and AURA_CACHE names no folder."""
        if self.store is None or os.environ.get(VARIABLE):
            return project_cache()
        return StoredCache(Path("cache"), self.store)

    def recall(self, cache: Cache, key: str, paths: Mapping[str, Path]) -> Kept | None:
        """Put what an action made before where it belongs; None if that is not known, or no longer there.

        `paths` names the file of each part; an action may have made only some of them.
        """
        if self.store is None:
            entry = cache.get(key)
            for path in paths.values() if entry else ():
                path.parent.mkdir(parents=True, exist_ok=True)
            if entry and all(entry.place(part, paths[part]) for part in entry.parts):
                return Kept(entry.record)
            for path in paths.values():  # else who writes it anew would write into what the cache keeps
                path.unlink(missing_ok=True)
            return None
        entry = cache.get(self._key(key))
        if entry is None:
            return None
        stored = _stored(entry, paths)
        return Kept(entry.record["record"], stored) if all(map(is_intact, stored.values())) else None

    def recall_all(self, cache: Cache, wanted: Sequence[tuple[str, Mapping[str, Path]]]) -> list[Kept | None]:
        """`recall` of many, in order, by their keys and files; a store is asked for a list if they are many."""
        if self.store is None:
            return at_once(lambda one: self.recall(cache, *one), wanted)
        entries = cache.get_all([self._key(key) for key, _ in wanted])
        named = [_stored(entry, paths) if entry else {} for entry, (_, paths) in zip(entries, wanted, strict=True)]
        every = {one for of_one in named for one in of_one.values()}
        intact = dict(zip(every, self.store.intact(list(every)), strict=True))
        return [
            Kept(entry.record["record"], of_one) if entry and all(intact[one] for one in of_one.values()) else None
            for entry, of_one in zip(entries, named, strict=True)
        ]

    @contextmanager
    def opened(self, cache: Cache, key: str, part: str, made_by: str) -> Iterator[BinaryIO | None]:
        """Open a part that an action made before, to be read where it lies; None if it is unknown, damaged or gone."""
        if self.store is None:
            entry = cache.get(key)
            kept = entry.file(part) if entry and part in entry.parts else None
            try:
                file = kept.open("rb") if kept else None
            except OSError:  # pruned a moment ago
                file = None
            with file or nullcontext():
                yield file
        else:
            entry = cache.get(self._key(key))
            record = entry.record["stored"].get(part) if entry else None
            stored = Stored(**record) if record else None
            with fetched(stored, made_by) if stored and is_intact(stored) else nullcontext() as copy:
                yield copy

    def keep(self, cache: Cache, key: str, record: Any, paths: Mapping[str, Path]) -> Kept:  # noqa: ANN401 - JSON
        """Put files just written where they belong, and let the action cache know; may run in a worker process."""
        if self.store is None:
            cache.put(key, record, paths)
            return Kept(record)
        stored = {part: self.store.put(path) for part, path in paths.items()}
        cache.put(self._key(key), {"record": record, "stored": {part: asdict(it) for part, it in stored.items()}}, {})
        for path in paths.values():
            path.unlink()
        return Kept(record, {path: stored[part] for part, path in paths.items()})

    def _key(self, key: str) -> str:
        return action_key("stored", self.store.url if self.store else None, key)


THIS_DISK = ShardPlace()


def _stored(entry: Entry, paths: Mapping[str, Path]) -> dict[Path, Stored]:
    """The objects that an entry of `keep` names, by the paths of their parts."""
    return {paths[part]: Stored(**record) for part, record in entry.record["stored"].items()}


def of(url: str | None) -> ShardPlace:
    """The place that `store` of params.yaml names."""
    return ShardPlace(ObjectStore(url)) if url else THIS_DISK


def fetched_together(shards: Sequence[ShardFile], most: int = FETCHED_BYTES) -> int:
    """The number of these shards that one process fetches at a time: of `most` bytes, so that TMPDIR holds them."""
    largest = max((shard.size for shard in shards), default=0)
    return min(max(FETCHED, most // max(1, largest)), CONNECTIONS)


def verify_all(shards: Iterable[ShardFile]) -> None:
    """`verify` of many; a store is asked for lists of what it holds if they are many."""
    shards = list(shards)
    stored = [shard for shard in shards if shard.stored]
    for url in {shard.stored.store for shard in stored if shard.stored}:
        mine = [shard for shard in stored if shard.stored and shard.stored.store == url]
        intact = ObjectStore(url).intact([shard.stored for shard in mine if shard.stored])
        for shard, holds in zip(mine, intact, strict=True):
            if holds:
                shard.mark_compared()
    at_once(ShardFile.verify, shards)


def write_lists(kept: Iterable[Kept]) -> None:
    """Write the list of each folder whose shards went into a store; it comes last, when they are all there."""
    folders: dict[Path, dict[str, Stored]] = {}
    for one in kept:
        for path, stored in one.stored.items():
            folders.setdefault(path.parent, {})[path.name] = stored
    for folder, named in folders.items():
        shard_lists.write(folder, named)

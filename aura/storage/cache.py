"""The action cache: what an action made of its inputs, kept under a hash of everything that decides it.

DVC reruns a whole stage for one changed file; this cache is to files what ccache is to object files. A key is
a hash of input bytes, options, library versions and the source of the code that transforms them, so an entry
is never stale, only unused. An entry is one file: a header (its parts with their checksums, and a small
record), then the parts. It is written aside and renamed, so a killed writer leaves nothing half-written and
writers need no locks; each part is checked when read (XXH3, 10 GB/s), and damage counts as a miss. The header's
checksum covers the key, so an entry in another one's place is damage, too. SQLite
(`diskcache`, which comes with DVC) would do it too, but pickles, and locks badly on network file systems.

Nothing here is synced to the disk: a power cut can empty or cut an entry, and its checksums then make it a miss.

A part that is a file (an output's shard) lies beside its entry as a hard link, where the file system has them, so
nothing is copied. The price: whoever alters an output in place alters what is kept of it, which is then found to be
damaged.

If entries cannot be written (the folder is another account's, read-only, or full), a spare folder beside the
project's own takes them. An entry that neither folder takes is not kept, which is said once. No failure of the cache
ends a run that can do without.

The price of all is disk: up to `cache.max_gb` between runs, and during a run what the run itself adds.
"""

import json
import mmap
import os
import shutil
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import xxhash

from aura.core import console
from aura.storage.store import at_once

FOLDER = Path(".aura/cache")
VARIABLE = "AURA_CACHE"  # names another folder, so that worktrees and experiments share one cache
_MAGIC = b"aura-cache-3"
_BLOCK = 1 << 20  # bytes hashed at a time
_HEAD = 1 << 13  # bytes read first: more than most headers
_DIGITS = 18  # at most, of a header's size
_ABANDONED = 24 * 3600.0  # seconds; an unfinished file of this age has no writer any more
_SAID = mmap.mmap(-1, 1)  # shared with forked workers: whether it was said that entries are not kept
Described = Mapping[str, tuple[int, str, bool]]  # by a part's name: size, XXH3, whether it is a file of its own


@dataclass(frozen=True)
class Stats:
    """The size of a cache."""

    entries: int
    bytes: int


@dataclass(frozen=True)
class Entry:
    """One cached result: its record, already checked, and its parts, which are checked when read."""

    cache: "Cache"
    key: str
    record_json: bytes
    parts: dict[str, tuple[int | None, int, str]]  # name: offset (None: a file of its own), size, XXH3

    @property
    def record(self) -> Any:  # noqa: ANN401 - anything JSON can hold
        """The record that `put` got; parsed only here, because a caller may want nothing but a part."""
        return json.loads(self.record_json)

    def read(self, name: str) -> bytes | None:
        """The bytes of a part that is no file; None if it is damaged or gone, and then the entry is removed."""
        start, size, _ = self.parts[name]
        if start is None:
            raise ValueError(f"{name} is a file of its own: use `place`")
        found = b""
        with suppress(OSError):
            found = self.cache.read_range(self.key, start, start + size)
        return found if self._intact(name, xxhash.xxh3_128(found)) else None

    def file(self, name: str) -> Path | None:
        """Return the path of a part that is a file; None if it is damaged or gone, and then the entry is removed."""
        kept, digest = self.cache.file(self.key, name), xxhash.xxh3_128()
        with suppress(OSError):
            for block in _blocks(kept):
                digest.update(block)
        return kept if self._intact(name, digest) else None

    def place(self, name: str, target: Path) -> bool:
        """Put a part that is a file at `target`; False, and no file, if it is damaged or gone."""
        if kept := self.file(name):
            with suppress(FileNotFoundError):
                _link(kept, target)
                return True
        return False

    def _intact(self, name: str, digest: "xxhash.xxh3_128") -> bool:
        intact = bool(digest.hexdigest() == self.parts[name][2])
        if not intact:
            self.cache.remove(self.key)
        return intact


@dataclass(frozen=True)
class Cache:
    """A folder of entries; any number of processes may use it at once."""

    folder: Path
    spare: Path | None = field(default=None, kw_only=True)  # of this account alone, for what `folder` does not take

    @property
    def address(self) -> str:
        """The place of the entries, to be read."""
        return str(self.folder)

    def get(self, key: str) -> Entry | None:
        """The entry of `key`, which then counts as used now; None if there is none, or its header is damaged."""
        try:
            entry = self._read_header(key)
            self._mark_used(key)
        except IsADirectoryError:
            entry = None
            self.remove(key)
        except OSError:  # not there; or another account's, whose umask let no one read it
            entry = None
        else:
            if entry is None:
                self.remove(key)
        return self._spare.get(key) if entry is None and self._spare else entry

    def get_all(self, keys: Sequence[str]) -> list[Entry | None]:
        """`get` of many, in order."""
        return at_once(self.get, keys)

    def there(self, keys: Sequence[str]) -> set[str]:
        """Those of `keys` that have an entry."""
        return {key for key, entry in zip(keys, self.get_all(keys), strict=True) if entry}

    def put(self, key: str, record: Any, parts: Mapping[str, bytes | Path]) -> None:  # noqa: ANN401 - JSON
        """Keep a record (JSON) and parts under `key`, in the place of what was there; a path's file is linked.

        An entry that the folder does not take (it belongs to another account, is read-only or full) goes to the spare
        folder. An entry that the spare folder does not take is not kept. Raises OSError if there is no spare folder, or
        a path is missing.
        """
        described = {name: _described(part) for name, part in parts.items()}
        try:
            self._put(key, record, parts, described)
        except OSError as error:
            if self.spare is None:
                raise
            try:
                self._spare_made(error)._put(key, record, parts, described)
            except OSError as second:
                _say_once(
                    f"note: nothing is kept for the next run: the action cache {self.folder} takes no entry here "
                    f"({error.strerror}), and {self.spare} none either ({second.strerror}). Check their disk's space, "
                    f"owner and permissions, or name another folder: {VARIABLE}=FOLDER"
                )

    def _put(
        self,
        key: str,
        record: Any,  # noqa: ANN401 - anything JSON can hold
        parts: Mapping[str, bytes | Path],
        described: Described,
    ) -> None:
        with self._new_file(key) as (file, path):
            for name, part in parts.items():
                if isinstance(part, Path):
                    self._keep_file(part, key, name)
            _write(file, key, record, described, [part for part in parts.values() if isinstance(part, bytes)])
            self._publish(path, key)

    @property
    def _spare(self) -> "Cache | None":
        return Cache(self.spare) if self.spare and os.path.isdir(self.spare) else None  # noqa: PTH112 - never raises

    def _spare_made(self, error: OSError) -> "Cache":
        """The spare cache; whoever makes its folder says so, and nobody else."""
        if self.spare is None:
            raise error
        with suppress(FileExistsError):
            self.spare.mkdir(parents=True)
            console.err.print(
                f"note: the action cache {self.folder} takes no entry here ({error.strerror}), so they go to "
                f"{self.spare}. Check its space, owner and mode, or name another folder: {VARIABLE}=FOLDER",
                markup=False,
            )
        return Cache(self.spare)

    def read_range(self, key: str, start: int, end: int) -> bytes:
        """Bytes `start` to `end` of an entry's file; fewer if it is shorter."""
        with open(self.path(key), "rb", opener=_without_waiting) as file:
            file.seek(start)
            return file.read(min(end, os.fstat(file.fileno()).st_size) - start) if end > start else b""

    def remove(self, *keys: str) -> None:
        """Remove entries, as far as they are there and this account may."""
        for path in map(self.path, keys):
            for file in (path, *path.parent.glob(f"{path.name}.*")):
                _remove(file)

    def stats(self) -> Stats:
        """Number and size of the entries."""
        entries, _ = self._listed()
        return Stats(len(entries), sum(size for _, size, _ in entries))

    def prune(self, max_bytes: float) -> Stats:
        """Remove the least recently used entries until the others hold at most `max_bytes`; returns what went."""
        entries, without = self._listed()
        self._remove_abandoned(without)
        held, gone, freed = sum(size for _, size, _ in entries), [], 0
        for _, size, key in sorted(entries):
            if held - freed <= max_bytes:
                break
            gone.append(key)
            freed += size
        self.remove(*gone)
        if self._spare:
            self._spare.prune(max_bytes)
        return Stats(len(gone), freed)

    def file(self, key: str, name: str) -> Path:
        """The place of a part that is a file."""
        return self.path(key).with_name(f"{key}.{name}")

    def prune_own(self, max_bytes: float) -> None:
        """`prune` after a run, if the entries are this machine's own."""
        self.prune(max_bytes)

    def path(self, key: str) -> Path:
        """The place of an entry."""
        return Path(f"{self.folder}/{key[:2]}/{key}")  # in half the time of two slashes

    def _read_header(self, key: str) -> Entry | None:
        """An entry without its parts; None if its header, or its size, is not as written."""
        content = self.read_range(key, 0, _HEAD)
        line, _, text = content.partition(b"\n")
        words = line.split()
        if len(words) != 3 or words[0] != _MAGIC or not words[1].isdigit() or len(words[1]) > _DIGITS:
            return None
        start, size = len(line) + 1, int(words[1])
        if len(text) < size:
            text += self.read_range(key, len(content), start + size)
        text = text[:size]
        if _checksum(key, text) != words[2]:
            return None
        described, _, record = text.partition(b"\n")  # JSON has no line break of its own
        parts, start = {}, start + size
        for name, (size, digest, own_file) in json.loads(described).items():
            parts[name] = (None if own_file else start, size, digest)
            start += 0 if own_file else size
        return Entry(self, key, record, parts) if self._may_end_at(key, start) else None

    def _may_end_at(self, key: str, size: int) -> bool:
        return self.path(key).stat().st_size == size

    def _mark_used(self, key: str) -> None:
        with suppress(OSError):  # another account's, or on a read-only file system
            os.utime(self.path(key))

    @contextmanager
    def _new_file(self, key: str) -> Iterator[tuple[IO[bytes], Path]]:
        """A file that no one else writes, and its path for `_publish`; readable by those whom the umask lets."""
        partial = self.folder / "partial"
        for folder in (self.path(key).parent, partial):
            folder.mkdir(parents=True, exist_ok=True)
        path = partial / uuid.uuid4().hex
        try:
            with path.open("xb") as file:
                yield file, path
        finally:
            path.unlink(missing_ok=True)

    def _keep_file(self, file: Path, key: str, name: str) -> None:
        with tempfile.TemporaryDirectory(dir=self.folder / "partial") as folder:
            _link(file, Path(folder, name))
            _replace(Path(folder, name), self.file(key, name))

    def _publish(self, file: Path, key: str) -> None:
        _replace(file, self.path(key))

    def _remove_abandoned(self, parts: list[str]) -> None:
        for path in (*self.folder.glob("partial/*"), *map(Path, parts)):
            with suppress(OSError):
                if time.time() - path.stat().st_ctime > _ABANDONED:
                    _remove(path)

    def _listed(self) -> tuple[list[tuple[float, int, str]], list[str]]:
        """Time of last use (s), size and key of each entry; and the files that are parts of no entry."""
        sizes, used, parts = Counter[str](), dict[str, float](), dict[str, str]()
        for entry in self._files():
            key, _, part = entry.name.partition(".")
            with suppress(OSError):  # another process may prune too
                found = entry.stat()
                sizes[key] += found.st_size
                if part:
                    parts[entry.path] = key
                else:
                    used[key] = found.st_mtime_ns / 1e9
        entries = [(used[key], sizes[key], key) for key in used]
        return entries, [path for path, key in parts.items() if key not in used and not os.path.lexists(self.path(key))]

    def _files(self) -> "Iterator[os.DirEntry[str]]":
        """Entries, and the parts that are files of their own: KEY and KEY.NAME."""
        for folder in self.folder.glob("[0-9a-f][0-9a-f]"):
            with suppress(OSError), os.scandir(folder) as entries:  # another account's, closed to this one
                yield from entries


def project_cache() -> Cache:
    """The cache of the project in the current folder, or the one that AURA_CACHE names."""
    return Cache(Path(os.environ.get(VARIABLE) or FOLDER), spare=FOLDER.with_name(f"cache-of-{os.geteuid()}"))


def _say_once(line: str) -> None:
    """Print a note, unless this process said it already, or one that it was forked from or that it forked."""
    if not _SAID[0]:
        _SAID[0] = 1
        console.err.print(line, markup=False)


def _checksum(key: str, header: bytes) -> bytes:
    """Of a header and of the key that it belongs to."""
    return xxhash.xxh3_128_hexdigest(b"%s\n%s" % (key.encode(), header)).encode()


def _described(part: bytes | Path) -> tuple[int, str, bool]:
    """Size and checksum of a part, and whether it is a file of its own."""
    size, digest = 0, xxhash.xxh3_128()
    for block in _blocks(part) if isinstance(part, Path) else [part]:
        digest.update(block)
        size += len(block)
    return size, digest.hexdigest(), isinstance(part, Path)


def _blocks(path: Path) -> Iterator[bytes]:
    with open(path, "rb", buffering=0, opener=_without_waiting) as file:
        while block := file.read(_BLOCK):
            yield block


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a FIFO in its place would otherwise wait for a writer for ever."""
    return os.open(path, flags | os.O_NONBLOCK)


def _remove(path: Path) -> None:
    """Remove a file, or a folder in its place, if it is there and this account may."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _replace(file: Path, target: Path) -> None:
    """Rename a file; it takes the place of a folder, too, which can only be damage."""
    try:
        file.replace(target)
    except IsADirectoryError:
        _remove(target)
        file.replace(target)


def _link(file: Path, target: Path) -> None:
    """Another name for a file; a copy where there can be no link."""
    target.unlink(missing_ok=True)
    try:
        target.hardlink_to(file)
    except FileNotFoundError:
        raise
    except OSError:  # another file system, or one without links
        shutil.copyfile(file, target)


def _write(
    file: IO[bytes],
    key: str,
    record: Any,  # noqa: ANN401 - anything JSON can hold
    described: Described,
    parts: Iterable[bytes],
) -> None:
    """Write an entry's file: one line with the header's size and checksum, the header, the parts."""
    header = b"%s\n%s" % tuple(json.dumps(value, separators=(",", ":")).encode() for value in (described, record))
    file.write(b"%s %d %s\n" % (_MAGIC, len(header), _checksum(key, header)))
    file.write(header)
    file.writelines(parts)
    file.flush()

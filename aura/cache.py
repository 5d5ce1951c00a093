"""The action cache: what an action made of its inputs, kept under a hash of everything that decides it.

DVC reruns a whole stage for one changed file; this cache is to files what ccache is to object files. A key is
a hash of input bytes, options, library versions and the source of the code that transforms them, so an entry
is never stale, only unused. An entry is one file: a header (its parts with their checksums, and a small
record), then the parts. It is written aside and renamed, so a killed writer leaves nothing half-written and
writers need no locks; each part is checked when read (XXH3, 10 GB/s), and damage counts as a miss. SQLite
(`diskcache`, which comes with DVC) would do it too, but pickles, and locks badly on network file systems.

A part that is a file (an output's shard) lies beside its entry as a hard link, where the file system has them, so
nothing is copied. The price: whoever alters an output in place alters what is kept of it, which is then found to be
damaged.

Where entries cannot be written, because the folder is another account's or read-only, a spare folder beside the
project's own takes them: large files are taken apart into the cache, so a run needs one.

The price of all is disk: up to `cache.max_gb` between runs, and during a run what the run itself adds.
"""

import errno
import json
import os
import platform
import shutil
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import xxhash

from aura import console

FOLDER = Path(".aura/cache")
VARIABLE = "AURA_CACHE"  # names another folder, so that worktrees and experiments share one cache
_MAGIC = b"aura-cache-2"
_BLOCK = 1 << 20  # bytes hashed at a time
_HEAD = 1 << 13  # bytes read first: more than most headers
_ABANDONED = 24 * 3600.0  # seconds; an unfinished file of this age has no writer any more


def action_key(*parts: Any) -> str:  # noqa: ANN401 - anything JSON can hold
    """The hash of what decides an action: 32 hexadecimal digits."""
    return xxhash.xxh3_128_hexdigest(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode())


def code_key(modules: Iterable[ModuleType], libraries: Iterable[str]) -> str:
    """The hash of the code that transforms: modules' source, libraries' versions, and Python's."""
    sources = {module.__name__: Path(str(module.__file__)).read_text(encoding="utf-8") for module in modules}
    return action_key(sources, {name: metadata.version(name) for name in libraries}, platform.python_version())


@dataclass(frozen=True)
class Stats:
    """What a cache holds."""

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
        """What `put` was given; parsed only here, because a caller may want nothing but a part."""
        return json.loads(self.record_json)

    def read(self, name: str) -> bytes | None:
        """The bytes of a part that is no file; None if it is damaged or gone, and then the entry is removed."""
        start, size, _ = self.parts[name]
        if start is None:
            raise ValueError(f"{name} is a file of its own: use `place`")
        found = b""
        with suppress(FileNotFoundError, PermissionError):
            found = self.cache.read_range(self.key, start, start + size)
        return found if self._intact(name, xxhash.xxh3_128(found)) else None

    def file(self, name: str) -> Path | None:
        """Where a part that is a file lies; None if it is damaged or gone, and then the entry is removed."""
        kept, digest = self.cache.file(self.key, name), xxhash.xxh3_128()
        with suppress(FileNotFoundError, PermissionError):
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
        """Where the entries lie, to be read."""
        return str(self.folder)

    def get(self, key: str) -> Entry | None:
        """The entry of `key`, which then counts as used now; None if there is none, or its header is damaged."""
        try:
            entry = self._read_header(key)
            self._mark_used(key)
        except OSError:  # not there; or another account's, whose umask let no one read it
            entry = None
        else:
            if entry is None:
                self.remove(key)
        return self._spare.get(key) if entry is None and self._spare else entry

    def put(self, key: str, record: Any, parts: Mapping[str, bytes | Path]) -> None:  # noqa: ANN401 - JSON
        """Keep a record (JSON) and parts under `key`, in the place of what was there; a path's file is linked.

        What the folder does not take (it belongs to another account, or is read-only) goes to the spare folder.
        """
        try:
            self._put(key, record, parts)
        except OSError as error:
            if self.spare is None or error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            self._spare_made(error).put(key, record, parts)

    def _put(self, key: str, record: Any, parts: Mapping[str, bytes | Path]) -> None:  # noqa: ANN401 - JSON
        described = {name: _described(part) for name, part in parts.items()}
        with _new_file(self._writing_folder(key)) as file:
            try:
                for name, part in parts.items():
                    if isinstance(part, Path):
                        self._keep_file(part, key, name)
                _write(file, record, described, [part for part in parts.values() if isinstance(part, bytes)])
                self._publish(Path(file.name), key)
            finally:
                Path(file.name).unlink(missing_ok=True)

    @property
    def _spare(self) -> "Cache | None":
        return Cache(self.spare) if self.spare and self.spare.exists() else None

    def _spare_made(self, error: OSError) -> "Cache":
        """The spare cache; whoever makes its folder says so, and nobody else."""
        if self.spare is None:
            raise error
        with suppress(FileExistsError):
            self.spare.mkdir(parents=True)
            console.err.print(
                f"note: the cache {self.folder} takes no entry here ({error.strerror}), so they go to {self.spare}. "
                f"Check its owner and permissions, or name another folder: {VARIABLE}=FOLDER",
                markup=False,
            )
        return Cache(self.spare)

    def read_range(self, key: str, start: int, end: int) -> bytes:
        """Bytes `start` to `end` of an entry's file; fewer if it is shorter."""
        with self.path(key).open("rb") as file:
            file.seek(start)
            return file.read(end - start)

    def remove(self, *keys: str) -> None:
        """Remove entries, as far as they are there and this account may."""
        for path in map(self.path, keys):
            for file in (path, *path.parent.glob(f"{path.name}.*")):
                with suppress(FileNotFoundError, PermissionError):
                    file.unlink()

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
        if len(words) != 3 or words[0] != _MAGIC or not words[1].isdigit():
            return None
        start, size = len(line) + 1, int(words[1])
        if len(text) < size:
            text += self.read_range(key, len(content), start + size)
        text = text[:size]
        if xxhash.xxh3_128_hexdigest(text).encode() != words[2]:
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
        with suppress(PermissionError):  # another account's, to be read only
            os.utime(self.path(key))

    def _writing_folder(self, key: str) -> Path | None:
        """Where a file is written that `_publish` takes; None: wherever temporary files go."""
        partial = self.folder / "partial"
        for folder in (self.path(key).parent, partial):
            folder.mkdir(parents=True, exist_ok=True)
        return partial

    def _keep_file(self, file: Path, key: str, name: str) -> None:
        with tempfile.TemporaryDirectory(dir=self._writing_folder(key)) as folder:
            _link(file, Path(folder, name))
            Path(folder, name).replace(self.file(key, name))

    def _publish(self, file: Path, key: str) -> None:
        file.replace(self.path(key))

    def _remove_abandoned(self, parts: list[str]) -> None:
        for path in (*self.folder.glob("partial/*"), *map(Path, parts)):
            with suppress(FileNotFoundError, PermissionError):
                if time.time() - path.stat().st_ctime > _ABANDONED:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _listed(self) -> tuple[list[tuple[float, int, str]], list[str]]:
        """Time of last use (s), size and key of each entry; and the files that are parts of no entry."""
        sizes, used, parts = Counter[str](), dict[str, float](), dict[str, str]()
        for entry in self._files():
            key, _, part = entry.name.partition(".")
            with suppress(FileNotFoundError):  # another process may prune too
                found = entry.stat()
                sizes[key] += found.st_size
                if part:
                    parts[entry.path] = key
                else:
                    used[key] = found.st_mtime_ns / 1e9
        entries = [(used[key], sizes[key], key) for key in used]
        return entries, [path for path, key in parts.items() if key not in used and not self.path(key).exists()]

    def _files(self) -> "Iterator[os.DirEntry[str]]":
        """Entries, and the parts that are files of their own: KEY and KEY.NAME."""
        for folder in self.folder.glob("[0-9a-f][0-9a-f]"):
            with os.scandir(folder) as entries:
                yield from entries


def project_cache() -> Cache:
    """The cache of the project in the current folder, or the one that AURA_CACHE names."""
    return Cache(Path(os.environ.get(VARIABLE) or FOLDER), spare=FOLDER.with_name(f"cache-of-{os.geteuid()}"))


@contextmanager
def _new_file(folder: Path | None) -> Iterator[Any]:
    """A file to write that no one else writes: in `folder`, readable as the umask says; else private, in TMPDIR."""
    if folder is None:
        with tempfile.NamedTemporaryFile(delete=False) as file:
            yield file
    else:
        with (folder / uuid.uuid4().hex).open("xb") as file:
            yield file


def _described(part: bytes | Path) -> tuple[int, str, bool]:
    """Size and checksum of a part, and whether it is a file of its own."""
    size, digest = 0, xxhash.xxh3_128()
    for block in _blocks(part) if isinstance(part, Path) else [part]:
        digest.update(block)
        size += len(block)
    return size, digest.hexdigest(), isinstance(part, Path)


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            yield block


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
    file: Any,  # noqa: ANN401 - tempfile's wrapper of a binary file
    record: Any,  # noqa: ANN401 - anything JSON can hold
    described: Mapping[str, tuple[int, str, bool]],
    parts: Iterable[bytes],
) -> None:
    """Write an entry's file: one line with the header's size and checksum, the header, the parts."""
    header = b"%s\n%s" % tuple(json.dumps(value, separators=(",", ":")).encode() for value in (described, record))
    file.write(b"%s %d %s\n" % (_MAGIC, len(header), xxhash.xxh3_128_hexdigest(header).encode()))
    file.write(header)
    file.writelines(parts)
    file.flush()

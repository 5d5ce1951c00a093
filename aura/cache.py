"""The action cache: what an action made of its inputs, kept under a hash of everything that decides it.

DVC reruns a whole stage for one changed file; this cache is to files what ccache is to object files. A key is
a hash of input bytes, options, library versions and the source of the code that transforms them, so an entry
is never stale, only unused. An entry is one file: a header (its parts with their checksums, and a small
record), then the parts. It is written aside and renamed, so a killed writer leaves nothing half-written and
writers need no locks; each part is checked when read (XXH3, 10 GB/s), and damage counts as a miss. SQLite
(`diskcache`, which comes with DVC) would do it too, but pickles, and locks badly on network file systems.

The price is disk: up to `cache.max_gb` between runs, and during a run what the run itself adds.
"""

import json
import os
import platform
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import xxhash

FOLDER = Path(".aura/cache")
VARIABLE = "AURA_CACHE"  # names another folder, so that worktrees and experiments share one cache
_MAGIC = b"aura-cache-1"
_BLOCK = 1 << 20  # bytes copied at a time
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

    path: Path
    record_json: bytes
    parts: dict[str, tuple[int, int, str]]  # name: offset, size, XXH3

    @property
    def record(self) -> Any:  # noqa: ANN401 - anything JSON can hold
        """What `put` was given; parsed only here, because a caller may want nothing but a part."""
        return json.loads(self.record_json)

    def read(self, name: str) -> bytes | None:
        """The bytes of a part; None if it is damaged or gone, and then the entry is removed."""
        found = b"".join(self._blocks(name))
        return found if self._intact(name, xxhash.xxh3_128(found)) else None

    def copy(self, name: str, target: Path) -> bool:
        """Write a part to the file `target`; False, and no file, if it is damaged or gone."""
        digest = xxhash.xxh3_128()
        with target.open("wb") as file:
            for block in self._blocks(name):
                digest.update(block)
                file.write(block)
        if self._intact(name, digest):
            return True
        target.unlink()
        return False

    def _blocks(self, name: str) -> Iterator[bytes]:
        start, left, _ = self.parts[name]
        with suppress(FileNotFoundError), self.path.open("rb") as file:
            file.seek(start)
            while block := file.read(min(left, _BLOCK)):
                left -= len(block)
                yield block

    def _intact(self, name: str, digest: "xxhash.xxh3_128") -> bool:
        intact = bool(digest.hexdigest() == self.parts[name][2])
        if not intact:
            self.path.unlink(missing_ok=True)
        return intact


@dataclass(frozen=True)
class Cache:
    """A folder of entries; any number of processes may use it at once."""

    folder: Path

    def get(self, key: str) -> Entry | None:
        """The entry of `key`, which then counts as used now; None if there is none, or its header is damaged."""
        path = self._path(key)
        try:
            with path.open("rb") as file:
                entry = _read_header(path, file)
            os.utime(path)
        except FileNotFoundError:
            return None
        if entry is None:
            path.unlink(missing_ok=True)
        return entry

    def put(self, key: str, record: Any, parts: Mapping[str, bytes | Path]) -> None:  # noqa: ANN401 - JSON
        """Keep a record (JSON) and parts (bytes, or files to copy) under `key`, in the place of what was there."""
        path = self._path(key)
        partial = self.folder / "partial"
        for folder in (path.parent, partial):
            folder.mkdir(parents=True, exist_ok=True)
        described = {name: _describe(part) for name, part in parts.items()}
        with tempfile.NamedTemporaryFile(dir=partial, delete=False) as file:
            try:
                _write(file, record, described, parts)
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise

    def stats(self) -> Stats:
        """Number and size of the entries."""
        sizes = [size for _, size, _ in self._entries()]
        return Stats(len(sizes), sum(sizes))

    def prune(self, max_bytes: float) -> Stats:
        """Remove the least recently used entries until the others hold at most `max_bytes`; returns what went."""
        for path in self.folder.glob("partial/*"):
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _ABANDONED:
                    path.unlink()
        held, count, freed = self.stats().bytes, 0, 0
        for _, size, path in sorted(self._entries()):
            if held - freed <= max_bytes:
                break
            path.unlink(missing_ok=True)
            count, freed = count + 1, freed + size
        return Stats(count, freed)

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key

    def _entries(self) -> Iterator[tuple[int, int, Path]]:
        """Time of last use (ns), size and place of each entry."""
        for path in self.folder.glob("[0-9a-f][0-9a-f]/*"):
            with suppress(FileNotFoundError):  # another process may prune too
                found = path.stat()
                yield found.st_mtime_ns, found.st_size, path


def project_cache() -> Cache:
    """The cache of the project in the current folder, or the one that AURA_CACHE names."""
    return Cache(Path(os.environ.get(VARIABLE) or FOLDER))


def _describe(part: bytes | Path) -> tuple[int, str]:
    """Size and checksum of a part."""
    size, digest = 0, xxhash.xxh3_128()
    for block in _part_blocks(part):
        digest.update(block)
        size += len(block)
    return size, digest.hexdigest()


def _part_blocks(part: bytes | Path) -> Iterator[bytes]:
    if isinstance(part, bytes):
        yield part
        return
    with part.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block


def _write(
    file: Any,  # noqa: ANN401 - tempfile's wrapper of a binary file
    record: Any,  # noqa: ANN401 - anything JSON can hold
    described: Mapping[str, tuple[int, str]],
    parts: Mapping[str, bytes | Path],
) -> None:
    """Write a whole entry: one line with the header's size and checksum, the header, the parts."""
    header = b"%s\n%s" % tuple(json.dumps(value, separators=(",", ":")).encode() for value in (described, record))
    file.write(b"%s %d %s\n" % (_MAGIC, len(header), xxhash.xxh3_128_hexdigest(header).encode()))
    file.write(header)
    for part in parts.values():
        for block in _part_blocks(part):
            file.write(block)
    file.flush()


def _read_header(path: Path, file: BinaryIO) -> Entry | None:
    """The entry in `file`; None if its header, or its size, is not as written."""
    words = file.readline(100).split()
    if len(words) != 3 or words[0] != _MAGIC or not words[1].isdigit():
        return None
    text = file.read(int(words[1]))
    if xxhash.xxh3_128_hexdigest(text).encode() != words[2]:
        return None
    described, _, record = text.partition(b"\n")  # JSON has no line break of its own
    parts, start = {}, file.tell()
    for name, (size, digest) in json.loads(described).items():
        parts[name] = (start, size, digest)
        start += size
    return Entry(path, record, parts) if start == os.fstat(file.fileno()).st_size else None

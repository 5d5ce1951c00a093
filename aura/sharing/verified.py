"""Files whose bytes were found to have their MD5, and the stamps by which they are known to be the same still.

A mode of 0444 proves nothing: after a power cut, an object of DVC's cache may be empty with that mode. So a file is
hashed once (about 0.6 GB a second and core), and again only when its stamp changed: size, inode, and the times of
modification and change. No program can set the last one; damage on the disk itself escapes, and `aura repair --all`
finds it. A file is synced before it is hashed, because bytes that are right in memory may still be lost.
"""

import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from aura.core import files

FILE = Path(".aura/verified.json")
FORMAT = 1
Stamp = list[int]
_YOUNG = 2.0  # seconds; a file changed so lately may change again within a tick of the file system's clock


def md5(path: Path) -> str:
    """The MD5 of a file's bytes, by which DVC names it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def stamp_of(path: Path | str) -> Stamp | None:
    """Size (bytes), inode, and times of modification and change (ns) of a file; None if there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - of ten thousands of files
    except OSError:
        return None
    return [found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns]


class Verified:
    """The record of a project's verified files, in `.aura/verified.json`; a damaged record is an empty one."""

    def __init__(self, file: Path | None = None, *, trusted: bool = True) -> None:
        """Load the record in `file` (None: begin one that is never saved); unless `trusted`, nothing in it counts."""
        self.hashed = self.bytes = 0  # files read since, and their size
        self.cache, self.configuration = "", dict[str, Stamp | None]()
        self._file, self._seen, self._lock = file, dict[str, list[str | Stamp]](), threading.Lock()
        self._known = dict[str, list[str | Stamp]]()
        if file and trusted:
            with suppress(OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
                content = json.loads(file.read_bytes())
                if content["format"] == FORMAT:
                    self._known = dict(content["files"])
                    self.cache, self.configuration = str(content["cache"]), dict(content["configuration"])

    def holds(self, path: Path | str, digest: str) -> bool:
        """Return whether the file at `path` has the MD5 `digest`: by stamp, otherwise by bytes. Absent is False."""
        stamp = stamp_of(path)
        known = self._known.get(str(path))
        if stamp is not None and known == [digest, stamp]:
            self._seen[str(path)] = known
            return True
        found = self._read(Path(path))
        young = stamp is None or time.time() - max(stamp[2], stamp[3]) / 1e9 < _YOUNG
        if found == digest and stamp is not None and not young and stamp == stamp_of(path):
            self._seen[str(path)] = self._known[str(path)] = [digest, stamp]
        return found == digest

    def note(self, path: Path | str) -> None:
        """Remember the stamp of a file that was checked in another way."""
        if stamp := stamp_of(path):
            self._seen[str(path)] = self._known[str(path)] = ["", stamp]

    def noted(self, path: Path | str) -> bool:
        """Return whether a file is as it was when `note` was called."""
        same = stamp_of(path) is not None and self._known.get(str(path)) == ["", stamp_of(path)]
        if same:
            self._seen[str(path)] = self._known[str(path)]
        return same

    def save(self, *, complete: bool = False) -> None:
        """Write the record; where it is `complete`, what was not asked about since it was loaded is forgotten."""
        if self._file:
            known = self._seen if complete else self._known
            content = {"format": FORMAT, "cache": self.cache, "configuration": self.configuration, "files": known}
            if self._file.is_dir():
                files.remove(self._file)
            files.write_bytes(self._file, json.dumps(content, separators=(",", ":")).encode())

    def nothing_new(self) -> bool:
        """Return whether all that a complete `aura repair` looks at is as it left it; reads stamps, opens no file."""
        if (
            not self.cache
            or not is_idle(Path(".dvc/tmp/rwlock"))
            or any(stamp_of(path) != stamp for path, stamp in self.configuration.items())
        ):
            return False
        if any(path not in self._known for path in cached_files(Path(self.cache))):
            return False
        if any(not any(folder.iterdir()) for folder in Path(self.cache).glob("runs/*/*") if folder.is_dir()):
            return False  # DVC fails on a folder without a record
        return all(stamp_of(path) == known[1] for path, known in self._known.items())

    def _read(self, path: Path) -> str | None:
        try:
            with path.open("rb") as file:
                with suppress(OSError):  # a file system that is read-only, or cannot sync
                    os.fsync(file.fileno())
                digest = hashlib.file_digest(file, "md5").hexdigest()
                size = file.tell()
        except OSError:  # absent, no file at all, or the disk cannot read it
            return None
        with self._lock:
            self.hashed += 1
            self.bytes += size
        return digest


def cached_files(cache: Path) -> Iterator[str]:
    """Every object and every run's record in DVC's cache."""
    for pattern in ("files/md5/??/*", "runs/*/*/*"):
        yield from (str(path) for path in cache.glob(pattern))


def is_idle(path: Path) -> bool:
    """Return whether DVC's list of readers and writers at `path` names none."""
    try:
        return not any(json.loads(path.read_bytes()).values())
    except FileNotFoundError:
        return True
    except (OSError, ValueError, AttributeError, RecursionError):
        return False

"""The files below a folder: found, named and hashed; what is no readable file is found too, so that it is counted.

A folder of 30,000 files is listed at every run, so nothing is asked of a file that the folder does not say itself.
"""

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import xxhash

from aura.ingestion.compression import plain_name

SUFFIXES = {"txt": (".txt", ".md"), "json": (".json", ".jsonl"), "parquet": (".parquet",)}
_BLOCK = 1 << 20  # bytes hashed at a time
_KINDS = {stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file to read: its name in manifests (relative to its source, always valid Unicode) and its place."""

    name: str
    place: str
    problem: str = ""  # why it must not be opened, if so
    known: tuple[str, int] | None = None  # what `fingerprint` gives, where that was found out already

    @property
    def path(self) -> Path:
        """The place as a path; made only where it is needed."""
        return Path(self.place)

    def size(self) -> int:
        """Bytes, as its folder has it; 0 where it cannot be read."""
        if self.known or self.problem:
            return self.known[1] if self.known else 0
        try:
            return os.stat(self.place).st_size  # noqa: PTH116 - a path for each of 30,000 files takes as long again
        except OSError:
            return 0

    def fingerprint(self) -> tuple[str, int]:
        """XXH3 and size of its bytes; why it cannot be read, and 0, where that is so."""
        if self.known:
            return self.known
        if self.problem:
            return self.problem, 0
        try:
            return hash_file(self.place)
        except OSError as error:
            return unreadable(error), 0


def hash_file(path: str | Path) -> tuple[str, int]:
    """XXH3 (32 hexadecimal digits) and size of a file."""
    digest, size = xxhash.xxh3_128(), 0
    descriptor = os.open(path, os.O_RDONLY)  # half the time of a file object, for 30,000 of them
    try:
        while block := os.read(descriptor, _BLOCK):
            digest.update(block)
            size += len(block)
    finally:
        os.close(descriptor)
    return digest.hexdigest(), size


def unreadable(error: OSError) -> str:
    """What stands for the content of a file that cannot be read."""
    return f"unreadable: {error.strerror}"


def has_suffix(name: str, suffixes: tuple[str, ...]) -> bool:
    """Whether a file's name, without the suffix of its compression, ends with one of `suffixes`."""
    return plain_name(name).lower().endswith(suffixes)


def chosen_by(kind: str, glob: str | None) -> Callable[[str], bool]:
    """Which names (relative, with `/`) a source reads: those that match its glob, or end as its kind's files do."""
    if glob is None:
        suffixes = SUFFIXES[kind]
        return lambda name: has_suffix(name, suffixes)
    import re

    from fsspec.utils import glob_translate

    matches = re.compile(glob_translate(glob)).match
    return lambda name: matches(name) is not None


def files_below(folder: Path, chosen: Callable[[str], bool]) -> list[InputFile]:
    """The files below `folder` that are `chosen` by their names, sorted by name.

    A name that is no valid UTF-8 is shown with escapes. Links to files count as files. Links to folders are not
    followed (they may lead in circles): each is given with this as its problem, as are FIFOs, sockets and devices.
    """
    return sorted(_below(folder, chosen), key=lambda file: (file.name, file.place))


def _below(folder: Path, chosen: Callable[[str], bool]) -> Iterator[InputFile]:
    waiting = [(str(folder), "")]
    while waiting:
        place, prefix = waiting.pop()
        for entry in _entries(place):
            name = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                waiting.append((entry.path, f"{name}/"))
            elif entry.is_file(follow_symlinks=False):
                if chosen(name):
                    yield InputFile(_shown(name), entry.path)
            elif problem := _problem(entry, chosen(name)):
                yield InputFile(_shown(name), entry.path, problem)
            elif chosen(name):
                yield InputFile(_shown(name), entry.path)


def _entries(place: str) -> Iterable["os.DirEntry[str]"]:
    """What a folder holds. One that cannot be listed may hold documents: that stops, it does not lose them."""
    try:
        with os.scandir(place) as entries:
            return list(entries)
    except FileNotFoundError:  # removed a moment ago
        return []


def _problem(entry: "os.DirEntry[str]", chosen: bool) -> str:
    """Why something that is neither file nor folder must not be read; empty for a link to a file."""
    try:
        mode = entry.stat().st_mode
    except OSError:  # a dangling link, or links in a circle: opening it says which, and is counted
        return ""
    if stat.S_ISDIR(mode):
        return "linked folder, not followed"
    return "" if stat.S_ISREG(mode) or not chosen else f"not a file: {_KINDS.get(stat.S_IFMT(mode), 'unknown')}"


def _shown(name: str) -> str:
    return name if name.isascii() else os.fsencode(name).decode("utf-8", "backslashreplace")

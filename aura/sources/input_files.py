"""The files below a folder: found, named and hashed; what is no readable file is found too, so that it is counted.

A folder of 100,000 files is listed at every run, so nothing is asked of a file but its size and its stamp: what the
file system changes whenever it changes the content. DVC and git trust the same.
"""

import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import xxhash

from aura.core.errors import UserError
from aura.sources import object_reader
from aura.sources.documents.compression import FORMATS, plain_name
from aura.sources.documents.regular_files import kind_of, of_the_system, open_regular, read_regular
from aura.sources.object_reader import Stored

SUFFIXES = {
    "txt": (".txt", ".md"),
    "json": (".json", ".jsonl", ".ndjson", ".jsonlines"),
    "parquet": (".parquet",),
}
Links = Literal["inside", "anywhere"]  # where links to files may lead
HIDDEN = "hidden, left out"
LEADS_OUT = "link out of the source, not followed"
LINKED_FOLDER = "linked folder, not followed"
UNREADABLE = "unreadable: "  # to this user, now: the file need not change to become readable
_BRACES = re.compile(r"\{([^{}]*,[^{}]*)\}")
_BLOCK = 1 << 20  # bytes hashed at a time
_COARSEST_CLOCK = 2_000_000_000  # ns; how far a file system's clock may lag behind, or be rounded
_HIDDEN_STARTS = (".", "~$")  # of names: .git, .ipynb_checkpoints, ._x of macOS, ~$x of Office
_HIDDEN_FOLDERS = {"_temporary", "_delta_log", "_spark_metadata"}  # Spark's own: unfinished output, and logs


class InputFile(NamedTuple):
    """A file to read, as it was when it was listed."""

    name: str  # in manifests: relative to its source, always valid Unicode
    folder: str
    below: str  # its name below the folder, as the system has it
    size: int  # bytes; 0 where that cannot be found out
    stamp: int  # another whenever the content is; 0 if that is not certain
    problem: str = ""  # why it must not be opened, if so
    known: tuple[str, int] | None = None  # what `fingerprint` gave when a pin was compared with it
    stored: Stored | None = None  # of an object behind a URL, which is read where it is
    content: bytes | None = None  # of an object that was fetched ahead

    def __str__(self) -> str:
        return self.place

    @property
    def place(self) -> str:
        """Its place, as text."""
        return f"{self.folder}/{self.below}"

    @property
    def path(self) -> Path:
        """The place as a path; made only where it is needed."""
        return Path(self.place)

    def fingerprint(self) -> tuple[str, int]:
        """XXH3 and size of its bytes, as known; or why it cannot be read, and 0, where that is so."""
        return self.known or self.fingerprint_now()

    def fingerprint_now(self) -> tuple[str, int]:
        """The same, found out now."""
        if self.problem:
            return self.problem, 0
        if self.stored:
            return object_reader.digest(self.place, self.stored), self.size
        try:
            return hash_file(self.place)
        except OSError as error:
            return unreadable(error), 0

    def open(self) -> BinaryIO:
        """Its bytes, as a stream that can seek; raises `OSError` where a file of this machine cannot be read.

        An object that cannot be had as it was pinned is a `UserError`, here and while it is read.
        """
        if self.stored:
            return object_reader.stream(self.place, self.stored)
        return open(open_regular(self.place), "rb")  # noqa: PTH123 - a descriptor

    def read(self) -> bytes:
        """All of its bytes; raises as `open` does."""
        if self.content is not None:
            return self.content
        return object_reader.read(self.place, self.stored) if self.stored else read_regular(self.place)

    def digest_of(self, content: bytes) -> str:
        """The digest, as `fingerprint` gives it, of a file that was read whole."""
        return self.fingerprint_now()[0] if self.stored else xxhash.xxh3_128_hexdigest(content)

    def require(self, digest: str) -> None:
        """Raise `UserError` if what was read of it is not what its pin describes."""
        if self.known and self.known[0] != digest:
            raise UserError(changed_while_read(self.place))


def fetched_ahead(files: Iterable[InputFile]) -> Iterator[InputFile]:
    """The files, of which those that are objects have their content: many are fetched at a time."""
    files = list(files)
    if not any(file.stored for file in files):
        yield from files
        return
    with ThreadPoolExecutor(object_reader.CONNECTIONS) as pool:
        yield from pool.map(_fetched, files)


def _fetched(file: InputFile) -> InputFile:
    return file._replace(content=file.read()) if file.stored and not file.problem else file


def changed_while_read(place: str) -> str:
    """Word the error about a file that became another."""
    return f"{place} changed while it was read. Run the same command again."


def input_file(name: str, place: str) -> InputFile:
    """The file at `place`, under a name of the caller's."""
    folder, below = os.path.split(place)
    return InputFile(name, folder or ".", below, *_size_and_stamp(place, _settled()))


def _settled() -> int:
    """Files last changed before this time (ns since 1970) have other times by now if they were changed again."""
    return time.time_ns() - _COARSEST_CLOCK


def _size_and_stamp(place: str, settled: int, folder: int | None = None) -> tuple[int, int]:
    """Of the file at `place`, below an open `folder` if that is given: a shorter way for the system."""
    try:
        found = os.stat(place, dir_fd=folder)  # a path for each of 100,000 files takes as long again
    except OSError:
        return 0, 0
    if found.st_ctime_ns > settled:
        return found.st_size, 0
    # Unlike the time of modification, nobody can set the time of the last change of any kind (ctime). Python's hash of
    # integers is the same in every process.
    return found.st_size, hash((found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)) or 1


def hash_file(path: str | Path) -> tuple[str, int]:
    """XXH3 (32 hexadecimal digits) and size of a file."""
    digest, size = xxhash.xxh3_128(), 0
    descriptor = open_regular(path)  # half the time of a file object, for 30,000 of them
    try:
        while block := os.read(descriptor, _BLOCK):
            digest.update(block)
            size += len(block)
    finally:
        os.close(descriptor)
    return digest.hexdigest(), size


def unreadable(error: OSError) -> str:
    """Return the words that stand for the content of a file that cannot be read."""
    return f"{UNREADABLE}{error.strerror}"


def has_suffix(name: str, suffixes: tuple[str, ...]) -> bool:
    """Return whether a file's name, without the suffix of its compression, ends with one of `suffixes`."""
    return name.endswith(suffixes) or plain_name(name).lower().endswith(suffixes)


def chosen_by(kind: str, glob: str | None) -> Callable[[str], bool]:
    """Return a test of names (relative, with `/`) that a source reads: by its glob, or by the suffixes of its kind."""
    if glob is None:
        suffixes = SUFFIXES[kind]
        return lambda name: has_suffix(name, suffixes)
    from fsspec.utils import glob_translate

    matches = re.compile("|".join(map(glob_translate, alternatives(glob)))).match
    return lambda name: matches(name) is not None


def suffix_glob(kind: str) -> str:
    """The end of a glob for the files of a kind, compressed or not."""
    return f"{{{','.join(SUFFIXES[kind])}}}{{,{','.join(FORMATS)}}}"


def names_hidden(glob: str | None) -> bool:
    """Return whether a glob asks for hidden files itself, as in `.config/*.txt`."""
    return glob is not None and is_hidden(glob)


def is_hidden(name: str) -> bool:
    """Return whether a relative name, or a folder in it, is hidden."""
    return any(part.startswith(_HIDDEN_STARTS) or part in _HIDDEN_FOLDERS for part in name.split("/"))


def alternatives(glob: str) -> list[str]:
    """The globs without braces that one with them stands for (`{a,b}.txt`), each relative to the source's folder.

    A slash at its end means all below that folder. Raises `UserError` for one that stands for more than 1,000.
    """
    waiting, found = [glob + "**" if glob.endswith("/") else glob], list[str]()
    while waiting:
        if len(waiting) + len(found) > 1000:
            raise UserError(f"the glob {glob} stands for more than 1,000 others. Write a shorter one")
        pattern = waiting.pop(0)
        if braces := _BRACES.search(pattern):
            before, after = pattern[: braces.start()], pattern[braces.end() :]
            waiting += [before + choice + after for choice in braces[1].split(",")]
        else:
            found.append(re.sub(r"^(\./+)+", "", pattern))
    return found


def files_at(
    path: Path, chosen: Callable[[str], bool], *, hidden: bool = False, links: Links = "inside"
) -> list[InputFile]:
    """List the files of a source at `path`: that file, whatever its name, or the `chosen` files of that folder."""
    if path.is_dir():
        return files_below(path, chosen, hidden=hidden, links=links)
    return [input_file(_shown(path.name), str(path))]


def files_below(
    folder: Path, chosen: Callable[[str], bool], *, hidden: bool = False, links: Links = "inside"
) -> list[InputFile]:
    """The files below `folder` that are `chosen` by their names, sorted by name.

    A name that is no valid UTF-8 is shown with escapes. Links to files count as files. A file that is not read has the
    reason as its problem: links to folders (they may lead in circles), links that lead out of `folder` (unless `links`
    is "anywhere"), FIFOs, sockets and devices, and hidden files and folders (unless `hidden`), a folder as one.
    """
    return sorted(_below(str(folder), chosen, hidden=hidden, links=links))


def _below(folder: str, chosen: Callable[[str], bool], *, hidden: bool, links: Links) -> Iterator[InputFile]:
    waiting, settled = [(folder, "")], _settled()
    root = os.path.join(os.path.realpath(folder), "") if links == "inside" else "/"  # noqa: PTH118 - ends with one /
    while waiting:
        place, prefix = waiting.pop()
        try:
            descriptor = os.open(place, os.O_RDONLY)
        except FileNotFoundError:  # removed a moment ago; one that cannot be listed may hold documents: that stops
            continue
        try:
            for entry in _entries(descriptor):
                name, is_folder = prefix + entry.name, entry.is_dir(follow_symlinks=False)
                if not hidden and (entry.name.startswith(_HIDDEN_STARTS) or entry.name in _HIDDEN_FOLDERS):
                    if is_folder or chosen(name):
                        yield _not_read(folder, name, HIDDEN)
                elif is_folder:
                    waiting.append((f"{place}/{entry.name}", f"{name}/"))
                elif not entry.is_file(follow_symlinks=False) and (
                    problem := _problem(entry, f"{place}/{entry.name}", root, chosen=chosen(name))
                ):
                    yield _not_read(folder, name, problem)
                elif chosen(name):
                    yield InputFile(_shown(name), folder, name, *_size_and_stamp(entry.name, settled, descriptor))
        finally:
            os.close(descriptor)


def _not_read(folder: str, name: str, problem: str) -> InputFile:
    return InputFile(_shown(name), folder, name, 0, stamp_of(problem), problem)


def stamp_of(content: str) -> int:
    """The stamp of what words describe wholly: a reason for not reading, or the digest of an object."""
    return int(xxhash.xxh3_64_hexdigest(content.encode())[:15], 16) or 1


def _entries(descriptor: int) -> Iterator["os.DirEntry[str]"]:
    with os.scandir(descriptor) as entries:
        yield from entries


def _problem(entry: "os.DirEntry[str]", place: str, root: str, *, chosen: bool) -> str:
    """Why something that is neither file nor folder must not be read; empty for a link to a file below `root`."""
    try:
        mode = entry.stat().st_mode
    except OSError:  # a dangling link, or links in a circle: opening it says which, and is counted
        return ""
    if stat.S_ISDIR(mode):
        return LINKED_FOLDER
    if not chosen:
        return ""
    real = os.path.realpath(place)
    return kind_of(mode) or of_the_system(real) or ("" if real.startswith(root) else LEADS_OUT)


def _shown(name: str) -> str:
    return name if name.isascii() else os.fsencode(name).decode("utf-8", "backslashreplace")

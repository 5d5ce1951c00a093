"""Files and folders that are either whole or absent, also after a power cut, and their hashes.

Every output is written beside its place, synced to the disk and renamed into it, so a killed writer or a power cut
leaves the old state (or none) and never a half one. A writer holds a lock on its unfinished folder; one without a
lock was left by a killed writer, and the next writer of the same output removes it. Inside an unfinished folder files
are not synced one by one: all are when it is finished, 16 at a time.
"""

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from aura.core import bounded, ranks
from aura.core.errors import UserError

_AT_ONCE = 16  # files that are synced at a time: the disk then writes its journal once for several
_PATIENCE = 5.0  # seconds that a killed writer's processes get to end
_ABANDONED = 24 * 3600.0  # seconds; where there are no locks, an unfinished output of this age has no writer
_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux
_unfinished: set[Path] = set()  # folders that this process is writing, and will sync


@contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """Give a fresh folder to write into; on success it takes the place of `path`, whatever was there.

    Leftovers of killed runs are removed first. If the body raises, `path` is left as it was. A rank
    (`aura/core/ranks.py`) gets a folder of its own, and ends here before it would replace anything.
    """
    if rank := ranks.here():
        path = path.with_name(f"{path.name}.rank-{rank.number}")
    for old in leftovers(path, patience=_PATIENCE):
        remove(old)
    make_folder(path.parent)
    partial = path.with_name(f".{path.name}.{os.urandom(4).hex()}.partial")
    try:
        partial.mkdir()
    except OSError as error:
        error.filename = str(path)
        raise
    lock = os.open(partial, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_SH)
        _unfinished.add(partial)
        yield partial
        ranks.end_of_part()
        place_folder(partial, path)
    except BaseException:
        remove(partial)
        raise
    finally:
        _unfinished.discard(partial)
        os.close(lock)


def place_folder(partial: Path, path: Path) -> None:
    """Sync a finished folder and rename it to `path`; what was there is deleted afterwards."""
    sync_folder(partial)
    is_folder = path.is_dir() and not path.is_symlink()
    if not (is_folder and _exchanged(partial, path)):
        if is_folder:  # a file or a link in its place is the user's: the rename then fails
            remove(path)
        partial.rename(path)
    sync(path.parent)
    remove(partial)  # after an exchange, what was there


@contextmanager
def replaced_file(path: Path) -> Iterator[BinaryIO]:
    """Give a fresh file to write; on success it takes the place of `path`: a reader never sees a part of it."""
    make_folder(path.parent)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with _own_file(partial) as file:
            try:
                yield file
                file.flush()
                if _unfinished.isdisjoint(path.parents):
                    os.fsync(file.fileno())
                partial.replace(path)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
        if _unfinished.isdisjoint(path.parents):
            sync(path.parent)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk does not say where
        raise


@contextmanager
def _own_file(path: Path) -> Iterator[BinaryIO]:
    """An empty file that no other process writes at the same time; what a killed one left of it is used again."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        with os.fdopen(descriptor, "wb") as file:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    file.truncate(0)
                    yield file
                    return


def leftovers(path: Path, patience: float = 0.0) -> list[Path]:
    """The unfinished folders and files of the output `path` that no living process writes.

    `patience` is how many seconds the processes of a killed writer get to end.
    """
    name = re.compile(rf"\.{re.escape(path.name)}(\.rank-\d+)?(\.[0-9a-f]{{8}})?\.partial")
    there = sorted(path.parent.iterdir()) if path.parent.is_dir() else []
    return [entry for entry in there if name.fullmatch(entry.name) and _is_left(entry, patience)]


def _is_left(path: Path, patience: float) -> bool:
    until = time.monotonic() + patience
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until:
                    return False
                time.sleep(0.05)
            except OSError:  # no locks here
                return time.time() - os.fstat(descriptor).st_mtime > _ABANDONED
            else:
                return True
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, as far as they are missing, and sync the folders that hold them."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from None
    for made in missing if _unfinished.isdisjoint((folder, *folder.parents)) else ():
        sync(made.parent)


def sync(path: Path) -> None:
    """Return once a file's bytes, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if path.is_dir():
            with suppress(OSError):  # some file systems cannot sync a folder
                os.fsync(descriptor)
        else:
            getattr(os, "fdatasync", os.fsync)(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """`sync` of all that is below a folder, and of the folder."""
    files, folders = [], []
    for root, _, names in os.walk(folder, topdown=False):
        folders.append(Path(root))
        files += [Path(root, name) for name in names if not Path(root, name).is_symlink()]
    from concurrent.futures import ThreadPoolExecutor  # 5 ms, which a program that only reads saves

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(sync, files))
    for one in folders:
        sync(one)


def remove(path: Path) -> None:
    """Delete a file, a link or a folder with all that is in it, if it is there; what cannot be deleted stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def make_readable(path: Path, *, writable: bool = False) -> bool:
    """Give this account the right to read (and write) a file, if it has not; whether there is one that can be read."""
    try:
        if not path.is_file():
            return False
        wanted = os.R_OK | os.W_OK if writable else os.R_OK
        if not os.access(path, wanted, effective_ids=os.access in os.supports_effective_ids):
            path.chmod(path.stat().st_mode | (0o600 if writable else 0o400))
        with path.open("rb"):
            return True
    except OSError:
        return False


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange the names of two folders in one step. Return whether it worked: not every file system can do it."""
    import ctypes  # as above

    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    return rename is not None and rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file or nothing."""
    with replaced_file(path) as file:
        file.write(content)


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - anything JSON can hold
    """Write `value` as JSON: indented, in the given key order, floats as Python prints them."""
    write_bytes(path, as_json(value))


def as_json(value: Any) -> bytes:  # noqa: ANN401 - as above
    """The content that `write_json` writes."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def write_records(path: Path, head: dict[str, Any], key: str, records: Iterable[Any]) -> None:
    """Write the JSON object `head` (not empty) with a list under `key`, one record a line, so that it diffs well."""
    encode = json.JSONEncoder(ensure_ascii=False).encode
    write_lines(path, head, key, (encode(record).encode() for record in records))


def write_lines(path: Path, head: dict[str, Any], key: str, lines: Iterable[bytes]) -> None:
    """`write_records` of what is JSON already: one record, or several with a comma and a line break between them."""
    opening = json.dumps(head, indent=2, ensure_ascii=False).removesuffix("\n}")
    with replaced_file(path) as file:
        file.write(f"{opening},\n  {json.dumps(key)}: [\n".encode())
        for number, some in enumerate(lines):
            file.write(b",\n" + some if number else some)
        file.write(b"\n]}\n")


def read_json(path: Path, made_by: str) -> Any:  # noqa: ANN401 - anything JSON can hold
    """Read a JSON file; an absent or broken one is a `UserError` that names the command which makes it."""
    try:
        return bounded.read_json(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} is missing. It is written by: {made_by}") from None
    except bounded.Unreadable as error:
        raise UserError(f"{path} is not valid JSON ({error}). Make it again with: {made_by}") from None


def read_object(path: Path, made_by: str, **shapes: Any) -> dict[str, Any]:  # noqa: ANN401 - see bounded.mismatch
    """`read_json` of an object that must have these keys with values of these shapes; otherwise a `UserError`."""
    read: dict[str, Any] = read_json(path, made_by)
    require_shape(path, read, made_by, **shapes)
    return read


def read_format(path: Path, made_by: str, number: int, **shapes: Any) -> dict[str, Any]:  # noqa: ANN401
    """`read_object` of a file whose `format` must be `number`, which is looked at first."""
    read = read_object(path, made_by)
    require_format(path, read, made_by, number, **shapes)
    return read


def require_format(path: Path, read: dict[str, Any], made_by: str, number: int, **shapes: Any) -> None:  # noqa: ANN401
    """Raise `UserError` unless an object that was read has this `format`, and these keys (see `bounded.mismatch`)."""
    if read.get("format") != number:
        raise UserError(f"{path}: expected format {number}, got {read.get('format')!r:.80}. Run: {made_by}")
    require_shape(path, read, made_by, **shapes)


def require_shape(path: Path, read: Any, made_by: str, **shapes: Any) -> None:  # noqa: ANN401 - as above
    """Raise `UserError` unless what was read from `path` is an object with these keys (see `bounded.mismatch`)."""
    if wrong := bounded.mismatch(read, shapes):
        raise UserError(f"{path}: {wrong}. Make it again with: {made_by}")


def read_text(path: Path) -> str:
    """The text of a file that people write, which git has; an absent one, or one that is no UTF-8, is a `UserError`."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path} is missing. Run this in the project's folder, or: git checkout {path}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not valid UTF-8: {error}. See: git diff {path}") from None


def read_pipeline(path: Path, **shapes: Any) -> dict[str, Any]:  # noqa: ANN401 - see bounded.mismatch
    """A dvc.yaml, which must have these keys with values of these shapes; otherwise a `UserError`."""
    try:
        read: dict[str, Any] = bounded.read_yaml(read_text(path))
    except bounded.Unreadable as error:
        raise UserError(f"{path} is not valid YAML: {error}. See: git diff {path}") from None
    if wrong := bounded.mismatch(read, shapes):
        raise UserError(f"{path}: {wrong}. See: git diff {path}")
    return read


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_folder(path: Path, made_by: str) -> None:
    """Refuse to work on a folder that is absent: a stage must not take nothing for an empty input."""
    if not path.is_dir():
        raise UserError(f"the folder {path} is missing. It is made by: {made_by}")


def folder_size(path: Path) -> int:
    """Bytes of all files below `path`."""
    return sum(entry.stat().st_size for entry in path.rglob("*") if entry.is_file())

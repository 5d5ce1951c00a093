"""Small files beside a run's checkpoints, on this disk or in a bucket: none of them can end a run by its content.

Each is written whole or not at all. A full disk or another program can still leave one damaged; the run then does
without it, makes again what it can, and says so. A disk or a bucket that fails ends the run with one message.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from aura.core import bounded, console, files
from aura.core.errors import UserError
from aura.storage import store


def place(folder: str) -> Any:  # noqa: ANN401 - a path of etils
    """`folder` as a path that may lie in a bucket."""
    from etils import epath  # takes a while to import

    return epath.Path(folder)


def write(path: Any, text: str, *, durable: bool = True) -> None:  # noqa: ANN401 - a path of etils
    """Put `text` into a file, in the place of what was there; its folder is made.

    Without `durable` it is not synced: a power cut may leave an empty file.
    """
    with explained(str(path)):
        if "://" in str(path):  # an object appears when it is whole
            path.write_text(text)
        elif durable:
            files.write_bytes(Path(path), text.encode())
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}.partial")
            partial.write_text(text)
            partial.replace(path)


def read(path: Any) -> str | None:  # noqa: ANN401 - a path of etils
    """The text of a file; None if it is absent, a folder or not UTF-8."""
    with explained(str(path), absence=True):
        try:
            return str(path.read_text())
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, UnicodeDecodeError):
            return None


def entries(folder: Any) -> list[Any]:  # noqa: ANN401 - paths of etils
    """Return the entries of a folder, none if it is absent. A folder that cannot be read is an error, not absent."""
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []


def read_object(path: Any) -> dict[str, Any] | None:  # noqa: ANN401 - a path of etils
    """The JSON object in a file; None if it is absent or holds something else."""
    text = read(path)
    try:
        found = bounded.read_json(text) if text else None
    except bounded.Unreadable:
        return None
    return found if isinstance(found, dict) else None


@contextmanager
def explained(place: str, *, absence: bool = False) -> Iterator[None]:
    """Turn failures of a disk or a bucket into one message; with `absence`, FileNotFoundError stays itself.

    Nothing may be removed because of such a failure: it does not prove that a file is absent or damaged.
    """
    if "://" in place:
        with store.explained(place, absence=absence):
            yield
        return
    try:
        yield
    except OSError as error:
        absent = absence and isinstance(error, FileNotFoundError)
        if absent or error.errno in (errno.ENOSPC, errno.EDQUOT):  # the program's end says that the disk is full
            raise
        raise UserError(
            f"{error.filename or place}: {os.strerror(error.errno) if error.errno else error}. Nothing was removed. "
            "Check the disk, and the owner and the permissions of the folder; then run the same command again."
        ) from error


def say_damaged(path: Any, consequence: str) -> None:  # noqa: ANN401 - a path of etils
    """Tell the user that a file is damaged, and what follows from that."""
    console.err.print(f"{PurePosixPath(path).name} in {path.parent} is damaged: {consequence}", markup=False)

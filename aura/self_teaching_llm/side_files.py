"""Small files beside a run's checkpoints, on this disk or in a bucket: none of them can end a run.

Each is written whole or not at all. A power cut or a full disk can still leave one damaged; the run then does without
it, makes again what it can, and says so.
"""

import json
import os
from pathlib import PurePosixPath
from typing import Any

from aura import console


def place(folder: str) -> Any:  # noqa: ANN401 - a path of etils
    """`folder` as a path that may lie in a bucket."""
    from etils import epath  # takes a while to import

    return epath.Path(folder)


def write(path: Any, text: str) -> None:  # noqa: ANN401 - a path of etils
    """Put `text` into a file, in the place of what was there; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if "://" in str(path):  # an object appears when it is whole
        path.write_text(text)
        return
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)  # a power cut keeps the old file or the new one
    finally:
        os.close(descriptor)


def read(path: Any) -> str | None:  # noqa: ANN401 - a path of etils
    """The text of a file; None if it is absent, a folder or not UTF-8."""
    try:
        return str(path.read_text())
    except (FileNotFoundError, IsADirectoryError, UnicodeDecodeError):
        return None


def read_object(path: Any) -> dict[str, Any] | None:  # noqa: ANN401 - a path of etils
    """The JSON object in a file; None if it is absent or holds something else."""
    text = read(path)
    try:
        found = json.loads(text) if text else None
    except json.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def say_damaged(path: Any, consequence: str) -> None:  # noqa: ANN401 - a path of etils
    """Tell the user that a file is damaged, and what follows from that."""
    console.err.print(f"{PurePosixPath(path).name} in {path.parent} is damaged: {consequence}", markup=False)

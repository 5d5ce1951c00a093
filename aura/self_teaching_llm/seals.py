"""Seals: size and SHA-256 of every file of a checkpoint, in hashes/STEP.json beside it.

A checkpoint counts once its seal exists. All its files and folders are synced before the seal is written, so a power
cut cannot leave a sealed checkpoint with empty files. The bytes are compared with the seal before they are restored.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aura.self_teaching_llm import side_files

READ_AT_ONCE = 1 << 24  # bytes


def seal(folder: str, step: int) -> None:
    """Sync the checkpoint of `step` in a run's folder, then write its seal; remove seals of removed checkpoints."""
    checkpoint = side_files.place(folder) / str(step)
    if "://" not in folder:
        sync(Path(folder))
    found = {name: _account(path) for name, path in sorted(_files(checkpoint, ""))}
    side_files.write(_seal(folder, step), json.dumps({"step": step, "files": found}, indent=1))
    for path in (side_files.place(folder) / "hashes").iterdir():
        if path.stem.isdigit() and not (side_files.place(folder) / path.stem).exists():
            path.unlink(missing_ok=True)


def sealed(folder: str) -> set[int]:
    """Steps of the seals in a run's folder, readable or not."""
    seals = side_files.place(folder) / "hashes"
    names = [path.name for path in seals.iterdir()] if seals.exists() else []
    return {int(name.removesuffix(".json")) for name in names if name.removesuffix(".json").isdecimal()}


def fault(folder: str, step: int) -> str | None:
    """The first difference between a checkpoint and its seal; None if every byte is as it was saved."""
    told = side_files.read_object(_seal(folder, step))
    if not told or told.get("step") != step or not isinstance(told.get("files"), dict) or not told["files"]:
        return f"hashes/{step}.json is damaged"
    for name, expected in told["files"].items():
        path = side_files.place(folder) / str(step) / name
        try:
            got = _account(path)
        except FileNotFoundError:
            return f"{name} is missing"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
        if got != expected:
            return f"{name} has other bytes than were saved"
    return None


def remove(folder: str, step: int) -> None:
    """Remove a checkpoint, its seal first."""
    _seal(folder, step).unlink(missing_ok=True)
    checkpoint = side_files.place(folder) / str(step)
    if checkpoint.is_dir():
        checkpoint.rmtree()
    elif checkpoint.exists():
        checkpoint.unlink()


def sync(folder: Path) -> None:
    """Sync a folder of this disk and its parent, with every file and folder below it."""
    for place, folders, names in os.walk(folder, topdown=False):
        del folders
        for name in (*names, ""):
            try:
                sync_path(Path(place, name))
            except FileNotFoundError:  # removed since it was listed, as an older checkpoint is
                continue
    sync_path(folder.parent)


def sync_path(path: Path) -> None:
    """Sync one file or folder of this disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _seal(folder: str, step: int) -> Any:  # noqa: ANN401 - a path of etils
    return side_files.place(folder) / "hashes" / f"{step}.json"


def _files(folder: Any, below: str) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - a path of etils
    for path in folder.iterdir():
        if path.is_dir():
            yield from _files(path, f"{below}{path.name}/")
        else:
            yield f"{below}{path.name}", path


def _account(path: Any) -> dict[str, Any]:  # noqa: ANN401 - a path of etils
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(READ_AT_ONCE):
            digest.update(piece)
            size += len(piece)
    return {"bytes": size, "sha256": digest.hexdigest()}

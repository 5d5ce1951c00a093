"""Seals: size and hash of every file of a checkpoint, in hashes/STEP.json beside it.

A checkpoint counts once its seal exists. All its files and folders are synced before the seal is written, so a power
cut cannot leave a sealed checkpoint with empty files. The bytes are compared with the seal before they are restored.
On a disk they are read for that. A bucket reports size and MD5 of its objects, so nothing is downloaded.

Nothing is removed because it is damaged: it is moved to damaged/STEP, and removed once a whole checkpoint of that step
or a later one is sealed. Only missing files and other bytes count as damage. A disk or a bucket that cannot be read
proves nothing, and raises an error.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aura.core import checksums, files
from aura.storage import store
from aura.training import side_files

ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)  # no file bears this name
ASIDE = "damaged"  # the folder, in that of a run, for what does not count


@dataclass(frozen=True)
class Found:
    """Steps of the checkpoints in a run's folder.

    Attributes:
        sealed: with a seal; the bytes may be damaged.
        earlier: complete, and of a version of aura that wrote no seals.
        incomplete: those that a killed run, a power cut or a copy left.
    """

    sealed: set[int]
    earlier: set[int]
    incomplete: set[int]

    @classmethod
    def of(cls, folder: str) -> "Found":
        """Those in a folder, which may be missing."""
        there = side_files.place(folder)
        sealed = _with_seal(folder)
        others = {
            int(path.name) for path in side_files.entries(there) if re.fullmatch(r"[1-9][0-9]*", path.name)
        } - sealed
        seals_all = bool((side_files.read_object(there / "run.json") or {}).get("sealed"))
        earlier = set() if seals_all else {step for step in others if _completed(there / str(step))}
        return cls(sealed, earlier, others - earlier)


def seal(folder: str, step: int) -> None:
    """Sync the checkpoint of `step` in a run's folder, then write its seal; remove what it makes superfluous."""
    if "://" not in folder:
        files.sync_folder(Path(folder, str(step)))
        files.sync(Path(folder))
    record = checksums.sealed({"step": step, "files": _accounts(folder, step)})
    side_files.write(_seal(folder, step), json.dumps(record, indent=1))
    there = side_files.place(folder)
    for path in side_files.entries(there / "hashes"):
        if path.stem.isdecimal() and not (there / path.stem).exists():
            path.unlink(missing_ok=True)
    for path in side_files.entries(there / ASIDE):
        if path.stem.isdecimal() and int(path.stem) <= step:
            _remove(path)


def fault(folder: str, step: int) -> str | None:
    """The first difference between a checkpoint and its seal; None if every byte is as it was saved.

    Raises:
        OSError: a file is there and cannot be read.
    """
    expected = _sealed_files(folder, step)
    if expected is None:
        return f"hashes/{step}.json is damaged"
    reported = _reported(folder, step) if "://" in folder else {}
    for name, account in expected.items():
        try:
            got = reported.get(name)
            if got is None or got.keys() != account.keys():
                got = _account(side_files.place(folder) / str(step) / name, "md5" if "md5" in account else "sha256")
        except ABSENT:
            return f"{name} is missing"
        if got != account:
            return f"{name} has other bytes than were saved"
    return None


def set_aside(folder: str, step: int) -> str:
    """Move a checkpoint that does not count out of the way, with its seal; returns where it is."""
    there = side_files.place(folder)
    aside = there / ASIDE
    aside.mkdir(parents=True, exist_ok=True)
    for path in (_seal(folder, step), there / str(step)):
        if path.exists():
            _remove(aside / path.name)
            _move(path, aside / path.name)
    return f"{aside / str(step)}"


def _with_seal(folder: str) -> set[int]:
    """Steps of the seals in a run's folder, readable or not."""
    names = [path.name for path in side_files.entries(side_files.place(folder) / "hashes")]
    return {int(found[1]) for name in names if (found := re.fullmatch(r"([1-9][0-9]*)\.json", name))}


def _completed(checkpoint: Any) -> bool:  # noqa: ANN401 - a path of etils
    """Return whether a checkpoint bears the time at which Orbax completed it, which is written last."""
    found = side_files.read_object(checkpoint / "_CHECKPOINT_METADATA")
    return bool(found and found.get("commit_timestamp_nsecs"))


def _move(path: Any, other: Any) -> None:  # noqa: ANN401 - paths of etils
    if "://" not in str(path):
        path.rename(other)
        return
    system, place = store.located(str(path))
    system.mv(place, store.located(str(other))[1], recursive=bool(path.is_dir()))


def _remove(path: Any) -> None:  # noqa: ANN401 - a path of etils
    if path.is_dir():
        path.rmtree()
    else:
        path.unlink(missing_ok=True)


def _sealed_files(folder: str, step: int) -> dict[str, dict[str, Any]] | None:
    """Return the seal's entry for each file of `step`; None if the seal is damaged, which its own hash tells."""
    record = side_files.read_object(_seal(folder, step)) or {}
    digest = record.pop(checksums.SEAL, None)
    if checksums.sealed(record)[checksums.SEAL] != digest or record.get("step") != step or not record.get("files"):
        return None
    return dict(record["files"])


def _accounts(folder: str, step: int) -> dict[str, dict[str, Any]]:
    """Size and hash of each file of a checkpoint."""
    reported = _reported(folder, step) if "://" in folder else {}
    found = sorted(_files(side_files.place(folder) / str(step), ""))
    return {name: reported.get(name) or _account(path, "sha256") for name, path in found}


def _reported(folder: str, step: int) -> dict[str, dict[str, Any]]:
    """Size and MD5 of each object of a checkpoint that a bucket reports them for: one request for a thousand."""
    system, place = store.located(f"{folder}/{step}")
    return {
        name.removeprefix(f"{place}/"): {"bytes": info["size"], "md5": base64.b64decode(info["md5Hash"]).hex()}
        for name, info in system.find(place, detail=True).items()
        if info.get("md5Hash")
    }


def _seal(folder: str, step: int) -> Any:  # noqa: ANN401 - a path of etils
    return side_files.place(folder) / "hashes" / f"{step}.json"


def _files(folder: Any, below: str) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - a path of etils
    for path in folder.iterdir():
        if path.is_dir():
            yield from _files(path, f"{below}{path.name}/")
        else:
            yield f"{below}{path.name}", path


def _account(path: Any, kind: str) -> dict[str, Any]:  # noqa: ANN401 - a path of etils
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False))
        return {"bytes": file.tell(), kind: digest.hexdigest()}

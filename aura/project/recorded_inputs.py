"""Entries of dvc.lock that record other inputs of a stage than the stage read.

A stage leaves an account of what it read among its outputs (`aura/core/stage_inputs.py`), so an entry of dvc.lock, or a
record of DVC's run cache, holds both: what DVC hashed after the stage had ended, and by the account's MD5, what the
stage read. They differ where an input changed in between; `dvc commit` of a changed input makes such an entry, too.
An entry without a whole account says nothing: an earlier version made it, or the account was not fetched.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aura.core import files
from aura.core.bounded import LARGEST, bounded_yaml, read_json
from aura.core.errors import UserError
from aura.core.outside_names import object_hash
from aura.core.stage_inputs import ACCOUNT_FORMAT, ACCOUNTS, SUMS, account_of, plain
from aura.project.lock_merge import LOCK

REMEDY = "aura repair; dvc repro"
_SHOWN = 5  # inputs that a message names


def misrecorded(cache: Path) -> dict[str, list[str]]:
    """The stages of the working directory's dvc.lock that are recorded with other inputs than they read, and which.

    Args:
        cache: the folder of DVC's cache.
    """
    try:
        stages = (bounded_yaml(LOCK.read_text(encoding="utf-8")) or {}).get("stages") or {}
        return {name: found for name, entry in stages.items() if (found := other_inputs(entry, cache))}
    except (OSError, UnicodeDecodeError, AttributeError):  # `aura repair` says what is wrong with dvc.lock
        return {}


def other_inputs(entry: Any, cache: Path) -> list[str]:  # noqa: ANN401 - what a damaged file may hold
    """List the differences of an entry of dvc.lock, or of a run's record, from the stage's account, a line each."""
    try:
        account = _account(entry, cache)
        return [] if account is None else [*_params(entry, account), *_deps(entry, account, cache)]
    except (AttributeError, KeyError, TypeError, ValueError, UserError):  # no entry as DVC writes it
        return []


def shown(found: list[str]) -> str:
    """The first inputs of a list in one line, and how many more there are."""
    return "; ".join(found[:_SHOWN]) + (f"; and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else "")


def told(found: list[str]) -> str:
    """Say what is wrong with such an entry, and what to do about it."""
    return f"dvc.lock records other inputs than were read: {shown(found)}. `dvc repro` does not see it. Run: {REMEDY}"


def put_param(stage: str, key: str, value: Any) -> None:  # noqa: ANN401 - anything JSON can hold
    """Put a value of params.yaml into a stage's account: what it made was changed to what it makes of that value."""
    path = Path(account_of(stage))
    if path.exists():
        account = files.read_object(path, f"dvc repro {stage}", params=dict)
        account["params"]["params.yaml"][key] = plain(value)
        files.write_json(path, account)


def _params(entry: dict[str, Any], account: dict[str, Any]) -> Iterator[str]:
    for file, values in account["params"].items():
        recorded = entry.get("params", {}).get(file, {})
        for key, read in values.items():
            if key in recorded and json.dumps(read) != json.dumps(plain(recorded[key])):  # 1, 1.0 and true differ
                yield f"{key} in {file} (read: {read!r}, recorded: {recorded[key]!r})"


def _deps(entry: dict[str, Any], account: dict[str, Any], cache: Path) -> Iterator[str]:
    recorded = {dep["path"]: dep for dep in entry.get("deps", [])}
    for path, read in account["deps"].items():
        if path in recorded:
            now = recorded[path] | {"sums": _sums(cache, recorded[path].get("md5")) if "sums" in read else None}
            if any(now.get(key) not in (None, value) for key, value in read.items()):
                yield path


def _account(entry: dict[str, Any], cache: Path) -> dict[str, Any] | None:
    """The account among the outputs of an entry: DVC's copy, otherwise the workspace's, if it has the recorded MD5."""
    for out in entry["outs"]:
        if out["path"].startswith(ACCOUNTS):
            content = _object(cache, out["md5"]) or _whole(Path(out["path"]), out["md5"])
            found = read_json(content) if content else {}
            return found if found.get("format") == ACCOUNT_FORMAT else None
    return None


def _sums(cache: Path, oid: object) -> str | None:
    """The MD5 that a folder's list in DVC's cache has for `_SHA256SUMS`; None where there is no whole list."""
    content = _object(cache, oid)
    listed = json.loads(content) if content else []
    return next((file["md5"] for file in listed if file["relpath"] == SUMS), None)


def _object(cache: Path, oid: object) -> bytes | None:
    """The bytes of an object in DVC's cache; None unless it is there and whole."""
    name = object_hash(oid, str(LOCK))
    return _whole(cache / "files/md5" / name[:2] / name[2:], name.removesuffix(".dir"))


def _whole(path: Path, digest: str) -> bytes | None:
    """The bytes of a file that has this MD5, and is not too large to be read at once."""
    try:
        content = path.read_bytes() if path.stat().st_size <= 4 * LARGEST else b""
    except OSError:
        return None
    return content if hashlib.md5(content, usedforsecurity=False).hexdigest() == digest else None

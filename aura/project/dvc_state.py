"""Repairs the files that DVC rewrites in place, should a kill -9, a power cut or a failing disk have caught them.

DVC (3.67.1) writes its list of who reads and writes what (`.dvc/tmp/rwlock`) and `dvc.lock` without a rename;
half-written, either makes every later DVC command fail. Both can be repaired without a guess: entries of dead
processes in the first mean nothing, and a stage that is missing from the second is compared and run again, or
taken from DVC's cache. The number of a dead process may belong to another program by now, for which DVC would wait.
"""

import itertools
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
from dvc.lock import LockError, make_lock
from dvc.rwlock import SCHEMA
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from voluptuous import Invalid

from aura.core import paths
from aura.core.bounded import LARGEST, bounded_yaml
from aura.core.errors import UserError
from aura.core.files import make_readable, remove, write_bytes
from aura.core.outside_names import object_hash
from aura.project.lock_merge import LOCK, Stages, dump
from aura.sharing.git import GitFailed, git

FOLDER = Path(".dvc/tmp")
DAMAGED = Path(".aura/damaged")  # what is left of what no stage makes again
_BEGINS = re.compile(r"  (?P<name>[^\s#-].*?):\s*")  # the first line of a stage
_HEAD = re.compile(r"(schema|stages|datasets):.*\s*")
_CLOCK = 1.0  # seconds by which a file's time and a process's may differ


def repair() -> list[str]:
    """Repair what is broken in the project of the working directory; returns what was done, a line each.

    Raises:
        UserError: this is no DVC project, a DVC command is at work just now, or a file must be repaired by hand.
    """
    if not Path(".dvc").is_dir():
        raise UserError("there is no .dvc folder here. Run this in the root of the project")
    FOLDER.mkdir(exist_ok=True)
    with _alone():
        done = [line for name in ("rwlock", "btime") for line in _remove_unreadable(FOLDER / name)]
        done += _release(FOLDER / "rwlock")
        done += _move_unreadable(LOCK)
        done += _repair_lock(LOCK)
        _require_readable()
    return done


def whole_stages(text: str | bytes) -> str | None:
    """Return the whole entries of a damaged dvc.lock, as DVC writes them; None where all of `text` is whole."""
    found = salvaged(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    return None if found is None else dump(found[0]).decode()


def salvaged(content: bytes) -> tuple[Stages, list[str]] | None:
    """The whole stages of a damaged dvc.lock, and the names of those that are lost; None where it is whole.

    A stage is whole if its entry can be read alone, is what DVC's schema asks for, and has the size of all it names.
    Of two entries for one stage that differ, neither is taken.
    """
    text = content[:LARGEST].decode("utf-8", "replace")
    if len(content) <= LARGEST and "\ufffd" not in text:
        stages = _stages(text)
        if stages is not None and all(map(_is_whole, stages.values())) and text.endswith("\n"):
            return None
    kept, lost = dict[str, Any](), dict[str, None]()
    blocks = list(_blocks(text))
    for number, (name, block) in enumerate(blocks):
        torn = number == len(blocks) - 1 and not text.endswith("\n")
        found = None if torn or "\ufffd" in block else _stages(f"schema: '2.0'\nstages:\n{block}")
        if not found or len(found) != 1 or not all(map(_is_whole, found.values())):
            lost[name] = None
            continue
        ((name, entry),) = found.items()
        if kept.setdefault(name, entry) != entry:
            lost[name] = None
    return {name: entry for name, entry in kept.items() if name not in lost}, list(lost)


@contextmanager
def _alone() -> Iterator[None]:
    """Hold DVC's locks."""
    try:
        with make_lock(str(FOLDER / "lock"), tmp_dir=str(FOLDER)), make_lock(str(FOLDER / "rwlock.lock"), str(FOLDER)):
            yield
    except LockError:
        raise UserError("a DVC command is at work in this project. Run this again when it has ended") from None


def _remove_unreadable(path: Path) -> list[str]:
    """Remove what stands in a file's place and is none that can be read: DVC makes the file again."""
    if not (path.exists() or path.is_symlink()) or make_readable(path, writable=True):
        return []
    remove(path)
    return [f"removed {path}, which was no file that can be read"]


def _move_unreadable(lock: Path) -> list[str]:
    """Move away what stands in the place of dvc.lock and is no file that can be read."""
    if not (lock.exists() or lock.is_symlink()) or make_readable(lock, writable=True):
        return []
    kept = set_aside(lock, lock.name)
    return [
        f"moved {lock}, which was no file that can be read, to {kept}. dvc repro runs the stages, or recalls them; "
        f"what was committed of it is back after: git checkout -- {lock}"
    ]


def set_aside(path: Path, name: str) -> Path:
    """Move what is left of a damaged file to a place of its own in `DAMAGED`, and return that."""
    DAMAGED.mkdir(parents=True, exist_ok=True)
    places = (DAMAGED / (f"{name}-{number}" if number else name) for number in itertools.count())
    place = next(place for place in places if not os.path.lexists(place))
    path.replace(place)
    return place


def _release(path: Path) -> list[str]:
    """Remove from DVC's list of readers and writers those that have ended, and the list if it cannot be read."""
    try:
        held = SCHEMA(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return []
    except (ValueError, Invalid, RecursionError):
        path.unlink()
        return [f"removed {path}, which a killed DVC left half-written"]
    users = [*held["write"].values(), *(user for readers in held["read"].values() for user in readers)]
    written = path.stat().st_mtime
    for user in users:
        if _is_at_work(user, written):
            raise UserError(
                f"{user['cmd']} (process {user['pid']}) is at work in this project. Run this again when it has ended"
            )
    if not users:
        return []
    path.unlink()
    ended = ", ".join(dict.fromkeys(f"{user['cmd']} (process {user['pid']})" for user in users))
    return [f"removed {path}: what it names has ended: {ended}"]


def _is_at_work(user: dict[str, Any], written: float) -> bool:
    """Return whether the process of an entry runs still, and is not another one that got the same number.

    It is another one if it began after the list was `written` (seconds since 1970), or has other arguments.
    """
    try:
        process = psutil.Process(user["pid"])
        if process.status() == psutil.STATUS_ZOMBIE or process.create_time() > written + _CLOCK:
            return False
        line = " ".join(process.cmdline())
    except psutil.AccessDenied:
        return True
    except (psutil.NoSuchProcess, ValueError, OverflowError):
        return False
    return line.endswith(" ".join(user["cmd"].split(" ")[1:])) and bool(line)


def _repair_lock(lock: Path) -> list[str]:
    if not lock.exists() or (found := salvaged(lock.read_bytes())) is None:
        return []
    if _in_conflict(lock):
        raise UserError(f"{lock} has a merge conflict. Run: aura lock resolve")
    kept, lost = found
    write_bytes(lock, dump(kept))
    told = f"{', '.join(lost)}: damaged in" if lost else "nothing was lost of"
    return [f"{told} {lock}, which now has {len(kept):,} whole stages; dvc repro runs the others, or recalls them"]


def _in_conflict(lock: Path) -> bool:
    try:
        return bool(git("ls-files", "--unmerged", "--", str(lock)))
    except GitFailed:
        return False


def _require_readable() -> None:
    """Refuse to go on where a file that people write for DVC cannot be read: git may have it, DVC cannot go on."""
    for path in [
        paths.PIPELINE_FILE,
        *sorted({*Path().glob("*.dvc"), *paths.DATA.rglob("*.dvc"), *paths.MODELS.glob("*.dvc")}),
    ]:
        if path != Path(".dvc") and os.path.lexists(path):
            if not make_readable(path):
                raise UserError(f"{path} is no file that can be read. Take it from git: git checkout -- {path}")
            content = path.read_bytes()
            try:
                values = bounded_yaml(content.decode("utf-8"))
            except UnicodeDecodeError:
                values = None
            if not isinstance(values, dict):
                raise UserError(
                    f"{path} is damaged: expected a YAML map, got {len(content):,} bytes that are none. "
                    f"Take it from git: git checkout -- {path}"
                )


def _stages(text: str) -> Stages | None:
    """The stages of a dvc.lock; None where DVC could not read it."""
    try:
        return dict(COMPILED_LOCKFILE_SCHEMA(bounded_yaml(text))["stages"])
    except (Invalid, KeyError, TypeError, RecursionError):
        return None


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    """The name and the lines of each stage, whole or not."""
    name, lines = "", list[str]()
    for line in re.split(r"(?<=\n)", text):  # YAML's lines; splitlines() would also cut at U+2028 in a path
        begins = _BEGINS.fullmatch(line)
        if begins or _HEAD.fullmatch(line):
            if name:
                yield name, "".join(lines)
            name, lines = begins["name"] if begins else "", []
        lines.append(line)
    if name:
        yield name, "".join(lines)


def _is_whole(entry: dict[str, Any]) -> bool:
    """Return whether all that an entry names has a hash and a size, as DVC writes them."""
    for named in [*entry.get("deps", []), *entry.get("outs", [])]:
        digest = named.get("md5")
        if digest is None:
            continue
        try:
            object_hash(digest, "")
        except UserError:
            return False
        if not isinstance(named.get("size"), int) or digest.endswith(".dir") != ("nfiles" in named):
            return False
    return True

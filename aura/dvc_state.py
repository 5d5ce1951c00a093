"""Mends the two files that DVC rewrites in place, should a kill -9 or a power cut have caught it at that.

DVC (3.67.1) writes its list of who reads and writes what (`.dvc/tmp/rwlock`) and `dvc.lock` without a rename;
half-written, either makes every later DVC command fail. Both can be mended without a guess: entries of dead
processes in the first mean nothing, and a stage that is missing from the second is compared and run again, or
taken from DVC's cache.
"""

import contextlib
import json
import re
from pathlib import Path

from dvc.lock import make_lock
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from voluptuous import Invalid

from aura.errors import UserError
from aura.files import write_bytes


def repair() -> list[str]:
    """Mend what is broken in the project of the working directory; returns what was done, a line each.

    Raises:
        UserError: this is no DVC project.
        dvc.lock.LockError: a DVC command is at work just now.
    """
    if not Path(".dvc").is_dir():
        raise UserError("there is no .dvc folder here. Run this in the root of the project")
    folder = Path(".dvc/tmp")
    if not folder.is_dir():
        return []
    done = []
    with make_lock(str(folder / "lock"), tmp_dir=str(folder)), make_lock(str(folder / "rwlock.lock"), str(folder)):
        readers_and_writers = folder / "rwlock"
        if readers_and_writers.exists() and not is_json(readers_and_writers.read_bytes()):
            readers_and_writers.unlink()
            done.append(f"removed {readers_and_writers}, which a killed DVC left half-written")
        lock = Path("dvc.lock")
        if lock.exists() and (whole := whole_stages(lock.read_text(encoding="utf-8"))) is not None:
            write_bytes(lock, whole.encode())
            done.append("removed the last stage from dvc.lock, which a killed DVC left half-written")
    return done


def is_json(data: bytes) -> bool:
    """Whether a JSON value, and no more, can be read from `data`."""
    try:
        json.loads(data)
    except ValueError:
        return False
    return True


def whole_stages(text: str) -> str | None:
    """The part of a cut-off dvc.lock before its last stage; None where `text` is whole."""
    with contextlib.suppress(YAMLError, Invalid):
        COMPILED_LOCKFILE_SCHEMA(YAML(typ="safe").load(text))
        return None
    lines = re.split(r"(?<=\n)", text)  # YAML's lines; splitlines() would also cut at U+2028 in a path
    starts = [i for i, line in enumerate(lines) if line.startswith("  ") and line[2] not in " -"]
    return "".join(lines[: starts[-1]]) if len(starts) > 1 else "schema: '2.0'\nstages: {}\n"

"""_SHA256SUMS: the SHA-256 of every file of a stage's output, by which each reader verifies what it reads.

Every folder that one stage leaves for another holds this file, in the format of `sha256sum`: any machine can check it
with `sha256sum -c _SHA256SUMS`. The stage writes it last. A reader compares before it uses a file's first byte, so a
flipped bit, a cut file or a missing one ends in one message and never in other results. The record needs no checksum
of its own: it lists exactly the files of its folder, so a changed name, a changed hash or a cut list is found. Its
name begins as it does so that Arrow passes over it where a folder is read as one table.

A record in JSON that is an output by itself (`data/corpus/manifest.json`) carries the hash of its own content instead:
it is sealed.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from aura.core import files
from aura.core.errors import UserError
from aura.core.shown_text import on_one_line

NAME = "_SHA256SUMS"
SEAL = "sha256"  # key of a sealed record: the hash of its other keys
REPAIR = "aura repair"
_LINE = re.compile(r"([0-9a-f]{64}) [ *]([^\n]+)")


def write(folder: Path, known: Mapping[str, str] | None = None) -> None:
    """Write the record of a folder whose files are complete.

    Arguments:
        folder: its files, also those in folders below, are listed; names that begin with a dot are not.
        known: SHA-256 of files by their names, so that they are not read again.
    """
    known = known or {}
    _write(folder, {name: known.get(name) or files.sha256_file(folder / name) for name in _names(folder)})


def update(folder: Path, names: Iterable[str], made_by: str) -> None:
    """Record anew some files of a folder that were just written, or removed; without a record nothing happens.

    The other files keep the hashes that they have, so that damage to them is not covered up.
    """
    if (folder / NAME).exists():
        kept = _parsed(folder, made_by)
        there = {name: files.sha256_file(folder / name) for name in names if (folder / name).exists()}
        _write(folder, {name: digest for name, digest in kept.items() if name not in set(names)} | there)


def read(folder: Path, made_by: str) -> dict[str, str]:
    """The recorded SHA-256 of each file of a folder, by its name; nothing is hashed.

    Raises:
        UserError: the folder or its record is missing, the record is damaged, or it lists other files than there are.
    """
    files.require_folder(folder, made_by)
    listed = _parsed(folder, made_by)
    found = _names(folder)
    wrong = [f"{on_one_line(name)} is missing" for name in sorted(listed.keys() - found)]
    wrong += [f"{on_one_line(name)} is not listed" for name in sorted(found - listed.keys())]
    if wrong:
        more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise UserError(
            f"expected in {folder} exactly the files that its {NAME} lists: {'; '.join(wrong[:5])}{more}. "
            f"{remedy(made_by)}"
        )
    return listed


def verify(folder: Path, made_by: str, *names: str, required: bool = True) -> None:
    """Compare files of a folder with their recorded SHA-256: those named, or all; a difference is a `UserError`.

    Without `required`, what no record lists is not compared: a tokenizer that no stage made, or one file of it.
    """
    if not required and not (folder / NAME).exists():
        return
    files.require_folder(folder, made_by)
    listed = _parsed(folder, made_by) if names else read(folder, made_by)
    for name in names or listed:
        if name in listed:
            compare(folder / name, listed[name], made_by)
        elif required:
            raise UserError(f"{folder / NAME} does not list {name}. {remedy(made_by)}")


def compare(path: Path, expected: str, made_by: str) -> None:
    """Raise `UserError` unless the file is there and its SHA-256 is `expected`."""
    try:
        got = files.sha256_file(path)
    except FileNotFoundError:
        raise UserError(f"{path} is missing. It is written by: {made_by}") from None
    if got != expected:
        raise altered(path, expected, got, made_by)


def altered(path: Path, expected: str, got: str, made_by: str) -> UserError:
    """The error of a file whose bytes are not those that its stage wrote."""
    return UserError(f"{path} was altered: expected sha256 {expected[:16]}…, got {got[:16]}…. {remedy(made_by)}")


def remedy(made_by: str) -> str:
    """Say how to replace a damaged output of the stage that the command `made_by` runs.

    `dvc repro` alone does not help: DVC takes the file for unchanged, or puts its own damaged copy back.
    """
    return f"It is written by: {made_by}. To make it again, with all that was made of it, run: {REPAIR}; dvc repro"


def sealed(record: dict[str, Any]) -> dict[str, Any]:
    """`record` (what JSON can hold) with the hash of its content, which comes first."""
    return {SEAL: _content_hash(record)} | record


def read_sealed(path: Path, made_by: str) -> dict[str, Any]:
    """Read a sealed record, without its seal; a missing or altered one, or one without a seal, is a `UserError`."""
    record = files.read_json(path, made_by)
    if not isinstance(record, dict) or SEAL not in record:
        raise UserError(
            f"{path}: expected a record with its own {SEAL}, found none. An earlier version wrote it (run: {made_by}), "
            f"or it is damaged. {remedy(made_by)}"
        )
    expected, got = record.pop(SEAL), _content_hash(record)
    if expected != got:
        raise altered(path, str(expected), got, made_by)
    return record


def _content_hash(record: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    for piece in _as_json(record):
        digest.update(piece.encode())
    return digest.hexdigest()


def _as_json(record: dict[str, Any]) -> Iterator[str]:
    """Yield a record as JSON with its keys in order and without spaces; an item of a list at a time."""
    encode, before = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode, "{"
    for key in sorted(record):
        value = record[key]
        yield f"{before}{encode(key)}:"
        if isinstance(value, list) and value:
            for number, item in enumerate(value):
                yield ("," if number else "[") + encode(item)
            yield "]"
        else:
            yield encode(value)
        before = ","
    yield "}" if record else "{}"


def _names(folder: Path) -> set[str]:
    """The files of a folder and of those below, with `/`; neither the record nor hidden ones."""
    found, waiting = set[str](), [""]
    while waiting:
        prefix = waiting.pop()
        with os.scandir(folder / prefix) as entries:  # strings: a path takes 1 kB and 10 µs
            for entry in entries:
                if entry.is_dir():
                    if not entry.is_symlink():
                        waiting.append(f"{prefix}{entry.name}/")
                elif not entry.name.startswith(".") and entry.is_file():
                    found.add(prefix + entry.name)
    found.discard(NAME)
    return found


def _write(folder: Path, digests: Mapping[str, str]) -> None:
    lines = (f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    files.write_bytes(folder / NAME, "".join(lines).encode())


def _parsed(folder: Path, made_by: str) -> dict[str, str]:
    path = folder / NAME
    try:
        lines = path.read_bytes().decode("utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        raise UserError(
            f"{path} is missing: an earlier version made this folder, or the file was removed. Run: {made_by}"
        ) from None
    matches = map(_LINE.fullmatch, lines[:-1])
    digests = {match[2]: match[1] for match in matches if match}
    if not digests or len(digests) != len(lines) - 1 or lines[-1]:
        raise UserError(f"{path} is damaged: expected lines of a SHA-256 and a name. {remedy(made_by)}")
    return digests

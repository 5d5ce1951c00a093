"""Files and folders that are either whole or absent, and their hashes.

Every output is written beside its place and renamed into it, so a killed writer leaves the old state (or
none) and never a half one. The price is a rename per output; rename within a folder is atomic (POSIX).
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from aura import bounded
from aura.errors import UserError


@contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """Give a fresh folder to write into; on success it takes the place of `path`, whatever was there.

    A leftover of a killed run is removed first. If the body raises, `path` is left as it was.
    """
    partial = path.with_name(f".{path.name}.partial")
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if path.exists():
        shutil.rmtree(path)
    partial.rename(path)


@contextmanager
def replaced_file(path: Path) -> Iterator[BinaryIO]:
    """Give a fresh file to write; on success it takes the place of `path`: a reader never sees a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk does not say where
        raise
    finally:
        partial.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file or nothing."""
    with replaced_file(path) as file:
        file.write(content)


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - anything JSON can hold
    """Write `value` as JSON: indented, in the given key order, floats as Python prints them."""
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


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


def read_object(path: Path, made_by: str, **kinds: type) -> dict[str, Any]:
    """`read_json` of an object that must have these keys, each with a value of this type; otherwise a `UserError`."""
    read = read_json(path, made_by)
    if not isinstance(read, dict):
        raise UserError(f"{path}: expected a JSON object, got {type(read).__name__}. Make it again with: {made_by}")
    for key, kind in kinds.items():
        if not isinstance(read.get(key), kind):
            raise UserError(
                f"{path}: expected {key} with a value of type {kind.__name__}, got {read.get(key)!r:.80}. "
                f"Make it again with: {made_by}"
            )
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

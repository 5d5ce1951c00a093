"""Pins of sources behind a URL: each object with its size, its version and, in a bucket of Google, its generation."""

from pathlib import Path
from typing import Any

from aura.core.bounded import mismatch
from aura.core.errors import UserError
from aura.core.files import read_object, write_records
from aura.core.outside_names import relative_names
from aura.sources.object_reader import Stored

_MADE_BY = "aura source add NAME URL"
_LEAST = 3  # values of a record: name, size, version; generation and Content-Encoding are there where they are known


Objects = dict[str, Stored]  # by name below the URL


def url_of(pin: Path) -> str | None:
    """The URL that a pin stands for; `None` if it stands for a folder."""
    url: str | None = read_object(pin, made_by=_MADE_BY).get("url")
    if not isinstance(url, str | None):
        raise UserError(f"{pin}: url: expected a text, got {url!r:.80}. Make it again with: {_MADE_BY}")
    return url


def write(pin: Path, url: str, objects: Objects, head: dict[str, Any] | None = None) -> None:
    """Write a pin: `head`, and one line an object, so that a diff shows what changed."""
    records = ([name, *_without_end(state)] for name, state in objects.items())
    write_records(pin, (head or {}) | {"url": url}, "objects", records)


def _without_end(state: Stored) -> list[int | str]:
    """The values of an object up to the last one that is known."""
    return list(state) if state.encoding else list(state[: _LEAST if state.generation else _LEAST - 1])


def read(path: Path) -> tuple[str, Objects]:
    """The URL and the objects of a pin; raises `UserError` for one that is damaged, or has names that are no paths."""
    values = read_object(path, _MADE_BY, url=str, objects=[[Any]])
    objects: Objects = {}
    for record in values["objects"]:
        shape = (str, int, str, *(str for _ in range(len(record) - _LEAST)))
        if wrong := mismatch(record, shape[: _LEAST + 2], "objects"):
            raise UserError(f"{path}: {wrong}. Make it again with: {_MADE_BY}")
        objects[record[0]] = Stored(*record[1:])
    relative_names(objects, str(path))
    return values["url"], objects

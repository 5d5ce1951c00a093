"""The beginnings of files that grow with the corpus, which is all that the page reads of them."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from aura.core import bounded, files
from aura.core.errors import UserError

LARGEST = 4_000_000  # characters of a manifest before its list
ROWS = 4_000  # of a table that are read, evenly spaced


def of_manifest(path: Path, made_by: str, *keys: str, **shapes: Any) -> dict[str, Any] | None:  # noqa: ANN401
    """The values of a manifest before its long list, which is at one of `keys`; None if there is no such file.

    Raises:
        UserError: it is damaged, or a value that it has is not of its shape (see `bounded.mismatch`).
    """
    if not path.exists():
        return None
    kept, size, lists = [], 0, tuple(f'  "{key}": [' for key in keys)
    with path.open(encoding="utf-8", errors="replace") as file:
        while line := file.readline(LARGEST + 1):
            size += len(line)
            if line.startswith(lists) or size > LARGEST:
                kept.append("}")
                break
            kept.append(line)
    text = "".join(kept)
    if kept[-1:] == ["}"]:
        text = text.removesuffix("}").rstrip().removesuffix(",") + "}"
    try:
        found = bounded.read_json(text)
    except bounded.Unreadable as error:
        raise UserError(f"{path} is damaged ({error}). To make it again, run: aura repair; {made_by}") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: expected keys with values, got {type(found).__name__}. Run: aura repair; {made_by}")
    require_shapes(path, found, made_by, **shapes)
    return found


def require_shapes(path: Path, found: dict[str, Any], made_by: str, **shapes: Any) -> None:  # noqa: ANN401
    """Raise `UserError` if a value that a file has is not of its shape; none need be there."""
    files.require_shape(path, found, made_by, **{key: shape for key, shape in shapes.items() if key in found})


def of_table(path: Path) -> list[dict[str, str]]:
    """Rows of a file of tab-separated values with a header, in order; of a long one about `ROWS`, evenly spaced."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        names = _cells(file.readline())
        start, size = file.tell(), path.stat().st_size
        step = max((size - start) // ROWS, 1)
        lines = file.read().splitlines() if size < 64 * ROWS else list(_spaced(file, start, size, step))
    cells = (_cells(line) for line in lines if line)
    return [dict(zip(names, row, strict=True)) for row in cells if len(row) == len(names)]


def _spaced(file: Any, start: int, size: int, step: int) -> Iterator[bytes]:  # noqa: ANN401 - a binary file
    """Yield the line behind each place, once; and the last one."""
    last = -1
    for place in [*range(start, size, step), max(start, size - 200)]:
        file.seek(place)
        if place > start:
            file.readline()
        if (here := file.tell()) > last:
            last = here
            yield file.readline().rstrip(b"\r\n")
    yield from (line.rstrip(b"\r\n") for line in islice(file, 100))


def _cells(line: bytes) -> list[str]:
    return line.decode("utf-8", errors="replace").strip("\r\n").split("\t")

"""Tables of 64-bit numbers on disk, cut into parts that are read alone: the shuffle between the tasks of `select`.

A file holds the cuts, then the rows. A reader takes one part of each file and never lists files by pairs. Files lie in
the unfinished output, on the disk that all workers share, and live as long as the stage. They are renamed into place,
so a task that runs twice does no harm.
"""

import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.uint64]
_WORD = 8  # bytes


def bounds(parts: int) -> Numbers:
    """The first number of each part but the first one, when the 64-bit numbers are cut into equal parts."""
    return np.array([(number << 64) // parts for number in range(1, parts)], dtype=np.uint64)


def write(path: Path, rows: Numbers, column: Numbers, starts: Numbers) -> None:
    """Write rows that ascend by `column`, cut where it reaches each of `starts`."""
    cuts = np.concatenate([[0], np.searchsorted(column, starts), [len(rows)]]).astype(np.uint64)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with partial.open("wb") as file:
        file.write(np.array([len(cuts), rows.shape[1]], dtype=np.uint64).tobytes())
        file.write(cuts.tobytes())
        file.write(np.ascontiguousarray(rows).data)
    partial.replace(path)


def read(path: Path, part: int) -> Numbers:
    """The rows of one part."""
    with path.open("rb") as file:
        cuts, width = (int(number) for number in np.frombuffer(file.read(2 * _WORD), dtype=np.uint64))
        file.seek((2 + part) * _WORD)
        start, end = (int(number) for number in np.frombuffer(file.read(2 * _WORD), dtype=np.uint64))
        file.seek((2 + cuts + start * width) * _WORD)
        rows = np.fromfile(file, dtype=np.uint64, count=(end - start) * width)
    return rows.reshape(-1, width)


def gathered(paths: Sequence[Path], part: int, width: int) -> Numbers:
    """One part of several files, with the number of the file as one more column at the end."""
    found = [read(path, part) for path in paths]
    rows = np.empty((sum(map(len, found)), width + 1), dtype=np.uint64)
    start = 0
    for number, some in enumerate(found):
        rows[start : start + len(some), :width] = some
        rows[start : start + len(some), width] = number
        start += len(some)
    return rows

"""Tensors in a safetensors file, written and read in pieces, so that neither a host nor a device need hold them all.

The bytes are those that the library safetensors writes of the same tensors, which a test compares; its own writer
takes all tensors at once.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import safe_open

from aura.core import files

PIECE = 1 << 26  # bytes of a tensor in memory at once; more where one row along its first axis is longer
LONGEST_HEADER = 8_000_000  # bytes; that of a file with 1,000 tensors has 0.1 MB
Piece = tuple[
    int, npt.NDArray[np.float32]
]  # the place of its first number in the tensor, and what stands there in a row


@dataclass(frozen=True)
class Tensor:
    """A tensor of float32 numbers that is made piece by piece.

    Attributes:
        shape: its axes.
        pieces: gives pieces that together cover it, in any order.
    """

    shape: tuple[int, ...]
    pieces: Callable[[], Iterator[Piece]]

    @property
    def size(self) -> int:
        """The count of its numbers."""
        return int(np.prod(self.shape, dtype=np.int64))

    @classmethod
    def whole(cls, array: npt.NDArray[np.float32]) -> "Tensor":
        """A tensor that is in memory."""
        return cls(array.shape, lambda: iter([(0, array)]))

    def read(self) -> npt.NDArray[np.float32]:
        """All of it."""
        flat = np.empty(self.size, np.float32)
        for begin, piece in self.pieces():
            flat[begin : begin + piece.size] = piece.reshape(-1)
        return flat.reshape(self.shape)


def write(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a whole safetensors file or nothing: a header in JSON, filled with spaces to 8 bytes, then the numbers."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    begins, end = {}, 0
    for name in sorted(tensors):
        begins[name], size = end, 4 * tensors[name].size
        header[name] = {"dtype": "F32", "shape": [*tensors[name].shape], "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with files.replaced_file(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, begin in begins.items():
            for place, piece in tensors[name].pieces():
                file.seek(8 + len(text) + begin + 4 * place)
                file.write(np.ascontiguousarray(piece, dtype="<f4").data)


def stored(path: Path, name: str) -> Tensor:
    """A tensor of a file, which is read when its pieces are asked for."""
    with safe_open(path, framework="numpy") as opened:
        shape = tuple(opened.get_slice(name).get_shape())

    def pieces() -> Iterator[Piece]:
        with safe_open(path, framework="numpy") as opened:
            found = opened.get_slice(name)
            for start, stop in row_ranges(shape):
                yield start * row_size(shape), found[start:stop]

    return Tensor(shape, pieces)


def row(path: Path, name: str, number: int) -> npt.NDArray[np.float32]:
    """One row of a file's tensor along its first axis: of stacked layers, the weight of one."""
    with safe_open(path, framework="numpy") as opened:
        found: npt.NDArray[np.float32] = opened.get_slice(name)[number : number + 1][0]
        return found


def part(path: Path, name: str, index: tuple[slice, ...]) -> npt.NDArray[np.float32]:
    """The numbers of a file's tensor at `index`, a slice of each axis."""
    with safe_open(path, framework="numpy") as opened:
        found: npt.NDArray[np.float32] = opened.get_slice(name)[index]
        return found


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of a file."""
    with safe_open(path, framework="numpy") as opened:
        return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118 - no mapping


def described(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type (such as F32 or BF16) and shape of the tensors of a file, by name."""
    with safe_open(path, framework="numpy") as opened:
        parts = ((name, opened.get_slice(name)) for name in opened.keys())  # noqa: SIM118 - no mapping
        return {name: (str(part.get_dtype()), tuple(part.get_shape())) for name, part in parts}


def require_bounded(path: Path) -> None:
    """Raise `ValueError` for a file of somebody else whose header is larger than the file or than `LONGEST_HEADER`.

    The library reads the header at once; it checks all that stands in it.
    """
    with path.open("rb") as file:
        length, size = int.from_bytes(file.read(8), "little"), path.stat().st_size
    if length > min(size - 8, LONGEST_HEADER):
        raise ValueError(
            f"its header would have {length:,} bytes, the file has {size:,}; at most {LONGEST_HEADER:,} are read"
        )


def row_size(shape: tuple[int, ...]) -> int:
    """Numbers of one row along the first axis."""
    return int(np.prod(shape[1:], dtype=np.int64))


def row_ranges(shape: tuple[int, ...], most: int = PIECE) -> Iterator[tuple[int, int]]:
    """Ranges of rows along the first axis, of at most `most` bytes each, or of one row."""
    rows = max(1, most // max(1, 4 * row_size(shape)))
    for start in range(0, shape[0], rows):
        yield start, min(start + rows, shape[0])

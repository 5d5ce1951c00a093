"""A split as one stream of ids, cut into windows; read from disk as needed, never loaded whole.

A window is `seq_len` inputs and their targets, `seq_len + 1` ids, and the next window starts at the last
target of the one before: every id but the first is a target once per epoch, and fewer than `seq_len` ids at
the end are left out. Windows run across documents, as GPT-2's do: simple, no padding, 100 % of the compute
on real tokens; the price is that a document's first tokens may attend to the one before.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from aura.storage.store import CONNECTIONS, Stored, read_whole_range
from aura.tokens.mapped_ids import Ids, MappedIds

Windows = npt.NDArray[np.int32]


@dataclass(frozen=True)
class StoredIds:
    """The ids of a .npy file in a store, read in ranges: a request for each slice, and nothing kept on this disk."""

    stored: Stored
    length: int
    dtype: np.dtype[Any]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, wanted: slice) -> Ids:
        start, stop, _ = wanted.indices(self.length)
        first = self.stored.size - self.length * self.dtype.itemsize  # of the ids; a header stands before them
        begin, end = (first + place * self.dtype.itemsize for place in (start, stop))
        return np.frombuffer(read_whole_range(self.stored, begin, end), self.dtype)


IdArray = Ids | MappedIds | StoredIds


class TokenStream:
    """Arrays of ids (in memory, on this disk or in a store), read as if they were one."""

    def __init__(self, parts: Sequence[IdArray]) -> None:
        self._parts = parts
        self._starts = np.cumsum([0, *(len(part) for part in parts)])
        self.is_remote = any(isinstance(part, StoredIds) for part in parts)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, start: int, count: int) -> npt.NDArray[np.int32]:
        """Ids `start` to `start + count`, which must lie within the stream."""
        out = np.empty(count, np.int32)
        part, done = int(np.searchsorted(self._starts, start, side="right")) - 1, 0
        while done < count:
            inside = start + done - self._starts[part]
            piece = self._parts[part][inside : inside + count - done]
            out[done : done + len(piece)] = piece
            part, done = part + 1, done + len(piece)
        return out

    def number_of_windows(self, seq_len: int) -> int:
        """Return the number of whole windows of `seq_len` targets in the stream."""
        return max(0, (len(self) - 1) // seq_len)

    def windows(self, numbers: npt.NDArray[np.integer[Any]], seq_len: int) -> Windows:
        """The windows of these numbers, of shape (len(numbers), seq_len + 1)."""
        starts = [int(number) * seq_len for number in numbers]
        if self.is_remote:
            with ThreadPoolExecutor(CONNECTIONS) as pool:
                rows = list(pool.map(lambda start: self.read(start, seq_len + 1), starts))
        else:
            rows = [self.read(start, seq_len + 1) for start in starts]
        return np.stack(rows) if rows else np.empty((0, seq_len + 1), np.int32)


class AffectStream:
    """The affect vector of the document of each token, for a stream of the same tokens.

    Takes 40 bytes of memory per document.

    Arguments:
        starts: of each document, the place of its first token; ascending, the first is 0.
        vectors: (documents, 8) float32.
    """

    def __init__(self, starts: npt.NDArray[np.int64], vectors: npt.NDArray[np.float32]) -> None:
        self._starts, self._vectors = starts, vectors

    def window(self, number: int, seq_len: int) -> npt.NDArray[np.float32]:
        """The vectors at the inputs of a window: (seq_len, 8)."""
        places = np.arange(number * seq_len, (number + 1) * seq_len)
        return self._vectors[np.searchsorted(self._starts, places, side="right") - 1]

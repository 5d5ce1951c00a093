"""A permutation of many numbers that is computed where it is asked for: nothing is held, whatever their number.

A number is cut into two halves of bits, and each round adds to one half what a keyed hash makes of the other (a Feistel
network, Luby and Rackoff 1988, doi:10.1137/0217022). So each round can be undone, whatever the hash. The bits may hold
up to four times as many numbers as there are; a number beyond them is permuted again until it is none.

A place takes 5 to 20 µs, and in a table 16 bytes; so a table is the better choice for what memory holds.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

ROUNDS = 8
MOST_SORTED = 100_000_000  # numbers whose order is a table
_MIX = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)  # of splitmix64's finalizer (Steele, Lea and Flood 2014)
_WORD = (1 << 64) - 1


class Permutation:
    """The numbers from 0 to `size` in an order that the keys decide.

    Arguments:
        size: above 0.
        keys: ROUNDS random 64-bit numbers.
    """

    def __init__(self, size: int, keys: npt.NDArray[np.uint64]) -> None:
        self._size, self._keys = size, keys.tolist()
        self._half = max(1, ((size - 1).bit_length() + 1) // 2)  # bits
        self._mask = (1 << self._half) - 1

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, place: int) -> int:
        """The number at a place from 0 to the size."""
        if not 0 <= place < self._size:
            raise IndexError(f"expected a place from 0 to {self._size - 1}, got {place}")
        number = self._permuted(int(place))
        while number >= self._size:
            number = self._permuted(number)
        return number

    def _permuted(self, number: int) -> int:
        high, low = number >> self._half, number & self._mask
        for key in self._keys:
            high, low = low, high ^ (_hash(low ^ key) & self._mask)
        return high << self._half | low


def _hash(word: int) -> int:
    """Mix the bits of a 64-bit word."""
    word = (word ^ word >> 30) * _MIX[0] & _WORD
    word = (word ^ word >> 27) * _MIX[1] & _WORD
    return word ^ word >> 31


Order = npt.NDArray[np.integer[Any]] | Permutation


def order(seed: int, stream: int, epoch: int, size: int) -> Order:
    """The order in which an epoch of a stream visits its `size` windows, the same whenever it is asked for.

    It is a stable sort of raw Philox output (Salmon et al. 2011, doi:10.1145/2063384.2063405), which numpy promises
    never to change, unlike its `permutation`. It costs 16 bytes per window. Above MOST_SORTED windows it is a
    `Permutation` keyed by the same output, which holds nothing.
    """
    keys_of = np.random.Philox(key=np.array([seed, (stream << 40) + epoch], np.uint64))
    if size > MOST_SORTED:
        return Permutation(size, keys_of.random_raw(ROUNDS))
    return np.argsort(keys_of.random_raw(size), kind="stable")

"""Where text may be cut so that its parts, encoded alone, give exactly the ids of the whole.

A cut between two characters is exact when no piece of the vocabulary has them side by side: no piece can then
span it, so unigram's best path and BPE's merges on one side know nothing of the other. (Unigram also needs sums
of scores that are exact in 32 bits; `aura.tokenizer.train` rounds them.) Such cuts leave units of a few bytes,
"the", " (", a character of Chinese, and text repeats them so often that only one in 80 has to be encoded.

Cuts are found on bytes, 1 ns each: a table of 65,536 says for a pair of neighbouring bytes whether to cut, not to,
or, outside of ASCII, to look at four bytes in a hashed table of character pairs. Where hashes collide a cut is
missed, never made wrongly.
"""

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from aura.tokenizer.symbols import SPACE

Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]

SEPARATOR = "\0"  # in no piece, hence always a unit of its own, of one id
JOINED, CUT, LOOK_CLOSER = 0, 1, 2
STEP = 1 << 20  # bytes looked at together: what is computed for them stays in the processor's cache
_HASH_BITS = 20  # 1 MB, of which 32,000 pieces fill 1 %
_MULTIPLIER = np.uint32(2654435761)  # Knuth's, 2**32 over the golden ratio
_LITERAL = np.frombuffer(SPACE.encode(), np.uint8)


class Cutter:
    """Finds the units of a text.

    Arguments:
        pieces: every piece that text can become, user symbols included, spaces as spaces.
    """

    def __init__(self, pieces: Iterable[str]) -> None:
        pairs: set[tuple[str, str]] = set()
        for piece in pieces:
            pairs.update(pairwise(piece))
        self._verdicts = pa.array(_verdicts(pairs).ravel())
        self._joined = np.zeros(1 << _HASH_BITS, np.bool_)
        windows = np.array([_window(pair) for pair in pairs], np.uint32)
        self._joined[_hashed(windows)] = True

    def bounds(self, text: Bytes, documents: Offsets) -> npt.NDArray[np.int32]:
        """The byte (int32) at which each unit of `text` (valid UTF-8, not empty) begins, ascending; and its size.

        `documents` holds the byte at which each document begins, and that after the last; units end there too. A
        literal U+2581 is a unit of its own.
        """
        forced = np.union1d(documents, _literal_bounds(text))
        parts = [np.zeros(1, np.int32)]
        for begin in range(1, len(text), STEP):
            end = min(begin + STEP, len(text))
            # Neighbouring bytes as 16-bit numbers, without computing: a view that moves on by one byte.
            pairs = np.ndarray(end - begin, np.dtype("<u2"), text, begin - 1, (1,)).astype(np.uint16)
            verdicts = pc.take(self._verdicts, pa.array(pairs), boundscheck=False).to_numpy().copy()
            verdicts[forced[slice(*np.searchsorted(forced, (begin, end)))] - begin] = CUT
            found = np.flatnonzero(verdicts != JOINED)
            unsure = np.flatnonzero(verdicts[found] == LOOK_CLOSER)
            found += begin
            if len(unsure):
                kept = np.ones(len(found), np.bool_)
                kept[unsure] = ~self._joined[_hashed(_windows(text, found[unsure]))]
                found = found[kept]
            parts.append(found.astype(np.int32))
        return np.concatenate([*parts, np.array([len(text)], np.int32)])


def _verdicts(pairs: set[tuple[str, str]]) -> Bytes:
    """(256, 256): what to do between two bytes, the second one first, as little-endian numbers have it."""
    verdicts = np.full((256, 256), CUT, np.uint8)
    for first, second in pairs:
        verdicts[second.encode()[0], first.encode()[-1]] = JOINED
    beyond_ascii = np.zeros((256, 256), np.bool_)
    beyond_ascii[0x80:, :] = beyond_ascii[:, 0x80:] = True
    verdicts[beyond_ascii & (verdicts == JOINED)] = LOOK_CLOSER
    verdicts[0x80:0xC0, :] = JOINED  # inside of a character
    return verdicts


def _literal_bounds(text: Bytes) -> Offsets:
    """The byte at which each U+2581 of `text` begins, and the one after it."""
    first = np.flatnonzero(text[:-2] == _LITERAL[0])
    begins: Offsets = first[(text[first + 1] == _LITERAL[1]) & (text[first + 2] == _LITERAL[2])]
    return np.concatenate([begins, begins + len(_LITERAL)])


def _window(pair: tuple[str, str]) -> int:
    """What the hashed table knows of two characters: the last two bytes of one and the first two of the other."""
    before, after = (character.encode() for character in pair)
    return int.from_bytes((b"\0" + before)[-2:] + (after + b"\0")[:2])


def _windows(text: Bytes, places: Offsets) -> npt.NDArray[np.uint32]:
    """`_window` of the characters around each place (not 0) of `text`."""
    last, first = (text[place].astype(np.uint32) for place in (places - 1, places))
    before_last = np.where(last >= 0x80, text[places - 2], 0).astype(np.uint32)
    after_first = np.where(first >= 0x80, text[np.minimum(places + 1, len(text) - 1)], 0).astype(np.uint32)
    return (before_last << 24 | last << 16 | first << 8 | after_first).astype(np.uint32)


def _hashed(windows: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    hashed: npt.NDArray[np.uint32] = (windows * _MULTIPLIER) >> np.uint32(32 - _HASH_BITS)
    return hashed

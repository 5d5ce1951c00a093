"""Cuts of text whose parts, encoded alone, give exactly the ids of the whole.

A cut between two characters is exact when no piece of the vocabulary has them side by side: no piece can then
span it, so unigram's best path and BPE's merges on one side know nothing of the other. (Unigram also needs sums
of scores that are exact in 32 bits; `aura.train_tokenizer.train` rounds them.) Such cuts leave units of a few bytes,
"the", " (", a character of Chinese, and text repeats them so often that only one in 80 has to be encoded.

Cuts are found on bytes, 1 ns each: a table of 65,536 says for a pair of neighbouring bytes whether to cut, not to,
or, before a character of three bytes or more, to look at four bytes in a hashed table of character pairs. (The scripts
of two bytes part words by spaces: there the first table is enough.) Where hashes, or bytes of several characters, are
the same a cut is missed, never made wrongly.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from aura.tokenizer.symbols import SPACE

Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]
Windows = npt.NDArray[np.uint32]

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
        before, after = _pairs(pieces)
        self._verdicts = pa.array(_verdicts(before, after).ravel())
        self._joined = np.zeros(1 << _HASH_BITS, np.bool_)
        self._joined[_hashed(before << np.uint32(16) | after)] = True

    def bounds(self, text: Bytes, documents: Offsets) -> npt.NDArray[np.int32]:
        """The byte (int32) at which each unit of `text` (valid UTF-8, not empty) begins, ascending; and its size.

        `documents` holds the byte at which each document begins, and that after the last; units end there too. A
        literal U+2581 is a unit of its own.
        """
        cuts = (self._cuts(text, begin, min(begin + STEP, len(text)), documents) for begin in range(1, len(text), STEP))
        return np.concatenate([np.zeros(1, np.int32), *cuts, np.array([len(text)], np.int32)])

    def _cuts(self, text: Bytes, begin: int, end: int, documents: Offsets) -> npt.NDArray[np.int32]:
        """The bytes from `begin` (not 0) to `end` at which units begin."""
        # Neighbouring bytes as 16-bit numbers, without computing: a view that moves on by one byte.
        pairs = np.ndarray(end - begin, np.dtype("<u2"), text, begin - 1, (1,)).astype(np.uint16)
        verdicts = pc.take(self._verdicts, pa.array(pairs), boundscheck=False).to_numpy().copy()
        look_closer = verdicts == LOOK_CLOSER
        if look_closer.any():
            unsure = np.flatnonzero(look_closer)
            verdicts[unsure] = ~self._joined[_hashed(_windows(text, unsure + begin))]
        verdicts[documents[slice(*np.searchsorted(documents, (begin, end)))] - begin] = CUT
        verdicts[_literal_bounds(text, begin, end) - begin] = CUT
        cuts: npt.NDArray[np.int32] = np.flatnonzero(verdicts.view(np.bool_)).astype(np.int32)
        cuts += np.int32(begin)
        return cuts


def _pairs(pieces: Iterable[str]) -> tuple[Windows, Windows]:
    """The characters that pieces have side by side: the last two bytes of the first and the first two of the second."""
    codes = np.frombuffer(SEPARATOR.join(pieces).encode("utf-32-le"), np.uint32).astype(np.uint64)
    pairs = np.unique(codes[:-1] << np.uint64(32) | codes[1:])
    first, second = pairs >> np.uint64(32), pairs & np.uint64(0xFFFFFFFF)
    inside = (first != ord(SEPARATOR)) & (second != ord(SEPARATOR))
    known, places = np.unique(np.concatenate([first[inside], second[inside]]), return_inverse=True)
    characters = [chr(code).encode() for code in known.tolist()]
    last = np.array([int.from_bytes((b"\0" + character)[-2:]) for character in characters], np.uint32)
    begin = np.array([int.from_bytes((character + b"\0")[:2]) for character in characters], np.uint32)
    of_first, of_second = np.split(places, 2)
    return last[of_first], begin[of_second]


def _verdicts(before: Windows, after: Windows) -> Bytes:
    """(256, 256): what to do between two bytes, the second one first, as little-endian numbers have it."""
    verdicts = np.full((256, 256), CUT, np.uint8)
    verdicts[after >> 8, before & 0xFF] = JOINED
    of_three_bytes = verdicts[0xE0:]
    of_three_bytes[of_three_bytes == JOINED] = LOOK_CLOSER
    verdicts[0x80:0xC0, :] = JOINED  # inside of a character
    return verdicts


def _literal_bounds(text: Bytes, begin: int, end: int) -> Offsets:
    """The bytes from `begin` to `end` where a U+2581 of `text` begins, and those after one."""
    first = max(begin - len(_LITERAL), 0)
    near = text[first : end + len(_LITERAL)]
    found = near[:-2] == _LITERAL[0]
    found &= near[1:-1] == _LITERAL[1]
    found &= near[2:] == _LITERAL[2]
    if not found.any():  # nearly always, and quickly known
        return np.empty(0, np.int64)
    begins = np.flatnonzero(found) + first
    bounds = np.concatenate([begins, begins + len(_LITERAL)])
    return bounds[(bounds >= begin) & (bounds < end)]


def _windows(text: Bytes, places: Offsets) -> Windows:
    """The last two bytes before each place (not 0) of `text` and the first two after it, as `_pairs` has them."""
    last, first = (text[place].astype(np.uint32) for place in (places - 1, places))
    before_last = np.where(last >= 0x80, text[places - 2], 0).astype(np.uint32)
    after_first = text[places + 1].astype(np.uint32)  # of a character of three bytes
    return np.asarray(before_last << 24 | last << 16 | first << 8 | after_first, np.uint32)


def _hashed(windows: Windows) -> Windows:
    hashed: Windows = (windows * _MULTIPLIER) >> np.uint32(32 - _HASH_BITS)
    return hashed

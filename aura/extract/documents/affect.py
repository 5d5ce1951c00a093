"""Affect vectors: eight emotions per document, by looking its words up in a lexicon.

A word is a maximal run of Unicode letters, lower-cased, so "made" holds no "mad"; the price is that words apart by a
combining mark or an apostrophe count as two. Most text is words of ASCII letters between other ASCII characters: NumPy
finds those in many texts at once and asks a table of the lexicon's first letters about each. One that may be a word of
the lexicon is then looked up whole; where it touches other characters, Arrow's kernels, which know Unicode, say
first what the words there are.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from aura.core.errors import UserError
from aura.core.terms import EMOTIONS
from aura.extract.documents import nrc

_BETWEEN = b"\n"  # texts, when they are joined
_KEY = 8  # bytes of a word that the table knows it by
_PADDING = bytes(_KEY)  # so that as many can be read at any word
_MASKS = np.array([2 ** (8 * length) - 1 for length in range(_KEY + 1)], "<u8")  # by a word's length
_TABLE_BITS = 18  # 256 kB: fits a core's cache, and one word in 400 is taken for one of the 635 of the lexicon
# Upper-case ASCII letters become lower-case ones; others, and all bytes of other characters, stay; the rest is 0.
_RUNS = bytes(code if code >= 0x80 else ord(chr(code).lower()) * chr(code).isalpha() for code in range(256))
# The characters outside of ASCII that lower-casing (of one character at a time) turns into ASCII letters: i and k.
_LOWERED_TO_ASCII = ("\u0130".encode(), "\u212a".encode())
_Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Lexicon:
    """Lower-cased words and, for each, which of the eight emotions it carries (words x 8, float64)."""

    words: list[str]
    emotions: npt.NDArray[np.float64]
    notice: str = ""  # what a run that uses it must say

    @property
    def is_ascii(self) -> bool:
        """True if all of its words are ASCII."""
        return all(word.isascii() for word in self.words)


def read_lexicon(path: Path) -> Lexicon:
    """Read `word<TAB>emotion[,emotion…]` lines (`#` starts a comment line), or what the pin `nrc.pin.json` names.

    Raises `UserError` naming the file and line of an entry that is not of this form.
    """
    if nrc.is_nrc(path):
        entries = {word.lower(): emotions for word, emotions in nrc.read(path).items()}
        entries = {word: emotions for word, emotions in entries.items() if not set(EMOTIONS).isdisjoint(emotions)}
    else:
        entries = _read_lines(path)
    if not entries:
        raise UserError(f"the lexicon {path} holds no words. Expected lines of the form: happy<TAB>joy")
    words = sorted(entries)
    table = np.array([[emotion in entries[word] for emotion in EMOTIONS] for word in words], dtype=np.float64)
    return Lexicon(words, table, nrc.NOTICE if nrc.is_nrc(path) else "")


def _read_lines(path: Path) -> dict[str, list[str]]:
    try:
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"the lexicon {path} is not valid UTF-8 ({error}). Convert it.") from None
    except FileNotFoundError:
        raise UserError(f"the lexicon {path} is missing. Set extract.lexicon to a file that exists.") from None
    entries: dict[str, list[str]] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        word, tab, emotions = line.partition("\t")
        named = emotions.strip().split(",")
        if not tab or not word.strip() or any(emotion not in EMOTIONS for emotion in named):
            raise UserError(
                f"{path}, line {number}: expected a word, a tab and emotions out of {', '.join(EMOTIONS)}, "
                f"joined by commas; got {line!r}"
            )
        entries[word.strip().lower()] = named
    return entries


def affect_vectors(texts: Iterable[bytes], lexicon: Lexicon) -> pa.FixedSizeListArray:
    """Share of each emotion among the emotional words of each text (UTF-8): n x 8 float32, summing to 1 or all zero."""
    texts = list(texts)  # read several times
    places, entries = (np.concatenate(parts) for parts in zip(*_found(texts, lexicon), strict=True))
    ends = np.cumsum(np.array([len(_BETWEEN), *(len(text) + len(_BETWEEN) for text in texts)], np.int64))
    owners = np.searchsorted(ends, places, "right") - 1
    emotions = lexicon.emotions[entries]
    counts = np.stack([np.bincount(owners, column, len(texts)) for column in emotions.T], axis=1, dtype=np.float64)
    total = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0).astype(np.float32)
    return pa.FixedSizeListArray.from_arrays(pa.array(shares.ravel()), len(EMOTIONS))


def _found(texts: Sequence[bytes], lexicon: Lexicon) -> Iterator[tuple[_Places, _Places]]:
    """Yield where words of the lexicon lie in the texts, with a byte before each, and which they are."""
    data = _BETWEEN.join([b"", *texts, _PADDING])
    lowered = data.translate(_RUNS)
    codes = np.frombuffer(lowered, np.uint8)
    begins, ends = _likely(lowered, *_runs(codes - np.uint8(1) < 0x7F), lexicon)
    beside = (codes[begins - 1] >= 0x80) | (codes[ends] >= 0x80)  # it may be a part of a longer word
    yield _look_up(lowered, begins[~beside], ends[~beside], lexicon)
    if data.isascii():
        return
    if lexicon.is_ascii and not any(_holds(codes, char) for char in _LOWERED_TO_ASCII):
        # Without a likely word of ASCII letters in it, a run holds no word of the lexicon.
        pairs = zip(begins[beside].tolist(), ends[beside].tolist(), strict=True)
        runs = dict.fromkeys((lowered.rindex(0, 0, begin) + 1, lowered.index(0, end)) for begin, end in pairs)
        whole_begins, whole_ends = np.array(list(runs), np.int64).reshape(-1, 2).T
        yield _look_up_unicode(data, whole_begins, whole_ends, lexicon)
    else:
        begins, ends = _runs(codes != 0)
        others = np.logical_or.reduceat(codes >= 0x80, begins)
        yield _look_up_unicode(data, begins[others], ends[others], lexicon)


def _runs(inside: npt.NDArray[np.bool_]) -> tuple[_Places, _Places]:
    """Find the begins and ends of runs of true values; the first value and the last are false."""
    edges = np.flatnonzero(inside[1:] != inside[:-1]) + 1
    return edges[::2], edges[1::2]


def _holds(codes: npt.NDArray[np.uint8], char: bytes) -> bool:
    """Return whether a character is among the bytes."""
    first = np.flatnonzero(codes == char[0])
    return bool(np.any(np.all([codes[first + place] == byte for place, byte in enumerate(char)], axis=0)))


def _likely(lowered: bytes, begins: _Places, ends: _Places, lexicon: Lexicon) -> tuple[_Places, _Places]:
    """Those of the runs whose first bytes a word of the lexicon may have."""
    first_bytes = np.ndarray(len(lowered) - _KEY + 1, "<u8", lowered, strides=(1,))
    keys = first_bytes[begins] & _MASKS[np.minimum(ends - begins, _KEY)]
    likely = np.flatnonzero(_table(lexicon)[_hashed(keys)])
    return begins[likely], ends[likely]


def _look_up(lowered: bytes, begins: _Places, ends: _Places, lexicon: Lexicon) -> tuple[_Places, _Places]:
    """The runs of ASCII letters that are words of the lexicon: where they begin, and which they are."""
    words = [lowered[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]
    return _entries(pa.array(words, pa.large_string()), begins, lexicon)


def _look_up_unicode(data: bytes, begins: _Places, ends: _Places, lexicon: Lexicon) -> tuple[_Places, _Places]:
    """The same for runs with other characters, letters or not: a run may hold several words."""
    runs = [data[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]
    words = pc.split_pattern_regex(pc.utf8_lower(pa.array(runs, pa.large_string())), pattern=r"[^\pL]+")
    return _entries(words.flatten(), begins[pc.list_parent_indices(words).to_numpy()], lexicon)


def _entries(words: pa.Array, places: _Places, lexicon: Lexicon) -> tuple[_Places, _Places]:
    entry = pc.index_in(words, value_set=pa.array(lexicon.words, pa.large_string()))
    return places[pc.is_valid(entry).to_numpy(zero_copy_only=False)], entry.drop_null().to_numpy().astype(np.int64)


def _table(lexicon: Lexicon) -> npt.NDArray[np.bool_]:
    """Mark the hashes that the first bytes of the lexicon's words have."""
    table = np.zeros(1 << _TABLE_BITS, np.bool_)
    words = np.array([word.encode()[:_KEY] for word in lexicon.words], f"S{_KEY}")  # shorter ones end in zeros
    table[_hashed(words.view("<u8"))] = True
    return table


def _hashed(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Multiplicative hashing (Knuth, The Art of Computer Programming 3, 6.4), by the golden ratio of 2^64."""
    return (keys * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - _TABLE_BITS)

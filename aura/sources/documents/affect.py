"""Affect vectors: eight emotions per document, by looking its words up in a lexicon.

A word is a maximal run of Unicode letters, lower-cased, so "made" holds no "mad"; the price is that words apart by a
combining mark or an apostrophe count as two. Most text is words of ASCII letters between other ASCII characters: NumPy
finds where these begin in a megabyte of texts, and asks two small tables about the first four and eight bytes of each:
one word in 16 passes the first, one in 100 the second. These bytes are the whole of a word of up to seven letters; a
longer one is looked up whole. Where a word touches other characters, Arrow's kernels, which know Unicode, say what the
words there are.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from aura.core.errors import UserError
from aura.core.keys import action_key
from aura.core.terms import EMOTIONS
from aura.sources.documents import nrc

_BETWEEN = b"\n"  # texts, when they are joined
_AT_ONCE = 1_000_000  # bytes of text: what NumPy makes of them stays in a core's cache
_SHORT, _LONG = 4, 8  # bytes of a word that the tables know it by
_PADDING = bytes(_LONG)  # so that as many can be read at any word
_SHORT_BITS, _LONG_BITS = 16, 18  # of the tables' places: 64 and 256 kB, 3 and 0.2 % of them taken
_LOWER = 0x20  # this bit makes ASCII letters lower-case, and no other byte a letter
_EACH = 0x0101010101010101  # one in each of eight bytes
_LOWER_EACH, _HIGH_EACH, _LOW_EACH = (np.uint64(byte * _EACH) for byte in (_LOWER, 0x80, 0x7F))
_FROM_A, _ABOVE_Z = (np.uint64((0x80 - first) * _EACH) for first in (ord("a"), ord("z") + 1))
_WORD = re.compile(rb"[A-Za-z]+")
_FIRST, _LAST = (re.compile(rb"[\xc0-\xff][\x80-\xbf]*+" + end) for end in (b"", rb"\Z"))  # characters beyond ASCII
# Upper-case ASCII letters become lower-case ones; others, and all bytes of other characters, stay; the rest is 0.
_RUNS = bytes(code if code >= 0x80 else ord(chr(code).lower()) * chr(code).isalpha() for code in range(256))
_ENDS = sorted({code | _LOWER for code in range(256) if code >= 0x80 or not chr(code).isalpha()})
# Whether there is a letter in a character or two: Arrow takes a millisecond to begin with that question.
_ARE_LETTERS: dict[bytes, bool] = {}
_REMEMBERED = 100_000
# The characters outside of ASCII that lower-casing (of one character at a time) turns into ASCII letters: i and k.
_LOWERED_TO_ASCII = ("\u0130".encode(), "\u212a".encode())
_Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Lexicon:
    """Lower-cased words and, for each, which of the eight emotions it carries (words x 8, float64)."""

    words: list[str]
    emotions: npt.NDArray[np.float64]
    notice: str = ""  # what a run that uses it must say
    path: str = ""  # of its file, if it is of one

    def __reduce__(self) -> tuple[Any, ...]:
        """Go to other processes as the file's path and the content's hash: each task would otherwise hold 50 kB."""
        if self.path:
            return _read_again, (self.path, self.digest)
        return Lexicon, (self.words, self.emotions, self.notice)

    @cached_property
    def digest(self) -> str:
        """The hash of its words and emotions."""
        return action_key(self.words, self.emotions.tolist())

    @cached_property
    def is_ascii(self) -> bool:
        """True if all of its words are ASCII."""
        return all(word.isascii() for word in self.words)

    @cached_property
    def values(self) -> pa.Array:
        """The words in Arrow."""
        return pa.array(self.words, pa.large_string())

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """The bytes of each word."""
        return np.array([len(word.encode()) for word in self.words], np.int64)

    @cached_property
    def numbers(self) -> dict[bytes, int]:
        """The place of each word."""
        return {word.encode(): number for number, word in enumerate(self.words)}

    @cached_property
    def short(self) -> int:
        """The bytes of a word in `short_keys`: at most one more than the shortest word has."""
        return min([_SHORT, *(len(word) + 1 for word in self.words if word.isascii())])

    @cached_property
    def short_keys(self) -> npt.NDArray[np.bool_]:
        """Mark the hashes of the first bytes of each ASCII word; one byte behind a shorter word may be any."""
        words = [word.encode()[: self.short] for word in self.words if word.isascii()]
        keys = [word for word in words if len(word) == self.short]
        keys += [word + bytes([end]) for word in words if len(word) < self.short for end in _ENDS]
        return _marked(_hashed_short(np.array(keys, f"S{_SHORT}").view("<u4")), _SHORT_BITS)

    @cached_property
    def long_keys(self) -> npt.NDArray[np.bool_]:
        """The same for more bytes, with zeros behind a shorter word."""
        words = np.array([word.encode()[:_LONG] for word in self.words if word.isascii()], f"S{_LONG}")
        return _marked(_hashed_long(words.view("<u8")), _LONG_BITS)

    @cached_property
    def whole(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
        """The words of fewer than eight ASCII letters as numbers, in order, and the place of each."""
        found = [n for n, word in enumerate(self.words) if len(word) < _LONG and word.isascii() and word.isalpha()]
        numbers = np.array([self.words[number].encode() for number in found], f"S{_LONG}").view("<u8")
        order = np.argsort(numbers)
        return numbers[order], np.array(found, np.int64)[order]


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
    return Lexicon(words, table, nrc.NOTICE if nrc.is_nrc(path) else "", str(path))


@lru_cache(maxsize=2)
def _read_again(path: str, digest: str) -> Lexicon:
    """The lexicon in a file, once per process; it must be the one that another process read there."""
    lexicon = read_lexicon(Path(path))
    if lexicon.digest != digest:
        raise UserError(f"the lexicon {path} changed while it was used, or is another one here. Run the command again.")
    return lexicon


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
    found = [_counts(portion, lexicon) for portion in _portions(list(texts))]
    counts = np.concatenate([np.zeros((0, len(EMOTIONS))), *found])
    total = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0).astype(np.float32)
    return pa.FixedSizeListArray.from_arrays(pa.array(shares.ravel()), len(EMOTIONS))


def _portions(texts: list[bytes]) -> Iterator[list[bytes]]:
    """Texts of about `_AT_ONCE` bytes."""
    start = held = 0
    for number, text in enumerate(texts, start=1):
        held += len(text)
        if held >= _AT_ONCE or number == len(texts):
            yield texts[start:number]
            start, held = number, 0


def _counts(texts: Sequence[bytes], lexicon: Lexicon) -> npt.NDArray[np.float64]:
    """The number of words of each emotion in each text."""
    places, entries = (np.concatenate(parts) for parts in zip(*_found(texts, lexicon), strict=True))
    ends = np.cumsum(np.array([len(_BETWEEN), *(len(text) + len(_BETWEEN) for text in texts)], np.int64))
    owners = np.searchsorted(ends, places, "right") - 1
    emotions = lexicon.emotions[entries]
    return np.stack([np.bincount(owners, column, len(texts)) for column in emotions.T], axis=1, dtype=np.float64)


def _found(texts: Sequence[bytes], lexicon: Lexicon) -> Iterator[tuple[_Places, _Places]]:
    """Yield where words of the lexicon lie in the texts, with a byte before each, and which they are."""
    data = _BETWEEN.join([b"", *texts, _PADDING])
    codes = np.frombuffer(data, np.uint8)
    begins, entries = _look_up(data, codes, lexicon)
    ends = begins + lexicon.lengths[entries]
    beside = (codes[begins - 1] >= 0x80) | (codes[ends] >= 0x80)  # it may be a part of a longer word
    yield begins[~beside], entries[~beside]
    if data.isascii():
        return
    if lexicon.is_ascii and not any(_holds(codes, char) for char in _LOWERED_TO_ASCII):
        begins, ends, entries = begins[beside], ends[beside], entries[beside]
        alone = _no_letters_around(data, begins, ends)
        yield begins[alone], entries[alone]
    else:
        codes = np.frombuffer(data.translate(_RUNS), np.uint8)
        begins, ends = _runs(codes != 0)
        others = np.logical_or.reduceat(codes >= 0x80, begins)
        yield _look_up_unicode(data, begins[others], ends[others], lexicon)


def _no_letters_around(data: bytes, begins: _Places, ends: _Places) -> npt.NDArray[np.bool_]:
    """Return whether no letter of any script touches each run of ASCII letters."""
    around = []
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        before, behind = _LAST.search(data, max(begin - 4, 0), begin), _FIRST.match(data, end, end + 4)
        around.append((before[0] if before else b"") + (behind[0] if behind else b""))
    if new := list({one for one in around if one not in _ARE_LETTERS}):
        if len(_ARE_LETTERS) > _REMEMBERED:
            _ARE_LETTERS.clear()
            new = list(set(around))
        letters = pc.match_substring_regex(pc.utf8_lower(pa.array(new, pa.large_string())), r"\pL")
        _ARE_LETTERS.update(zip(new, letters.to_pylist(), strict=True))
    return np.array([not _ARE_LETTERS[one] for one in around], np.bool_)


def _runs(inside: npt.NDArray[np.bool_]) -> tuple[_Places, _Places]:
    """Find the begins and ends of runs of true values; the first value and the last are false."""
    edges = np.flatnonzero(inside[1:] != inside[:-1]) + 1
    return edges[::2], edges[1::2]


def _holds(codes: npt.NDArray[np.uint8], char: bytes) -> bool:
    """Return whether a character is among the bytes."""
    first = np.flatnonzero(codes == char[0])
    return bool(np.any(np.all([codes[first + place] == byte for place, byte in enumerate(char)], axis=0)))


def _look_up(data: bytes, codes: npt.NDArray[np.uint8], lexicon: Lexicon) -> tuple[_Places, _Places]:
    """The runs of ASCII letters that are words of the lexicon: where they begin, and which they are."""
    begins, first, is_whole = _likely(data, codes, lexicon)
    numbers, entries = lexicon.whole
    places = np.searchsorted(numbers[:-1], first)
    found = np.full(len(begins), -1)
    if len(numbers):
        same = is_whole & (numbers[places] == first)
        found[same] = entries[places[same]]
    longer = np.flatnonzero(~is_whole)
    words = (_WORD.match(data, begin) for begin in begins[longer].tolist())
    found[longer] = [lexicon.numbers.get(word[0].lower(), -1) if word else -1 for word in words]
    is_word = found >= 0
    return begins[is_word], found[is_word]


def _likely(
    data: bytes, codes: npt.NDArray[np.uint8], lexicon: Lexicon
) -> tuple[_Places, npt.NDArray[np.uint64], npt.NDArray[np.bool_]]:
    """The runs of ASCII letters whose first bytes a word of the lexicon has, as far as hashes tell.

    Where they begin; their first eight letters, with zeros behind fewer; and whether those are all.
    """
    inside = (codes | np.uint8(_LOWER)) - np.uint8(ord("a")) < 26
    begins = np.flatnonzero(inside[1:] > inside[:-1]) + 1
    # `take` and `compress` do what brackets do, in two thirds of the time; for few windows `take` copies too much.
    short = np.ndarray(len(data) - _LONG + 1, "<u4", data, strides=(1,)).take(begins)
    short = (short | np.uint32(_LOWER_EACH & 0xFFFFFFFF)) & np.uint32(2 ** (8 * lexicon.short) - 1)
    begins = begins.compress(lexicon.short_keys.take(_hashed_short(short)))
    first = np.ndarray(len(data) - _LONG + 1, "<u8", data, strides=(1,))[begins] | _LOWER_EACH
    low = first & _LOW_EACH
    behind = ~((low + _FROM_A) & ~(low + _ABOVE_Z) & ~first) & _HIGH_EACH  # the high bit of what is no letter
    behind &= ~behind + np.uint64(1)  # of the first such byte; 0 where there is none
    is_whole = behind != 0
    first &= np.where(is_whole, (behind >> np.uint64(7)) - np.uint64(1), ~np.uint64(0))
    likely = lexicon.long_keys.take(_hashed_long(first))
    return begins.compress(likely), first.compress(likely), is_whole.compress(likely)


def _look_up_unicode(data: bytes, begins: _Places, ends: _Places, lexicon: Lexicon) -> tuple[_Places, _Places]:
    """The same for runs with other characters, letters or not: a run may hold several words."""
    runs = [data[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]
    words = pc.split_pattern_regex(pc.utf8_lower(pa.array(runs, pa.large_string())), pattern=r"[^\pL]+")
    return _entries(words.flatten(), begins[pc.list_parent_indices(words).to_numpy()], lexicon)


def _entries(words: pa.Array, places: _Places, lexicon: Lexicon) -> tuple[_Places, _Places]:
    entry = pc.index_in(words, value_set=lexicon.values)
    return places[pc.is_valid(entry).to_numpy(zero_copy_only=False)], entry.drop_null().to_numpy().astype(np.int64)


def _marked(places: npt.NDArray[Any], bits: int) -> npt.NDArray[np.bool_]:
    """A table of which these places are true."""
    table = np.zeros(1 << bits, np.bool_)
    table[places] = True
    return table


def _hashed_short(keys: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Multiplicative hashing (Knuth, The Art of Computer Programming 3, 6.4), by the golden ratio of 2^32."""
    return (keys * np.uint32(0x9E3779B1)) >> np.uint32(32 - _SHORT_BITS)


def _hashed_long(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The same by the golden ratio of 2^64."""
    return (keys * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - _LONG_BITS)

"""Words cut where no piece can lie across: what the trainer learns from, several times fewer than words.

With the split flags of params.yaml SentencePiece lets no piece mix scripts or hold two digits, so a word such as
` foo_bar(12)` is learnt from as ` foo`, `_`, `bar`, `(`, `1`, `2`, `)`. Cutting before training and adding up gives the
same pieces (segmentations of the parts are independent) from far fewer rows: in 212 MB of documentation in several
languages 1.74 million distinct words become 0.70 million distinct segments.

A cut must be certain, a cut left out costs only time. So scripts are told by Python's names of letters and by a
few blocks of common punctuation; between any other characters nothing is cut. A test asks SentencePiece itself.

These cuts keep three promises of params.yaml that SentencePiece does not: it knows no digits but ASCII's and full-width
ones; it splits by number only where it splits by script; and where it does not split by number, it lets a digit join
letters of two scripts.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from unicodedata import ucd_3_2_0 as old_unicode  # fixed, older than SentencePiece's: that knows all of these

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from aura.core import unicode
from aura.train_tokenizer import counts

Codes = npt.NDArray[np.uint32]  # characters as code points
Classes = npt.NDArray[np.uint8]  # of characters

_PART = 100_000  # words that are cut at a time
# Names of letters begin with these; Hiragana and Katakana count as Han, as in SentencePiece.
_SCRIPTS = ("COMMON", "LATIN", "GREEK", "CYRILLIC", "HEBREW", "ARABIC", "DEVANAGARI", "HANGUL", "HAN")
_HAN = ("CJK UNIFIED", "HIRAGANA LETTER", "KATAKANA LETTER")
_ANY = 0  # the class of a character that is never cut from another
_CUT = 255  # and of one that always is
_COMMON_BLOCKS = (
    *((0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E)),  # ASCII
    *((0x2010, 0x2027), (0x2030, 0x205E), (0x20A0, 0x20BF), (0x2190, 0x23FF), (0x2500, 0x2580), (0x2586, 0x27BF)),
    *((0x3001, 0x3002), (0x3008, 0x3011), (0x30FB, 0x30FB), (0xFF01, 0xFF0F), (0xFF1A, 0xFF20)),
)
_COMMON = frozenset(code for first, last in _COMMON_BLOCKS for code in range(first, last + 1))
_SENTENCEPIECE_DIGITS = frozenset((*range(0x30, 0x3A), *range(0xFF10, 0xFF1A)))  # what it takes for a digit
_MORE_SCRIPTS = (  # told apart only where a digit stands between their letters, which SentencePiece would join
    *("ARMENIAN", "BENGALI", "BOPOMOFO", "CANADIAN", "CHEROKEE", "ETHIOPIC", "GEORGIAN", "GUJARATI", "GURMUKHI"),
    *("KANNADA", "KHMER", "LAO", "MALAYALAM", "MONGOLIAN", "MYANMAR", "ORIYA", "SINHALA", "SYRIAC", "TAMIL", "TELUGU"),
    *("THAANA", "THAI", "TIBETAN", "TIFINAGH"),
)
_NEUTRAL, _DIGIT, _LETTER, _MARK = range(4)  # what a character is to split_by_number


@dataclass(frozen=True)
class Splitting:
    """The options that decide the cuts of words: the keys of the same names in params.yaml."""

    split_digits: bool
    split_by_script: bool
    split_by_number: bool
    user_symbols: tuple[str, ...]


def segments(words: pa.Table, splitting: Splitting) -> pa.Table:
    """Distinct segments of distinct words, both with counts (`counts.SCHEMA`), in no order."""
    words = _without_symbols(words, splitting.user_symbols).combine_chunks()
    parts = [_cut_words(words.slice(start, _PART), splitting) for start in range(0, len(words), _PART)]
    return counts.summed(pa.concat_tables(parts)) if parts else words


def byte_cuts(splitting: Splitting) -> counts.Cuts | None:
    """The cuts of words that bytes of ASCII decide: between letters and common characters, and at digits.

    None where user symbols must be found in whole words first.
    """
    if _symbols(splitting.user_symbols) or not (splitting.split_digits or splitting.split_by_script):
        return None
    return partial(_byte_cuts, splitting)


def _byte_cuts(splitting: Splitting, values: counts.Bytes) -> npt.NDArray[np.bool_]:
    """Return whether no piece may hold both the byte at each place but the last and the one after it."""
    digits = (values - ord("0")) < 10  # below "0" it is 10 or more, as bytes have no sign
    cuts = np.zeros(max(len(values) - 1, 0), bool)
    if splitting.split_by_script:
        letters = ((values | 0x20) - ord("a")) < 26
        common = ((values - 0x21) < 0x7F - 0x21) ^ letters
        if splitting.split_digits or not splitting.split_by_number:
            common ^= digits
        cuts |= letters[1:] & common[:-1] | common[1:] & letters[:-1]
    if splitting.split_digits:
        cuts |= digits[1:] | digits[:-1]
    return cuts


def characters(texts: pa.Table) -> tuple[Codes, npt.NDArray[np.bool_]]:
    """The characters of all texts of a table (`counts.SCHEMA`), and which of them begin a text."""
    values, _ = counts.utf8(texts["text"].combine_chunks())
    codes = np.frombuffer(values.tobytes().decode().encode("utf-32-le"), np.uint32)
    lengths = pc.utf8_length(texts["text"]).to_numpy()
    begins = np.zeros(len(codes), bool)
    begins[np.cumsum(lengths) - lengths] = True
    return codes, begins


def parted(texts: pa.Table, begins: npt.NDArray[np.bool_], cut: npt.NDArray[np.bool_]) -> pa.Table:
    """Each part of each text with the text's count; `begins` says which characters begin a text, and `cut` a part."""
    values, _ = counts.utf8(texts["text"].combine_chunks())
    places = np.flatnonzero(cut)
    text = np.cumsum(begins[places]) - 1  # of each part
    leads = np.flatnonzero((values & 0xC0) != 0x80)  # the first byte of each character
    return pa.table([counts.strings(values, leads[places]), texts["count"].to_numpy()[text]], schema=counts.SCHEMA)


def _cut_words(words: pa.Table, splitting: Splitting) -> pa.Table:
    """Each segment of each word with the word's count."""
    codes, begins = characters(words)
    cut = begins.copy()
    cut[1:] |= _cuts(codes, splitting)
    if splitting.split_by_script and not splitting.split_by_number:
        _cut_between_kinds(_each(codes, _any_script), cut)
    if splitting.split_by_number and not splitting.split_digits:
        _cut_between_kinds(_with_marks(_each(codes, _number_kind)), cut)
    return parted(words, begins, cut)


def _cuts(codes: Codes, splitting: Splitting) -> npt.NDArray[np.bool_]:
    """Return whether no piece may hold both the character at each place but the last and the one after it."""
    if not splitting.split_digits and not splitting.split_by_script:
        return np.zeros(max(len(codes) - 1, 0), bool)
    digits, scripts, numbers = splitting.split_digits, splitting.split_by_script, splitting.split_by_number
    kinds = _each(codes, partial(_kind, digits, scripts, numbers))
    known, digit = kinds != _ANY, kinds == _CUT
    cuts: npt.NDArray[np.bool_] = (kinds[1:] != kinds[:-1]) & known[1:] & known[:-1] | digit[1:] | digit[:-1]
    return cuts


@cache
def _kind(split_digits: bool, split_by_script: bool, split_by_number: bool, code: int) -> int:
    """The class of a character for `_cuts`: two of different ones are cut, `_ANY` from none and `_CUT` from all."""
    if split_digits and _is_digit(code):
        return _CUT
    if not split_by_script:
        return _ANY
    digits = 1 + _SCRIPTS.index("COMMON") if split_by_number else _ANY
    return digits if code in _SENTENCEPIECE_DIGITS else _script(code)


def _each(codes: Codes, classified: Callable[[int], int]) -> Classes:
    """The class of each character; each distinct one is asked for once."""
    present = np.flatnonzero(np.bincount(codes))
    classes = np.zeros(int(present[-1]) + 1, np.uint8)
    classes[present] = [classified(code) for code in present.tolist()]
    return classes.take(codes)


def _cut_between_kinds(kinds: Classes, cut: npt.NDArray[np.bool_]) -> None:
    """Add cuts, so that between two of them all characters of a kind other than 0 are of one and the same.

    `cut` says before which characters there is one, and before the first there is. The new one goes beside a letter, so
    that what stands between letter and digit stays with the digit, as in SentencePiece.
    """
    places = np.arange(len(kinds))
    held = kinds != 0
    begin = np.maximum.accumulate(np.where(cut, places, 0))  # of the segment that each character lies in
    last = np.maximum.accumulate(np.where(held, places, -1))
    before = np.append(-1, last[:-1])  # the last character of any kind before each
    changed = np.flatnonzero(held & (before >= begin) & (kinds[before] != kinds))
    cut[np.where(kinds[changed] == _DIGIT, before[changed] + 1, changed)] = True


def _with_marks(kinds: Classes) -> Classes:
    """Marks, as accents are, get the kind of the character that they stand on."""
    base = np.maximum.accumulate(np.where(kinds == _MARK, 0, np.arange(len(kinds))))
    found = kinds[base]
    return np.where(found == _MARK, _NEUTRAL, found).astype(np.uint8)


@cache
def _is_digit(code: int) -> bool:
    return unicode.category(chr(code)) == "Nd"


@cache
def _number_kind(code: int) -> int:
    """Return the class of a character for split_by_number; `_NEUTRAL` goes with both letters and digits."""
    category = unicode.category(chr(code))
    return _DIGIT if category == "Nd" else {"L": _LETTER, "M": _MARK}.get(category[0], _NEUTRAL)


@cache
def _any_script(code: int) -> int:
    """A letter's script, as a number above that of digits, as digits are of none; otherwise 0."""
    if script := _script(code):
        return 0 if script == 1 + _SCRIPTS.index("COMMON") else 1 + script
    first = unicode.first_of_name(chr(code))
    is_letter = unicode.is_letter(chr(code))
    return 2 + len(_SCRIPTS) + _MORE_SCRIPTS.index(first) if is_letter and first in _MORE_SCRIPTS else 0


@cache
def _script(code: int) -> int:
    """The class of a character's script, or `_ANY`."""
    if code in _COMMON:
        return 1 + _SCRIPTS.index("COMMON")
    name = old_unicode.name(chr(code), "")
    if old_unicode.category(chr(code)) not in ("Lu", "Ll", "Lt", "Lo"):
        return _ANY
    if name.startswith(_HAN):
        return 1 + _SCRIPTS.index("HAN")
    first = name.partition(" ")[0]
    return 1 + _SCRIPTS.index(first) if first in _SCRIPTS[1:] else _ANY


def _without_symbols(words: pa.Table, symbols: Sequence[str]) -> pa.Table:
    """Words cut at user symbols, which go: what is left of each, as SentencePiece finds them (longest first)."""
    symbols = _symbols(symbols)
    if not symbols:
        return words
    pattern = "|".join(re.escape(symbol) for symbol in sorted(symbols, key=len, reverse=True))
    having = pc.match_substring_regex(words["text"], pattern)
    holders = words.filter(having)
    if not len(holders):
        return words
    parts = [
        {"text": part, "count": count}
        for word, count in zip(holders["text"].to_pylist(), holders["count"].to_pylist(), strict=True)
        for part in re.split(pattern, word)
        if part
    ]
    return pa.concat_tables([words.filter(pc.invert(having)), pa.Table.from_pylist(parts, schema=counts.SCHEMA)])


def _symbols(symbols: Sequence[str]) -> list[str]:
    """Those of some user symbols that a word can hold."""
    return [symbol for symbol in symbols if not set(symbol) & set(counts.BOUNDS)]

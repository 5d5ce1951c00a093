"""Counts of each word of the training documents: all that the tokenizer learns from.

A word is a run of spaces with the non-spaces after it, so that a piece can hold a word with its space, or an
indentation. Only U+0020 bounds words: Unicode's other spaces are ordinary characters to SentencePiece.
Counting first makes training independent of the order of documents, and never drops one for its length.
Words are slices of Arrow's own text buffer, found with NumPy and counted by Arrow: 80 MB/s on one core, four times a
Python dictionary. The price is memory: the offsets of `_BLOCK` bytes of text at a time, and each distinct word.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from aura.corpus import corpus
from aura.train_tokenizer.cap import Cap

MAX_WORD_CHARS = 4096  # a longer word (base64, a missing space) is cut here: training time grows faster than length
SCHEMA = pa.schema([pa.field("text", pa.large_string()), pa.field("count", pa.int64())])
_BLOCK = 16_000_000  # bytes of text counted at a time
_PENDING = 500_000  # rows that wait to be added up
_PART = 1_000_000  # bytes looked at at a time; what NumPy writes then stays in the processor's cache

# Characters that bound words beside the space. "\n" and "\t" are symbols of every tokenizer; of the others
# SentencePiece 0.2.3 keeps NUL, U+001F, U+2581 and U+2585 to itself: a row that holds one loses it, the
# space it stands for, or the whole row. They become byte pieces, so training goes without them, and says so.
_SYMBOLS = "\n\t"
_UNTRAINABLE = {"\0": "U+0000", "\x1f": "U+001F", "\u2581": "U+2581", "\u2585": "U+2585"}
# By byte: a space is 1, a bound 3, the rest 0. A slice begins where this changes, but not from a space to the rest.
_KIND = bytes(1 if byte == ord(" ") else 3 if chr(byte) in _SYMBOLS + "\0\x1f" else 0 for byte in range(256))


@dataclass(frozen=True)
class Account:
    """The text that was read for some counts."""

    documents: int = 0
    bytes: int = 0  # UTF-8
    words: int = 0  # occurrences, before long ones were cut
    cut_words: int = 0  # occurrences of words longer than MAX_WORD_CHARS
    left_out: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_UNTRAINABLE.values(), 0))

    def __add__(self, other: "Account") -> "Account":
        """The account of both."""
        return Account(
            self.documents + other.documents,
            self.bytes + other.bytes,
            self.words + other.words,
            self.cut_words + other.cut_words,
            {name: count + other.left_out[name] for name, count in self.left_out.items()},
        )


@dataclass(frozen=True)
class Counts:
    """Distinct strings with how often each occurs (`SCHEMA`), in no order, and the account of what was read.

    Of segments, the rarest may be left out: then `cap` says which.
    """

    table: pa.Table
    account: Account
    cap: Cap | None = None


def count_words(texts: Iterable[str]) -> Counts:
    """Count the words of `texts`; the result is the same for any order of them, but for the rows' own order."""
    return count_arrays([pa.array(list(texts), pa.large_string())])


def count_arrays(arrays: Iterable[pa.Array]) -> Counts:
    """Count the words of arrays of texts (large_string, without nulls)."""
    account, tables = Account(), [SCHEMA.empty_table()]
    for block in _blocks(arrays, _BLOCK):
        slices = []
        for part in _blocks(block, _PART):
            found, read = _slices(pa.concat_arrays(part))
            slices.append(found)
            account += read
        counted = pa.chunked_array(slices).value_counts()
        words, counts = counted.field("values"), counted.field("counts")
        kept = _is_word(words)
        tables.append(pa.table([words.filter(kept), counts.filter(kept)], schema=SCHEMA))
        if sum(map(len, tables[1:])) > max(_PENDING, len(tables[0])):  # adding up looks at all again
            tables = [added(tables)]
    table = added(tables)
    words_read = pc.sum(table["count"]).as_py() or 0
    table, cut_words = _cut_long_words(table)
    return Counts(table, replace(account, words=words_read, cut_words=cut_words))


def added(tables: list[pa.Table]) -> pa.Table:
    """Distinct strings with the sums of their counts; each table holds a string once."""
    tables = [table for table in tables if len(table)] or tables[:1]
    if len(tables) == 1:
        return tables[0]
    return summed(pa.concat_tables(tables))


def summed(table: pa.Table) -> pa.Table:
    """Distinct strings with the sums of their counts, out of a table that may hold one several times."""
    if not len(table):
        return table
    encoded = table["text"].dictionary_encode().chunks  # three times as fast as Arrow's group_by
    places = np.concatenate([chunk.indices.to_numpy() for chunk in encoded])
    sums = np.bincount(places, weights=table["count"].to_numpy())  # exact below 2**53
    return pa.table([encoded[0].dictionary, sums.astype(np.int64)], schema=SCHEMA)


def texts_hash(texts: Iterable[str]) -> str:
    """The corpus hash (`aura.corpus.corpus.corpus_hash`) of documents that lie in no corpus folder."""
    hashes = sorted(corpus.text_hash(text.encode()) for text in texts)
    return hashlib.sha256(b"".join(hashes)).hexdigest()


def strings(values: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64]) -> pa.Array:
    """The slices of UTF-8 bytes that begin at `starts`, each up to the next, as large_string; nothing is copied."""
    offsets = pa.py_buffer(np.append(starts, len(values)))
    return pa.LargeStringArray.from_buffers(len(starts), offsets, pa.py_buffer(values))


def utf8(texts: pa.Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The bytes of an array of texts (large_string), one after the other, and the place where each begins."""
    offsets = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + len(texts) + 1]
    held = texts.buffers()[2]
    values = np.frombuffer(held, np.uint8)[offsets[0] : offsets[-1]] if held else np.empty(0, np.uint8)
    return values, offsets[:-1] - offsets[0]


def _blocks(arrays: Iterable[pa.Array], size: int) -> Iterator[list[pa.Array]]:
    """Group arrays of texts into lists of about `size` bytes or more."""
    held: list[pa.Array] = []
    for array in arrays:
        held.append(array)
        if sum(one.nbytes for one in held) >= size:
            yield held
            held = []
    if held:
        yield held


def _slices(texts: pa.Array) -> tuple[pa.Array, Account]:
    """The words of some texts as slices of one buffer, and, between them, the runs of bounds."""
    values, documents = utf8(texts)
    values, left_out = _without_untrainable(values)
    account = Account(documents=len(documents), bytes=len(values), left_out=left_out)
    kinds = np.frombuffer(values.tobytes().translate(_KIND), np.uint8)
    begins = np.empty(len(values), bool)
    np.greater(kinds[1:] - kinds[:-1] + np.uint8(1), 1, out=begins[1:])  # in 8 bits, -1 + 1 alone is 0, and 0 + 1 is 1
    begins[documents[documents < len(values)]] = True  # an empty last document begins nowhere
    return strings(values, np.flatnonzero(begins)), account


def _is_word(slices: pa.Array) -> pa.Array:
    values, begins = utf8(slices)
    return pa.array(np.frombuffer(_KIND, np.uint8)[values[begins]] < 3, pa.bool_())


def _without_untrainable(values: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], dict[str, int]]:
    """`values` with line breaks in the place of multi-byte bounds, and how often each untrainable character occurs."""
    left_out = {}
    for character, name in _UNTRAINABLE.items():
        code = character.encode()
        places = np.flatnonzero(values[: max(len(values) - len(code) + 1, 0)] == code[0])
        for shift, byte in enumerate(code[1:], start=1):
            places = places[values[places + shift] == byte]
        left_out[name] = len(places)
        if len(code) > 1 and len(places):
            values = values.copy()
            for shift in range(len(code)):
                values[places + shift] = ord("\n")
    return values, left_out


def _cut_long_words(table: pa.Table) -> tuple[pa.Table, int]:
    long = pc.greater(pc.utf8_length(table["text"]), MAX_WORD_CHARS)
    cut = table.filter(long)
    if not len(cut):
        return table, 0
    parts = pa.Table.from_pylist(
        [
            {"text": word[start : start + MAX_WORD_CHARS], "count": count}
            for word, count in zip(cut["text"].to_pylist(), cut["count"].to_pylist(), strict=True)
            for start in range(0, len(word), MAX_WORD_CHARS)
        ],
        schema=SCHEMA,
    )
    return summed(pa.concat_tables([table.filter(pc.invert(long)), parts])), pc.sum(cut["count"]).as_py()

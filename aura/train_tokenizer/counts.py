"""Counts of each word of the training documents: all that the tokenizer learns from.

A word is a run of spaces with the non-spaces after it, so that a piece can hold a word with its space, or an
indentation. Only U+0020 bounds words: Unicode's other spaces are ordinary characters to SentencePiece.
Counting first makes training independent of the order of documents, and never drops one for its length.
Words are slices of Arrow's own text buffer, found with NumPy and counted by Arrow. Whoever cuts the words afterwards
can have them cut between some bytes before they are counted: parts are shorter, and fewer of them are distinct. Those
of 8 bytes or less, seven of eight parts, are counted as numbers. The price is memory: the offsets of `_BLOCK` bytes of
text at a time, and each distinct part.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from aura.core import arrow
from aura.corpus import corpus
from aura.train_tokenizer.cap import Cap

arrow.use_system_memory()
pa.array(np.empty(0))  # the first one imports numpy.ma: here once for all forked workers

Bytes = npt.NDArray[np.uint8]
Cuts = Callable[[Bytes], npt.NDArray[np.bool_]]  # of bytes of UTF-8: which ones but the last no piece goes beyond
Numbers = npt.NDArray[np.uint64]  # strings of at most 8 bytes, the first byte lowest, with zeros behind the last
MAX_WORD_CHARS = 4096  # a longer word (base64, a missing space) is cut here: training time grows faster than length
SCHEMA = pa.schema([pa.field("text", pa.large_string()), pa.field("count", pa.int64())])
_BLOCK = 16_000_000  # bytes of text counted at a time
_PENDING = 500_000  # rows that wait to be added up
_PART = 1_000_000  # bytes looked at at a time; what NumPy writes then stays in the processor's cache

# Characters that bound words beside the space. "\n" and "\t" are symbols of every tokenizer; of the others
# SentencePiece 0.2.3 keeps NUL, U+001F, U+2581 and U+2585 to itself: a row that holds one loses it, the
# space it stands for, or the whole row. They become byte pieces, so training goes without them, and says so.
BOUNDS = "\n\t"
_UNTRAINABLE = {"\0": "U+0000", "\x1f": "U+001F", "\u2581": "U+2581", "\u2585": "U+2585"}
_BLOCKS = "\u2580".encode()[:2]  # what the last two of them begin with
_BOUND_BYTES = BOUNDS.encode() + b"\0\x1f"
_IS_BOUND = np.isin(np.arange(256), list(_BOUND_BYTES))
_MASKS = np.array([(1 << 8 * size) - 1 for size in range(9)] + [0], np.uint64)  # by size: bytes of a string's number


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


def count_arrays(arrays: Iterable[pa.Array], cuts: Cuts | None = None) -> Counts:
    """Count the words of arrays of texts (large_string, without nulls), or their parts between `cuts`."""
    account, tables = Account(), [SCHEMA.empty_table()]
    for block in _blocks(arrays, _BLOCK):
        short, long = [], []
        for part in _blocks(block, _PART):
            values, begins, read = _slices(pa.concat_arrays(part), cuts)
            sizes = np.diff(begins, append=len(values))
            short.append(pa.array(_numbers(values, begins, sizes)))  # 0 for a longer one, as for a run of NUL
            long.append(strings(values, begins).filter(pa.array(sizes > 8)))
            account += read
        tables.append(pa.concat_tables([_words(pa.chunked_array(short)), _words(pa.chunked_array(long))]))
        if sum(map(len, tables[1:])) > max(_PENDING, len(tables[0])):  # adding up looks at all again
            tables = [added(tables)]
    table, cut_words = _cut_long_words(added(tables))
    return Counts(table, replace(account, cut_words=cut_words))


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
    short, numbers, others = _parted(*utf8(table["text"].combine_chunks()))
    counts = table["count"].to_numpy()
    return pa.concat_tables([_summed(pa.array(numbers), counts[short]), _summed(others, counts[~short])])


def _summed(texts: pa.Array, counts: npt.NDArray[np.int64]) -> pa.Table:
    """The same of numbers, or of strings."""
    encoded = texts.dictionary_encode()  # three times as fast as Arrow's group_by
    sums = np.bincount(encoded.indices.to_numpy(), weights=counts)  # exact below 2**53
    return pa.table([_as_strings(encoded.dictionary), sums.astype(np.int64)], schema=SCHEMA)


def in_order(table: pa.Table) -> pa.Table:
    """The rows of distinct texts by their text; nothing is done where they lie so."""
    table = table.combine_chunks()
    texts = table["text"].combine_chunks()
    if pc.all(pc.less(texts[:-1], texts[1:])).as_py():
        return table
    values, begins = utf8(texts)
    heads = _numbers(values, begins, np.minimum(np.diff(begins, append=len(values)), 8)).byteswap()
    order = np.argsort(heads)  # by the first 8 bytes, a third faster than by text
    equal = np.diff(heads[order]) == 0
    places = np.flatnonzero(np.append(equal, False) | np.append(False, equal))
    order[places] = order[places][pc.sort_indices(texts.take(pa.array(order[places]))).to_numpy()]
    return table.take(pa.array(order))


def texts_hash(texts: Iterable[str]) -> str:
    """The corpus hash (`aura.corpus.set_hash.corpus_hash`) of documents that lie in no corpus folder."""
    hashes = sorted(corpus.text_hash(text.encode()) for text in texts)
    return hashlib.sha256(b"".join(hashes)).hexdigest()


def strings(values: Bytes, starts: npt.NDArray[np.int64]) -> pa.Array:
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


def _slices(texts: pa.Array, cuts: Cuts | None) -> tuple[Bytes, npt.NDArray[np.int64], Account]:
    """The bytes of some texts, and the places where a word, a part of it or a run of bounds begins."""
    values, documents = utf8(texts)
    values, left_out = _without_untrainable(values)
    spaces, bounds = values == ord(" "), np.zeros(len(values), bool)
    for byte in _BOUND_BYTES if left_out["U+0000"] or left_out["U+001F"] else BOUNDS.encode():
        bounds |= values == byte
    begins = np.empty(len(values), bool)
    begins[1:] = (spaces[1:] > spaces[:-1]) | (bounds[1:] != bounds[:-1])  # not from a space to the rest
    begins[documents[documents < len(values)]] = True  # an empty last document begins nowhere
    words = int(np.count_nonzero(begins & ~bounds))
    if cuts:
        begins[1:] |= _outside_long_words(begins, cuts(values))
    account = Account(documents=len(documents), bytes=len(values), words=words, left_out=left_out)
    return values, np.flatnonzero(begins), account


def _outside_long_words(begins: npt.NDArray[np.bool_], cuts: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """`cuts` without those in words of more than MAX_WORD_CHARS bytes, which are cut by their length first."""
    half = MAX_WORD_CHARS // 2  # a longer word holds a whole tile of so many bytes
    if begins[: len(begins) // half * half].reshape(-1, half).any(axis=1).all():
        return cuts
    places = np.flatnonzero(begins)
    sizes = np.diff(places, append=len(begins))
    long = sizes > MAX_WORD_CHARS
    for place, size in zip(places[long].tolist(), sizes[long].tolist(), strict=True):
        cuts[place : place + size - 1] = False
    return cuts


def _parted(values: Bytes, begins: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.bool_], Numbers, pa.Array]:
    """Tell which slices of `values` have at most 8 bytes; return these as numbers, the others as strings."""
    sizes = np.diff(begins, append=len(values))
    short = sizes <= 8
    numbers = _numbers(values, np.compress(short, begins), np.compress(short, sizes))
    return short, numbers, strings(values, begins).filter(pa.array(~short))


def _numbers(values: Bytes, begins: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> Numbers:
    """The bytes that begin at each place, at most 8, as a number; 0 for more."""
    padded = np.append(values, np.zeros(8, np.uint8))
    at_each = np.ndarray(len(values), "<u8", padded, strides=(1,))  # the 8 bytes that begin at each place
    return at_each[begins] & _MASKS.take(sizes, mode="clip")


def _words(slices: pa.ChunkedArray) -> pa.Table:
    """The distinct words among some slices, all numbers or all strings, with their counts."""
    counted = slices.value_counts()
    found = counted.field("values")
    if pa.types.is_integer(found.type):
        first = (found.to_numpy() & np.uint64(255)).astype(np.uint8)
    else:
        values, begins = utf8(found)
        first = values[begins]
    kept = pa.array(~_IS_BOUND[first])
    return pa.table([_as_strings(found.filter(kept)), counted.field("counts").filter(kept)], schema=SCHEMA)


def _as_strings(found: pa.Array) -> pa.Array:
    """The strings that some numbers stand for, none with a NUL; strings as they are."""
    if not pa.types.is_integer(found.type):
        return found
    held = found.to_numpy().view(np.uint8).reshape(-1, 8)
    sizes = np.count_nonzero(held, axis=1)
    return strings(held[held != 0], np.cumsum(sizes) - sizes)


def _without_untrainable(values: Bytes) -> tuple[Bytes, dict[str, int]]:
    """`values` with line breaks in the place of multi-byte bounds, and how often each untrainable character occurs."""
    left_out = {
        name: int(np.count_nonzero(values == ord(each))) for each, name in _UNTRAINABLE.items() if each < "\x80"
    }
    first, second = _BLOCKS
    places = np.flatnonzero((values[:-2] == first) & (values[1:-1] == second))
    for character, name in _UNTRAINABLE.items():
        if name in left_out:
            continue
        found = places[values[places + 2] == character.encode()[2]]
        left_out[name] = len(found)
        if len(found):
            values = values.copy()
            for shift in range(3):
                values[found + shift] = ord("\n")
    return values, left_out


def _cut_long_words(table: pa.Table) -> tuple[pa.Table, int]:
    if (pc.max(pc.binary_length(table["text"])).as_py() or 0) <= MAX_WORD_CHARS:
        return table, 0
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

"""The ids of each distinct unit: encoded once by SentencePiece, then looked up and gathered, which is faster.

Arrow does both without the interpreter lock, so threads share one table; it may also be kept from one run to the next
(`content`, `restore`). Arrow indexes the table anew for every block of text, 30 ms for 150,000 units: hence
blocks of 40 MB, and a limit, which also bounds the table to 100 MB of memory. SentencePiece gets units by the
hundred in one text: a call for each costs five times what it computes.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from aura.core import parallel
from aura.core.errors import UserError
from aura.tokenizer.arguments import checked_texts
from aura.tokenizer.id_arrays import Ids
from aura.tokenizer.units import SEPARATOR, Bytes, Cutter, Offsets

Known = tuple[pa.StringArray, pa.BinaryArray]  # units, and the ids of each as the bytes of int32

SMALL = 200_000  # characters; for less, SentencePiece is done before a table is prepared
BLOCK_CHARS = 4_000_000, 40_000_000  # of text, least and most; encoding a block takes 6 times as much memory

FEW_UNITS = 1000  # of a table that has not seen much text
MAX_UNITS = 500_000  # the first so many are kept; what comes later is rare, and encoded in each block that has it
MAX_UNIT_BYTES = 64  # longer units are rarely seen twice
PIECE_BYTES = 1 << 27  # of text that is encoded at once; Arrow's strings have 32-bit offsets
MAX_PIECE_BYTES = 1 << 29  # of a unit at most: as many ids still have 32-bit offsets
JOINED_CHARS = 2048  # of units in one text; sums of so few scores are exact in 32 bits


class UnitTable:
    """Encodes blocks of text through a growing table of units.

    Arguments:
        cutter: cuts text where that changes no id.
        encode: SentencePiece, for units that are not in the table.
        known: units whose ids are not what `encode` gives.
    """

    def __init__(self, cutter: Cutter, encode: Callable[[list[str]], list[Ids]], known: dict[str, Ids]) -> None:
        self._cutter = cutter
        self._encode = encode
        [separator] = encode([SEPARATOR])
        [self._separator] = separator.tolist()
        known = known | {SEPARATOR: separator}
        ids = pa.array([ids.tobytes() for ids in known.values()], pa.binary())
        self._known: Known = (pa.array(known, pa.string()), ids)  # replaced as a whole: readers need no lock
        self._lock = Lock()

    def __getstate__(self) -> dict[str, Any]:
        """All but the lock, which no other process can have."""
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over what `__getstate__` gave."""
        self.__dict__.update(state)
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._known[0])

    def encode_texts(self, texts: Iterable[str], threads: int) -> list[Ids]:
        """The ids of each text, in blocks that threads share."""
        texts = checked_texts(texts)
        pool = ThreadPoolExecutor(threads) if threads > 1 else parallel.SerialExecutor()
        ids: list[Ids] = []
        with pool:
            self._sample(texts)
            for flat, counts in parallel.ordered_map(pool, self._encode_strings, blocks(texts, threads)):
                ends = np.cumsum(counts).tolist()
                ids += [flat[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        return ids

    def _sample(self, texts: Sequence[str]) -> None:
        """Learn the common units of much text at once, so that not each thread learns them."""
        of_each = sum(map(len, texts)) // BLOCK_CHARS[0]
        if of_each > 1 and len(self) < FEW_UNITS:
            self._encode_strings(texts[::of_each])

    def _encode_strings(self, texts: Sequence[str]) -> tuple[Ids, Offsets]:
        return self.encode_block(pa.array(texts, pa.large_string()))

    def encode_block(self, texts: pa.LargeStringArray) -> tuple[Ids, Offsets]:
        """All ids of `texts`, one text after the other, and the number of ids of each text."""
        text, documents = _buffers(texts)
        found, counts, begin = list[Ids](), np.zeros(len(texts), np.int64), 0
        while begin < len(text):
            edges, bounds = self._piece(text, documents, begin)
            ids, numbers = self._encode_piece(text[begin : begin + bounds[-1]], edges, bounds)
            found.append(ids)
            first = int(np.searchsorted(documents, begin, side="right")) - 1  # the document that `begin` lies in
            counts[first : first + len(numbers)] += numbers
            begin += int(bounds[-1])
        return found[0] if len(found) == 1 else np.concatenate([np.empty(0, np.int32), *found]), counts

    def _piece(self, text: Bytes, documents: Offsets, begin: int) -> tuple[Offsets, npt.NDArray[np.int32]]:
        """Where documents and units begin in the next piece of `text`, of whole units, and its size, as the last."""
        size = PIECE_BYTES
        while size <= MAX_PIECE_BYTES:
            end = _character_at(text, begin + size)
            inside = documents[np.searchsorted(documents, begin, side="right") : np.searchsorted(documents, end)]
            edges = np.concatenate([[begin], inside, [end]]) - begin
            bounds = self._cutter.bounds(text[begin:end], edges)
            if end == documents[np.searchsorted(documents, end)]:
                return edges, bounds
            if len(bounds) > 2:  # the last unit may go on behind the piece
                return np.append(edges[edges < bounds[-2]], bounds[-2]), bounds[:-1]
            size *= 2
        told = f"a document has {size // 2:,} bytes in which the tokenizer finds no place to cut"
        raise UserError(f"{told}. Lower extract.max_document_bytes in params.yaml, or leave the document out.")

    def _encode_piece(self, text: Bytes, edges: Offsets, bounds: npt.NDArray[np.int32]) -> tuple[Ids, Offsets]:
        """The ids of a piece, and their number between its edges."""
        ids = self._ids_of(_array(pa.string(), bounds, text))
        firsts = np.searchsorted(bounds, edges.astype(np.int32))  # the first unit behind each edge
        ends = np.frombuffer(ids.buffers()[1], np.int32)[firsts].astype(np.int64) // np.dtype(np.int32).itemsize
        return np.frombuffer(ids.buffers()[2], np.int32)[: ends[-1]], np.diff(ends)

    def content(self) -> bytes:
        """The table, to be kept."""
        sink = pa.BufferOutputStream()
        batch = pa.record_batch(list(self._known), ["units", "ids"])
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        content: bytes = sink.getvalue().to_pybytes()
        return content

    def restore(self, content: bytes) -> None:
        """Take a kept table of the same tokenizer in the place of this one."""
        table = pa.ipc.open_stream(content).read_all().combine_chunks()
        self._known = (table["units"].chunk(0), table["ids"].chunk(0))

    def _ids_of(self, units: pa.StringArray) -> pa.BinaryArray:
        """The ids of each unit; units that the table lacks are added to it."""
        known, ids = seen = self._known
        rows = pc.index_in(units, value_set=known)
        if rows.null_count:
            absent = rows.is_null()
            missing = units.filter(absent).dictionary_encode()
            encoded = self._encoded(missing.dictionary)
            self._add(seen, missing.dictionary, encoded)
            added = pc.add(missing.indices, pa.scalar(len(known), pa.int32()))
            rows, ids = pc.replace_with_mask(rows, absent, added), pa.concat_arrays([ids, encoded])
        return ids.take(rows)

    def _encoded(self, units: pa.StringArray) -> pa.BinaryArray:
        """The ids of units, none of which is the separator: so its id in those of many units stands between two."""
        texts = units.to_pylist()
        parts = np.cumsum([0, *map(len, texts)]) // JOINED_CHARS
        bounds = [*np.unique(parts[:-1], return_index=True)[1].tolist(), len(texts)]
        joined = [SEPARATOR.join([*texts[start:end], ""]) for start, end in pairwise(bounds)]
        flat = np.concatenate([np.empty(0, np.int32), *self._encode(joined)])
        between = flat == self._separator
        ends = np.flatnonzero(between) - np.arange(len(texts))
        offsets = np.concatenate([[0], ends]) * flat.itemsize
        return _array(pa.binary(), offsets.astype(np.int32), flat[~between])

    def _add(self, seen: "Known", units: pa.StringArray, encoded: pa.BinaryArray) -> None:
        """Keep what is short, while there is room; `units` are not in the table as it was `seen`."""
        kept = pc.less_equal(pc.binary_length(units), MAX_UNIT_BYTES)
        with self._lock:
            known, ids = self._known
            if self._known is not seen:  # another thread may have added the same
                kept = pc.and_(kept, pc.invert(pc.is_in(units, value_set=known)))
            room = max(MAX_UNITS - len(known), 0)
            units, encoded = units.filter(kept)[:room], encoded.filter(kept)[:room]
            if len(units):
                self._known = (pa.concat_arrays([known, units]), pa.concat_arrays([ids, encoded]))


def blocks(texts: Sequence[str], threads: int) -> Iterator[Sequence[str]]:
    """Cut a list into runs of texts of about equal size, as many for each thread."""
    ends = np.cumsum([0, *map(len, texts)])
    least, most = BLOCK_CHARS
    number = min(math.ceil(ends[-1] / (most * threads)) * threads, ends[-1] // least)
    bounds = np.searchsorted(ends, np.linspace(0, ends[-1], max(number, 1) + 1))
    bounds[-1] = len(texts)  # empty texts at the end included
    for start, end in pairwise(np.unique(bounds).tolist()):
        yield texts[start:end]


def _buffers(texts: pa.LargeStringArray) -> tuple[npt.NDArray[np.uint8], Offsets]:
    """The UTF-8 of all texts, and where each begins in it (and the last ends); nothing is copied."""
    _, offsets, data = texts.buffers()
    if not (offsets and data):
        return np.empty(0, np.uint8), np.zeros(len(texts) + 1, np.int64)
    documents = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return np.frombuffer(data, np.uint8)[documents[0] : documents[-1]], documents - documents[0]


def _character_at(text: Bytes, place: int) -> int:
    """The beginning of the character that holds the byte at `place`, or the end of a shorter text."""
    if place >= len(text):
        return len(text)
    while text[place] & 0xC0 == 0x80:
        place -= 1
    return place


def _array(kind: pa.DataType, offsets: npt.NDArray[np.int32], data: npt.NDArray[np.generic]) -> pa.Array:
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(data))]
    return pa.Array.from_buffers(kind, len(offsets) - 1, buffers)

"""Tables of counts in the action cache, sorted by text, of which a range of texts can be read alone.

A table lies there in parts of `PART` rows, and its record names the first text of each part. So whoever adds up the
same range of many tables reads only the parts that may hold it, whatever the size of the tables.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aura.core import arrow
from aura.storage.cache import Cache, Entry
from aura.train_tokenizer import cap, counts
from aura.train_tokenizer.cap import Histogram

PART = 1 << 15  # rows that are read at once
RANGE = 1 << 20  # rows, over all tables, that a range holds at most, or little more; adding them up takes 300 MB
HISTOGRAM = "histogram"  # the part with the histogram of counts
Bounds = tuple[str, str | None]  # the first text of a range, and the first one behind it


class NotKept(Exception):
    """The cache takes no entries."""


@dataclass(frozen=True)
class SortedTable:
    """A table in the cache.

    Attributes:
        key: of its entry.
        rows: their number.
        firsts: the first text of each part.
    """

    key: str
    rows: int
    firsts: tuple[str, ...]

    def record(self) -> list[Any]:
        """The same for a record in the cache."""
        return [self.key, self.rows, self.firsts]

    def parts_of(self, bounds: Bounds) -> range:
        """The parts that may hold texts within `bounds`."""
        low, high = bounds
        begin = max(0, sum(first <= low for first in self.firsts) - 1)
        end = len(self.firsts) if high is None else sum(first < high for first in self.firsts)
        return range(begin, max(begin, end))


def from_records(records: Iterable[list[Any]]) -> tuple[SortedTable, ...]:
    """The tables of a record in the cache."""
    return tuple(SortedTable(key, rows, tuple(firsts)) for key, rows, firsts in records)


def keep(cache: Cache, key: str, table: pa.Table, **more: object) -> SortedTable:
    """Sort a table of distinct texts and keep it under `key`, with `more` in the record; `NotKept` if that fails."""
    table = counts.in_order(table)
    parts = [table.slice(start, PART) for start in range(0, len(table), PART)]
    made = SortedTable(key, len(table), tuple(part["text"][0].as_py() for part in parts))
    written = {str(number): arrow.to_bytes(part) for number, part in enumerate(parts)}
    written[HISTOGRAM] = cap.histogram(table).tobytes()
    cache.put(key, {"tables": [made.record()], **more}, written)
    if cache.get(key) is None:
        raise NotKept
    return made


def read(entry: Entry, parts: Iterable[int], bounds: Bounds = ("", None)) -> Iterator[pa.Table | None]:
    """Yield the rows of some parts of a table within `bounds`, part by part; None for a damaged or lost part."""
    low, high = bounds
    for number in parts:
        content = entry.read(str(number))
        if content is None:
            yield None
            return
        part = arrow.from_bytes(content)
        if part["text"][0].as_py() < low:
            part = part.filter(pc.greater_equal(part["text"], pa.scalar(low, pa.large_string())))
        if high is not None and len(part) and part["text"][-1].as_py() >= high:
            part = part.filter(pc.less(part["text"], pa.scalar(high, pa.large_string())))
        yield part


def ranges(tables: Iterable[SortedTable]) -> list[Bounds]:
    """Ranges of texts that together hold all: the fewest of `RANGE` rows of `tables`, and about equal."""
    tables = list(tables)
    rows = sum(table.rows for table in tables)
    most = rows / max(1, math.ceil(rows / RANGE))
    parts = [
        (first, min(PART, table.rows - number * PART)) for table in tables for number, first in enumerate(table.firsts)
    ]
    begins, held = [""], 0
    for first, rows in sorted(parts):
        if held >= most and first > begins[-1]:
            begins.append(first)
            held = 0
        held += rows
    return list(zip(begins, [*begins[1:], None], strict=True))


def read_histogram(entry: Entry) -> Histogram | None:
    """The histogram of a table's counts; None if it is damaged or lost."""
    content = entry.read(HISTOGRAM)
    return None if content is None else np.frombuffer(content, np.int64).reshape(-1, 2)

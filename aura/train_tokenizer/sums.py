"""Counts of many shards added up in a tree, each step kept under the keys of what it adds.

A sum adds up to about `CHILDREN` others, range of texts by range of texts. Each range is a task of its own, which
reads tables from the action cache and puts one there. So nobody holds more than a range of some tables, no table goes
between processes, and a changed shard costs the sums above it alone. Sums do not depend on the order of what is added,
so they are grouped by their keys: a shard more or less moves no other one to another group.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from aura.core.keys import action_key
from aura.storage.cache import Cache
from aura.storage.placement import at_once
from aura.train_tokenizer import counts, sorted_tables
from aura.train_tokenizer.counts import Account
from aura.train_tokenizer.sorted_tables import Bounds, SortedTable

CHILDREN = 16


@dataclass(frozen=True)
class Plan:
    """A sum that is wanted: the key of its entry, and what it adds; nothing where a shard is counted."""

    key: str
    children: tuple["Plan", ...] = ()

    def added(self, made: dict[str, "Sum"]) -> list["Sum"]:
        """What it adds, of all that was made; equal shards count as often as they are there."""
        return [made[child.key] for child in self.children]


@dataclass(frozen=True)
class Sum:
    """A sum in the cache: the account of its text, and its tables, each a range of texts, in their order."""

    key: str
    account: Account
    tables: tuple[SortedTable, ...]

    @property
    def rows(self) -> int:
        """Distinct segments."""
        return sum(table.rows for table in self.tables)


class Lost(Exception):
    """The cache lost a table of some sums, or has it damaged."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        super().__init__(keys)
        self.keys = keys


@dataclass(frozen=True)
class Piece:
    """Parts of a table, and the key of the sum that lists the table."""

    sum: str
    table: str
    parts: range


@dataclass(frozen=True)
class Task:
    """A range of texts to be added up, and the key that its table gets."""

    key: str
    bounds: Bounds
    pieces: tuple[Piece, ...]

    def __str__(self) -> str:
        return f"sum {self.key}"


def planned(leaves: Sequence[Plan], code: str) -> Plan:
    """The sum of all `leaves`."""
    level = list(leaves)
    while len(level) > 1:
        level = [
            Plan(action_key("sum of counts", code, [child.key for child in group]), tuple(group))
            for group in _grouped(level)
        ]
    return level[0]


def _grouped(plans: list[Plan]) -> list[list[Plan]]:
    """Plans in groups of about 8 to 16, by their keys; at most 16 are one group."""
    number = 1
    while number * CHILDREN < len(plans):
        number *= 2
    groups: dict[int, list[Plan]] = {}
    for plan in sorted(plans, key=lambda plan: plan.key):
        groups.setdefault(int(plan.key, 16) % number, []).append(plan)
    return [groups[place] for place in sorted(groups)]


def find_all(cache: Cache, plans: Iterable[Plan]) -> dict[str, Sum]:
    """The sums that are in the cache, by their keys; whether their tables are there too shows when they are read."""
    keys = list(dict.fromkeys(plan.key for plan in plans))
    found = cache.get_all(keys)
    return {key: _sum_of(key, entry.record) for key, entry in zip(keys, found, strict=True) if entry}


def keep(cache: Cache, key: str, added: Iterable[Sum], tables: Sequence[SortedTable]) -> Sum:
    """Keep a sum of what was added, once its tables are there."""
    account = sum((one.account for one in added), Account())
    cache.put(key, {"account": asdict(account), "tables": [table.record() for table in tables]}, {})
    return Sum(key, account, tuple(tables))


def _sum_of(key: str, record: dict[str, Any]) -> Sum:
    return Sum(key, Account(**record["account"]), sorted_tables.from_records(record["tables"]))


def tasks(key: str, added: Sequence[Sum]) -> list[Task]:
    """The tasks of a sum of `added`, one for each range."""
    bounds = sorted_tables.ranges(table for one in added for table in one.tables)
    return [Task(action_key("range", key, one), one, _pieces(one, added)) for one in bounds]


def _pieces(bounds: Bounds, added: Iterable[Sum]) -> tuple[Piece, ...]:
    pieces = [Piece(one.key, table.key, table.parts_of(bounds)) for one in added for table in one.tables]
    return tuple(piece for piece in pieces if piece.parts)


def find(task: Task, *, cache: Cache) -> SortedTable | None:
    """The table of a range, if it is there."""
    entry = cache.get(task.key)
    return sorted_tables.from_records(entry.record["tables"])[0] if entry else None


def add(task: Task, *, cache: Cache) -> SortedTable | Lost:
    """Add up one range and keep the table, unless it is there; runs in a worker process."""
    if found := find(task, cache=cache):
        return found
    read = at_once(partial(_read, bounds=task.bounds, cache=cache), task.pieces)
    lost = tuple(piece.sum for piece, table in zip(task.pieces, read, strict=True) if table is None)
    if lost:
        return Lost(lost)
    added = counts.added([counts.SCHEMA.empty_table(), *(table for table in read if table is not None)])
    return sorted_tables.keep(cache, task.key, added)


def _read(piece: Piece, *, bounds: Bounds, cache: Cache) -> pa.Table | None:
    entry = cache.get(piece.table)
    parts = list(sorted_tables.read(entry, piece.parts, bounds)) if entry else [None]
    return pa.concat_tables(parts) if all(part is not None for part in parts) else None

"""Shares and caps: rules of selection that hold still when the corpus grows, because they look at hashes.

A source's `share` says how much of it stays, not how often it repeats: a corpus is a set of documents, and what
counts in a mixture is the proportion, which smaller shares of the other sources give as well. Shares and caps keep
the documents with the lowest hashes, so a lower one keeps a part of what a higher one does.

A cap is a place in the order of hashes. Each group counts its documents over 4,096 fixed ranges of hashes; their sums
say in which range the cap falls, and only that range is looked into. `max_files` takes 8 bytes a file that it keeps.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from aura.corpus.corpus import hash_halves
from aura.select import duplicates
from aura.select.candidates import Map, Mask, Work, column, documents
from aura.select.options import Caps
from aura.select.parts import Numbers

NUMBER = re.compile(r"#\d+$")  # of a document in a file of many
_RANGES = 4096
_SHIFT = np.uint64(64 - 12)


@dataclass(frozen=True)
class Limits:
    """The documents of a source that its share and caps let through."""

    share: float | None = None
    last_file: int | None = None  # the highest hash of a file
    end: tuple[int, int, int] | None = None  # hash, group and row of the first document that does not fit


def standing(work: Work, group: int, rules: Sequence[str]) -> Mask:
    """Mark the documents of a group that no rule on duplicates dropped."""
    keep = np.ones(len(documents(work, group)), dtype=bool)
    for rule in rules:
        keep[duplicates.drops(work, rule, group)[:, duplicates.DROPPED].astype(np.int64)] = False
    return keep


def within_share(hashes: pa.Array, share: float | None) -> Mask:
    """The documents whose hash lies below `share` of the range."""
    # Not the half that decides the split, or a share would choose held-out documents first.
    rank = hash_halves(hashes)[1]
    return np.ones(len(rank), dtype=bool) if share is None else np.asarray(rank / 2.0**64 < share)


def under_caps(table: pa.Table, group: int, limits: Limits) -> Mask:
    """The documents of a group that fit under the caps of its source."""
    rank = hash_halves(column(table, "text_hash"))[1]  # see within_share
    fits = np.ones(len(rank), dtype=bool)
    if limits.last_file is not None:
        fits &= _files(table) <= np.uint64(limits.last_file)
    if limits.end is not None:
        end, its_group, its_row = limits.end
        rows = np.arange(len(rank)) < (len(rank) if group < its_group else its_row if group == its_group else 0)
        fits &= (rank < np.uint64(end)) | ((rank == np.uint64(end)) & rows)
    return fits


def _files(table: pa.Table) -> Numbers:
    """The hash of each document's file."""
    files = (NUMBER.sub("", doc) for doc in table.column("doc").to_pylist())
    return np.array([xxhash.xxh3_64_intdigest(file.encode()) for file in files], dtype=np.uint64)


def find_limits(work: Work, groups: Sequence[int], caps: Caps, rules: Sequence[str], run: Map) -> Limits:
    """Find out where the caps of the source that lies in `groups` fall."""
    limits = Limits(caps.share)
    if caps.max_files is not None:
        lowest = np.zeros(0, dtype=np.uint64)
        look = partial(_lowest_files, work=work, limits=limits, rules=rules, number=caps.max_files)
        for found in run(look, groups):
            lowest = np.union1d(lowest, found)[: caps.max_files]
        limits = replace(limits, last_file=int(lowest[-1]) if len(lowest) else 0)
    if caps.max_documents is None and caps.max_bytes is None:
        return limits
    room = [np.inf if cap is None else cap for cap in (caps.max_documents, caps.max_bytes)]
    count = partial(_histogram, work=work, limits=limits, rules=rules)
    until = np.cumsum(sum(run(count, groups), np.zeros((_RANGES, 2), dtype=np.int64)), axis=0)
    over = np.flatnonzero((until > room).any(axis=1))
    if not len(over):
        return limits
    at = int(over[0])
    look = partial(_documents_of_range, work=work, limits=limits, rules=rules, at=at)
    table = np.concatenate(run(look, groups))
    table = table[np.lexsort((table[:, 2], table[:, 1], table[:, 0]))]
    before = until[at - 1] if at else np.zeros(2, dtype=np.int64)
    sums = before + np.stack([np.arange(1, len(table) + 1), np.cumsum(table[:, 3].astype(np.int64))], axis=1)
    rank, group, row, _ = table[np.flatnonzero((sums > room).any(axis=1))[0]].tolist()
    return replace(limits, end=(rank, group, row))


def _allowed(work: Work, group: int, limits: Limits, rules: Sequence[str]) -> tuple[pa.Table, npt.NDArray[np.int64]]:
    """A group's documents, and the rows that share and known caps let through."""
    table = documents(work, group)
    keep = standing(work, group, rules) & within_share(column(table, "text_hash"), limits.share)
    return table, np.flatnonzero(keep & under_caps(table, group, limits))


def _lowest_files(group: int, *, work: Work, limits: Limits, rules: Sequence[str], number: int) -> Numbers:
    table, rows = _allowed(work, group, limits, rules)
    return np.unique(_files(table)[rows])[:number]


def _histogram(group: int, *, work: Work, limits: Limits, rules: Sequence[str]) -> npt.NDArray[np.int64]:
    """Documents and bytes of a group, by range of hashes."""
    table, rows = _allowed(work, group, limits, rules)
    rank = hash_halves(column(table, "text_hash"))[1][rows]
    found = np.zeros((_RANGES, 2), dtype=np.int64)
    ranges = (rank >> _SHIFT).astype(np.int64)
    np.add.at(found[:, 0], ranges, 1)
    np.add.at(found[:, 1], ranges, table.column("size").to_numpy()[rows])
    return found


def _documents_of_range(group: int, *, work: Work, limits: Limits, rules: Sequence[str], at: int) -> Numbers:
    """Hash, group, row and size of a group's documents in one range of hashes."""
    table, rows = _allowed(work, group, limits, rules)
    rank = hash_halves(column(table, "text_hash"))[1][rows]
    inside = (rank >> _SHIFT).astype(np.int64) == at
    rows, rank = rows[inside], rank[inside]
    size = table.column("size").to_numpy()[rows]
    columns = (rank, np.full(len(rows), group), rows, size)
    return np.stack([column.astype(np.uint64) for column in columns], axis=1)

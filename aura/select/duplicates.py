"""Exact duplicates: of documents with one 128-bit key, the first by source and name stays, wherever they lie.

Each group writes its keys in order, and each range of keys is decided alone, over all groups: 32 bytes a document on
the disk, and a range's share of them in memory. Names are looked up for duplicates only. The key is the hash of the
text; near duplicates use the hash of a signature in the same way.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from aura.corpus.corpus import hash_halves
from aura.select import parts
from aura.select.candidates import Map, Mask, Work, column, documents, in_order
from aura.select.parts import Numbers

HIGH, LOW, ROW, GROUP = range(4)
TOGETHER = 4  # ranges of a task
ENOUGH = 500_000  # duplicates whose names it looks up at once: each time it opens all groups
DROPPED, BY_GROUP, BY_ROW = range(3)  # of the rows of `drops`


def find(work: Work, rule: str, write: Callable[[Any], None], groups: Sequence[Any], run: Map) -> None:
    """Find the documents of equal keys; `write` writes those of a group, with `write_keys`."""
    for kind in ("keys", "drops"):
        (work.folder / f"{rule}-{kind}").mkdir()
    run(write, groups)
    run(partial(decide, work=work, rule=rule), range(-(-work.ranges // TOGETHER)))


def by_text(group: int, *, work: Work) -> None:
    """Write the hashes of a group's texts."""
    high, low = hash_halves(column(documents(work, group), "text_hash"))
    write_keys(work, "exact", group, high, low, np.arange(len(high), dtype=np.uint64))


def write_keys(work: Work, rule: str, group: int, high: Numbers, low: Numbers, rows: Numbers) -> None:
    """Write the keys of some of a group's documents, for `decide`."""
    _, order = parts.in_order(high)
    table = np.empty((len(order), 3), dtype=np.uint64)
    for place, values in ((HIGH, high), (LOW, low), (ROW, rows)):
        table[:, place] = values[order]
    parts.write(work.file(f"{rule}-keys", group), table, table[:, HIGH], parts.bounds(work.ranges))


def decide(number: int, *, work: Work, rule: str) -> None:
    """Find the duplicates among the keys of some ranges, and write which documents go, and for which others."""
    files = work.files(f"{rule}-keys", len(work.ranks))
    dropped, waiting = [np.zeros((0, 4), dtype=np.uint64)], [np.zeros((0, 4), dtype=np.uint64)]
    for one in range(number * TOGETHER, min((number + 1) * TOGETHER, work.ranges)):
        waiting.append(_duplicates(parts.gathered(files, one, GROUP)))
        if sum(map(len, waiting)) > ENOUGH:
            dropped.append(_dropped(work, np.concatenate(waiting)))
            waiting = waiting[:1]
    found = np.concatenate([*dropped, _dropped(work, np.concatenate(waiting))])
    write_drops(work, rule, number, (found[:, 0], found[:, 1]), (found[:, 2], found[:, 3]))


def _dropped(work: Work, same: Numbers) -> Numbers:
    """Of documents with equal keys side by side: group and row of those that go, and of those that each duplicates."""
    same = same[in_order(work, np.cumsum(_starts(same)).astype(np.uint64), same[:, GROUP], same[:, ROW])]
    first = _starts(same)
    kept = same[first][np.cumsum(first) - 1]
    return np.concatenate([same[~first][:, [GROUP, ROW]], kept[~first][:, [GROUP, ROW]]], axis=1)


def _duplicates(table: Numbers) -> Numbers:
    """The rows whose key another row has, too, with equal keys side by side."""
    first_bits, order = parts.in_order(table[:, LOW])
    equal = first_bits[1:] == first_bits[:-1]
    several = np.zeros(len(order), dtype=bool)
    several[1:] |= equal
    several[:-1] |= equal
    found = table[order[several]]
    found = found[np.lexsort((found[:, LOW], found[:, HIGH]))]
    new = _starts(found)
    alone = new & np.append(new[1:], [True])[: len(new)]
    return np.asarray(found[~alone])


def _starts(table: Numbers) -> Mask:
    """Mark the rows whose key differs from that of the row before."""
    new = np.ones(len(table), dtype=bool)
    new[1:] = (table[1:, HIGH] != table[:-1, HIGH]) | (table[1:, LOW] != table[:-1, LOW])
    return new


def write_drops(work: Work, rule: str, number: int, gone: tuple[Numbers, Numbers], by: tuple[Numbers, Numbers]) -> None:
    """Write which documents a rule drops, and the document that each of them duplicates; both as groups and rows."""
    write_rows(work, f"{rule}-drops", number, np.stack([gone[1], *by], axis=1), gone[0])


def write_rows(work: Work, kind: str, number: int, rows: Numbers, groups: Numbers) -> None:
    """Write rows of numbers, cut by the group that they are for."""
    order = np.argsort(groups.astype(np.uint16), kind="stable")
    parts.write(work.file(kind, number), rows[order], groups[order], np.arange(1, len(work.ranks), dtype=np.uint64))


def drops(work: Work, rule: str, group: int) -> Numbers:
    """The documents of a group that a rule drops, by row, and what they duplicate: DROPPED, BY_GROUP, BY_ROW."""
    found = [parts.read(path, group) for path in parts.written(work.folder / f"{rule}-drops")]
    table = np.concatenate(found)
    return table[np.argsort(table[:, DROPPED])]

"""Exact duplicates: of documents with one 128-bit key, the first by source and name stays, wherever they lie.

Each group writes its keys in order, and each range of keys is decided alone, over all groups: 32 bytes a document on
the disk, and a range's share of them in memory. Names are looked up for duplicates only. The key is the hash of the
text; near duplicates use the hash of a signature in the same way.
"""

import numpy as np

from aura.corpus.corpus import hash_halves
from aura.select import parts
from aura.select.candidates import Mask, Work, documents, in_order
from aura.select.parts import Numbers

HIGH, LOW, ROW, GROUP = range(4)
DROPPED, BY_GROUP, BY_ROW = range(3)  # of the rows of `drops`


def prepare(work: Work, rule: str) -> None:
    """Make the folders of a rule."""
    for kind in ("keys", "drops"):
        (work.folder / f"{rule}-{kind}").mkdir()


def by_text(group: int, *, work: Work) -> None:
    """Write the hashes of a group's texts."""
    high, low = hash_halves(documents(work, group).column("text_hash").combine_chunks())
    write_keys(work, "exact", group, high, low, np.arange(len(high), dtype=np.uint64))


def write_keys(work: Work, rule: str, group: int, high: Numbers, low: Numbers, rows: Numbers) -> None:
    """Write the keys of some of a group's documents, for `decide`."""
    order = np.argsort(high)
    table = np.stack([high[order], low[order], rows[order]], axis=1)
    parts.write(work.file(f"{rule}-keys", group), table, table[:, HIGH], parts.bounds(work.ranges))


def decide(number: int, *, work: Work, rule: str) -> None:
    """Find the duplicates among the keys of one range, and write which documents go, and for which others."""
    groups = len(work.ranks)
    same = _duplicates(parts.gathered(work.files(f"{rule}-keys", groups), number, GROUP))
    same = same[in_order(work, np.cumsum(_starts(same)).astype(np.uint64), same[:, GROUP], same[:, ROW])]
    first = _starts(same)
    kept = same[first][np.cumsum(first) - 1]
    gone, by = same[~first], kept[~first]
    write_drops(work, rule, number, (gone[:, GROUP], gone[:, ROW]), (by[:, GROUP], by[:, ROW]))


def _duplicates(table: Numbers) -> Numbers:
    """The rows whose key another row has, too, with equal keys side by side."""
    order = np.argsort(table[:, HIGH])
    high = table[order, HIGH]
    equal = high[1:] == high[:-1]
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
    order = np.argsort(groups, kind="stable")
    parts.write(work.file(kind, number), rows[order], groups[order], np.arange(1, len(work.ranks), dtype=np.uint64))


def drops(work: Work, rule: str, group: int) -> Numbers:
    """The documents of a group that a rule drops, by row, and what they duplicate: DROPPED, BY_GROUP, BY_ROW."""
    found = [parts.read(path, group) for path in sorted((work.folder / f"{rule}-drops").iterdir())]
    table = np.concatenate(found)
    return table[np.argsort(table[:, DROPPED])]

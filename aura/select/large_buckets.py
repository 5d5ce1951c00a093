"""Buckets that many documents share, made small before their documents are compared pair by pair.

A bucket holds the documents that share a band of their signatures. A document that is the first of all its buckets
stays, whatever becomes of others. The documents of its buckets that are alike with it go. One that goes decides about
no other, so two of them need no comparison. This is repeated among the others as long as large buckets lose documents.
Of 100,000 documents that are alike, one round leaves few, and not 5 billion pairs.

Only the first documents of large buckets are tried, so a round takes little more than a reading of the bands.
"""

import numpy as np
import numpy.typing as npt

from aura.select import duplicates, parts, signatures
from aura.select.candidates import Mask, Work, in_order
from aura.select.parts import Numbers

Places = npt.NDArray[np.int64]
LARGE = 1000  # documents that share a band; pairs grow with the square
ROUNDS = 20  # at most; what is left then is compared pair by pair
_AT_ONCE = 16_384  # documents that are compared at once: 8 MB of signatures
_ROWS = np.uint64(40)  # bits of a document's row in its key; the group's number is above
KINDS = ("firsts", "late", "alike-with-firsts", "gone", "staying")


def prepare(work: Work) -> None:
    """Make the folders of all files; no document goes or stays yet."""
    for kind in KINDS:
        (work.folder / kind).mkdir()
    nothing = np.zeros((0, 1), dtype=np.uint64)
    for group in range(len(work.ranks)):
        for kind in ("gone", "staying"):
            parts.write(work.file(kind, group), nothing, nothing[:, 0], parts.bounds(1))


def shared(work: Work, task: int) -> tuple[Numbers, Places]:
    """The documents of one range of one band that share it: hash, row and group by hash, and the bucket of each."""
    band, number = divmod(task, work.ranges)
    table = parts.gathered(work.files(f"band-{band}", len(work.ranks)), number, 2)
    table = table[np.argsort(table[:, 0])]
    _, sizes = np.unique(table[:, 0], return_counts=True)
    buckets = np.repeat(np.arange(len(sizes)), sizes)
    several = sizes[buckets] > 1
    return table[several], buckets[several]


def are(work: Work, kind: str, table: Numbers) -> Mask:
    """Mark the documents that are `gone`, or `staying`."""
    found = np.zeros(len(table), dtype=bool)
    for group in np.unique(table[:, 2]).tolist():
        mine = np.flatnonzero(table[:, 2] == group)
        found[mine] = np.isin(table[mine, 1], parts.read(work.file(kind, group), 0)[:, 0])
    return found


def find_firsts(task: int, *, work: Work) -> bool:
    """Write the first of each large bucket, among those that are undecided; returns whether there is any."""
    table, buckets = _undecided(work, task)
    large = (np.bincount(buckets) > LARGE)[buckets] if len(buckets) else np.zeros(0, dtype=bool)
    table, buckets = table[large], buckets[large]
    order, starts = _by_name(work, table, buckets)
    _write_keys(work, "firsts", task, _keys(table[order[starts]]))
    return bool(len(table))


def find_late(task: int, *, work: Work, tasks: int) -> None:
    """Write those of the first documents that are not first in each of their buckets: others may decide about them."""
    firsts = _read_keys(work, "firsts", tasks)
    table, buckets = _undecided(work, task)
    asked = np.isin(buckets, buckets[np.isin(_keys(table), firsts)])
    table, buckets = table[asked], buckets[asked]
    order, starts = _by_name(work, table, buckets)
    _write_keys(work, "late", task, np.intersect1d(_keys(table[order[~starts]]), firsts))


def drop(task: int, *, work: Work, tasks: int, similarity: float) -> None:
    """Write the documents that are alike with one that stays, in one range of one band."""
    stays = np.setdiff1d(_read_keys(work, "firsts", tasks), _read_keys(work, "late", tasks))
    table, buckets = _undecided(work, task)
    table = table[_alike_with(work, table, buckets, np.isin(_keys(table), stays), similarity)]
    duplicates.write_rows(work, "alike-with-firsts", task, table[:, 1:2], table[:, 2])


def collect(group: int, *, work: Work, tasks: int) -> bool:
    """Add up the documents of a group that go and that stay; returns whether any go now."""
    stays = np.setdiff1d(_read_keys(work, "firsts", tasks), _read_keys(work, "late", tasks))
    stays = stays[stays >> _ROWS == group] & np.uint64((1 << int(_ROWS)) - 1)
    goes = [parts.read(path, group)[:, 0] for path in work.files("alike-with-firsts", tasks)]
    before = parts.read(work.file("gone", group), 0)[:, 0]
    now = np.unique(np.concatenate([before, *goes]))
    for kind, rows in (("gone", now), ("staying", np.union1d(parts.read(work.file("staying", group), 0)[:, 0], stays))):
        parts.write(work.file(kind, group), rows[:, None], rows, parts.bounds(1))
    return len(now) > len(before)


def _undecided(work: Work, task: int) -> tuple[Numbers, Places]:
    """The documents of which it is not known whether they go or stay; those that stay are alike with none of them."""
    table, buckets = shared(work, task)
    left = ~(are(work, "gone", table) | are(work, "staying", table))
    return table[left], buckets[left]


def _by_name(work: Work, table: Numbers, buckets: Places) -> tuple[Places, Mask]:
    """The order of documents by bucket, source and name, and a mark on the first of each bucket."""
    order = in_order(work, buckets.astype(np.uint64), table[:, 2], table[:, 1])
    return order, np.append(True, np.diff(buckets[order]) != 0)[: len(order)]


def _alike_with(work: Work, table: Numbers, buckets: Places, leaders: Mask, similarity: float) -> Places:
    """The documents that are alike with the leader of their bucket."""
    found = [np.zeros(0, dtype=np.int64)]
    for leader in np.flatnonzero(leaders).tolist():
        mine = signatures.of_documents(work, table[leader : leader + 1, 2], table[leader : leader + 1, 1])
        begin, end = np.searchsorted(buckets, [buckets[leader], buckets[leader] + 1]).tolist()
        for start in range(begin, end, _AT_ONCE):
            some = np.arange(start, min(start + _AT_ONCE, end))
            theirs = signatures.of_documents(work, table[some, 2], table[some, 1])
            found.append(some[signatures.alike(theirs == mine, similarity)])
    return np.setdiff1d(np.concatenate(found), np.flatnonzero(leaders))


def _keys(table: Numbers) -> Numbers:
    """One number for each document."""
    return np.asarray((table[:, 2] << _ROWS) | table[:, 1])


def _write_keys(work: Work, kind: str, task: int, keys: Numbers) -> None:
    keys = np.unique(keys)
    parts.write(work.file(kind, task), keys[:, None], keys, parts.bounds(1))


def _read_keys(work: Work, kind: str, tasks: int) -> Numbers:
    return np.unique(np.concatenate([parts.read(path, 0)[:, 0] for path in work.files(kind, tasks)]))

"""Near duplicates: documents that share most of their runs of five words.

The rule: take the documents by source and name; one stays unless it is nearly the same as one that stays. Two are
nearly the same if they share a band of their signatures, and the signatures agree in enough numbers. The steps find the
result of this rule without an order of work:

1. Documents with equal signatures: the first stays in the comparison, as for exact duplicates.
2. Buckets of more than a thousand documents are made small (`large_buckets.py`).
3. Each range of each band's hashes is a task: it compares the pairs that share a band, and writes those that are alike.
4. Each group settles its documents: one goes if an earlier one of its pairs stays, and stays if all of them go. The
   groups take turns until no document waits for another group's (Blelloch, Fineman and Shun 2012).

Not connected components: of documents that are alike in a chain, those would keep one alone.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from aura.select import duplicates, large_buckets, parts, signatures
from aura.select.candidates import Mask, Work, in_order
from aura.select.choices import standing
from aura.select.parts import Numbers
from aura.select.signatures import Signatures

_CHUNK, _PAIRS = 32_768, 16_384  # documents and pairs that are compared at once: 16 MB of signatures
_WAITS, _STAYS, _GOES = range(3)
_MIX = np.uint64(0x9E3779B97F4A7C15)
Indexes = npt.NDArray[np.int64]
LATER, GROUP, ROW = range(3)  # of the rows of pairs: row of the later document, and the place of the earlier one


def prepare(work: Work, similarity: float) -> None:
    """Make the folders of all files."""
    for kind in ("signatures", "near-drops", "pairs", "own-pairs", "states"):
        (work.folder / kind).mkdir()
    for band in range(len(signatures.bands(similarity))):
        (work.folder / f"band-{band}").mkdir()


def write_bands(group: int, *, work: Work, similarity: float, rules: list[str]) -> None:
    """Write a hash of each band of the documents that `rules` left in."""
    rows = np.flatnonzero(standing(work, group, rules))
    table = signatures.of_group(work.file("signatures", group))[rows]
    for band, numbers in enumerate(signatures.bands(similarity)):
        hashes = np.full(len(rows), band, dtype=np.uint64)
        for column in range(numbers.start, numbers.stop):
            hashes = (hashes ^ table[:, column]) * _MIX
            hashes ^= hashes >> np.uint64(29)
        order = np.argsort(hashes)
        keyed = np.stack([hashes[order], rows[order].astype(np.uint64)], axis=1)
        parts.write(work.file(f"band-{band}", group), keyed, keyed[:, 0], parts.bounds(work.ranges))


def write_pairs(task: int, *, work: Work, similarity: float) -> int:
    """Write the pairs that are alike in one range of one band; returns in how many buckets many documents share it."""
    table, buckets = large_buckets.shared(work, task)
    gone = large_buckets.are(work, "gone", table)
    order = np.lexsort((gone, buckets))
    table, gone = table[order], gone[order]
    found = [np.zeros((0, 2), dtype=np.int64)]
    for start, end in _chunks(buckets):
        signed = signatures.of_documents(work, table[start:end, 2], table[start:end, 1])
        found += [start + pairs for pairs in _alike(signed, buckets[start:end], gone[start:end], similarity)]
    _write_pairs(work, task, table, np.concatenate(found))
    return int((np.bincount(buckets) > large_buckets.LARGE).sum())


def _chunks(buckets: Indexes) -> Iterator[tuple[int, int]]:
    """Where to cut buckets into chunks of some documents; a larger bucket is a chunk by itself."""
    if not len(buckets):
        return
    ends = np.append(np.flatnonzero(np.diff(buckets)) + 1, len(buckets))
    start = 0
    while start < len(buckets):
        fits = ends[(ends > start) & (ends <= start + _CHUNK)]
        end = int(fits[-1] if len(fits) else ends[np.searchsorted(ends, start, side="right")])
        yield start, end
        start = end


def _alike(signed: Signatures, buckets: Indexes, gone: Mask, similarity: float) -> Iterator[Indexes]:
    """The pairs of documents of one bucket that are alike; not of two that are gone, which come last in a bucket."""
    first, apart = np.flatnonzero(~gone), 1
    while len(first := first[first + apart < len(buckets)]) and len(
        first := first[buckets[first] == buckets[first + apart]]
    ):
        for start in range(0, len(first), _PAIRS):
            some = first[start : start + _PAIRS]
            close = some[signatures.alike(signed[some] == signed[some + apart], similarity)]
            yield np.stack([close, close + apart], axis=1)
        apart += 1


def _write_pairs(work: Work, task: int, table: Numbers, pairs: Indexes) -> None:
    """Write pairs, cut by the group of the later document."""
    if not len(pairs):
        duplicates.write_rows(work, "pairs", task, np.zeros((0, 3), dtype=np.uint64), np.zeros(0, dtype=np.uint64))
        return
    ends = np.unique(pairs)
    order = in_order(work, np.zeros(len(ends), dtype=np.uint64), table[ends, 2], table[ends, 1])
    place = np.empty(len(ends), dtype=np.int64)
    place[order] = np.arange(len(ends))
    swapped = place[np.searchsorted(ends, pairs[:, 0])] > place[np.searchsorted(ends, pairs[:, 1])]
    earlier, later = (table[np.where(swapped, pairs[:, one], pairs[:, 1 - one])] for one in (1, 0))
    found = np.stack([later[:, 1], earlier[:, 2], earlier[:, 1]], axis=1)
    duplicates.write_rows(work, "pairs", task, found, later[:, 2])


def gather(group: int, *, work: Work, tasks: int) -> bool:
    """Bring the pairs of a group together; returns whether it has any."""
    found = np.concatenate([parts.read(path, group) for path in work.files("pairs", tasks)])
    found = np.unique(found, axis=0)
    parts.write(work.file("own-pairs", group), found, found[:, LATER], parts.bounds(1))
    _write_states(work, group, np.unique(found[:, LATER]), _WAITS)
    return bool(len(found))


def settle(group: int, *, work: Work) -> bool:
    """Settle what can be settled of a group now; returns whether documents still wait for another group's."""
    pairs = parts.read(work.file("own-pairs", group), 0)
    states = parts.read(work.file("states", group), 0)
    later = np.searchsorted(states[:, 0], pairs[:, LATER])
    own = pairs[:, GROUP] == group
    earlier = np.where(own, np.searchsorted(states[:, 0], pairs[:, ROW]), 0)
    known = _states_of(work, pairs)  # of other groups, as they are now
    state = states[:, 1].astype(np.int64)
    inside = own & (known != _STAYS)  # the earlier document may go, too
    while True:
        before = np.where(inside, state[earlier.clip(max=len(state) - 1)], known)
        going = (before == _STAYS) & (state[later] == _WAITS)
        state[later[going]] = _GOES
        live = (state[later] == _WAITS) & (before == _WAITS)
        blocked = np.zeros(len(state), dtype=bool)
        blocked[later[live]] = True
        ready = (state == _WAITS) & ~blocked
        state[ready] = _STAYS
        if not (ready.any() or going.any()):
            break
        later, earlier, known, inside = later[live], earlier[live], known[live], inside[live]
    parts.write(work.file("states", group), *_table(states[:, 0], state), parts.bounds(1))
    return bool((state == _WAITS).any())


def _write_states(work: Work, group: int, rows: Numbers, state: int) -> None:
    parts.write(work.file("states", group), *_table(rows, np.full(len(rows), state)), parts.bounds(1))


def _table(rows: Numbers, states: Indexes) -> tuple[Numbers, Numbers]:
    return np.stack([rows, states.astype(np.uint64)], axis=1), rows


def _states_of(work: Work, pairs: Numbers) -> Indexes:
    """The state of the earlier document of each pair; one that is later in no pair stays."""
    found = np.full(len(pairs), _STAYS, dtype=np.int64)
    for group in np.unique(pairs[:, GROUP]).tolist():
        mine = np.flatnonzero(pairs[:, GROUP] == group)
        states = parts.read(work.file("states", group), 0)
        at = np.searchsorted(states[:, 0], pairs[mine, ROW]).clip(max=max(len(states) - 1, 0))
        there = states[at, 0] == pairs[mine, ROW] if len(states) else np.zeros(len(mine), dtype=bool)
        found[mine[there]] = states[at[there], 1]
    return found


def finish(group: int, *, work: Work) -> None:
    """Write which documents of a group go, and for which of those that stay: the first by source and name."""
    pairs = parts.read(work.file("own-pairs", group), 0)
    states = parts.read(work.file("states", group), 0)
    goes = states[states[:, 1] == _GOES, 0]
    pairs = pairs[np.isin(pairs[:, LATER], goes)]
    pairs = pairs[_states_of(work, pairs) == _STAYS]
    pairs = pairs[in_order(work, pairs[:, LATER], pairs[:, GROUP], pairs[:, ROW])]
    pairs = pairs[np.flatnonzero(np.append(True, pairs[1:, LATER] != pairs[:-1, LATER]))] if len(pairs) else pairs
    groups = np.full(len(pairs), group, dtype=np.uint64)
    duplicates.write_drops(work, "near", group, (groups, pairs[:, LATER]), (pairs[:, GROUP], pairs[:, ROW]))

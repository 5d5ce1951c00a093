"""Segment counts of a corpus, shard by shard: on all cores, or a cluster, and only of the shards that changed.

Counts add up, so each corpus shard is counted on its own and kept in the action cache under the shard's SHA-256 and
what decides where words are cut; tokenizers of other sizes or types, and a corpus with one changed document, find
nearly all of it there. The sums of these counts are kept there too (`aura/train_tokenizer/sums.py`). Workers read from
the cache and write into it; what they are sent and send back is small.
"""

import itertools
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from aura.core import console, parallel, ranks, unicode
from aura.core.errors import UserError
from aura.core.keys import action_key, code_key
from aura.corpus import corpus
from aura.storage.cache import Cache
from aura.storage.placement import ShardFile
from aura.tokenizer.arguments import checked_texts
from aura.train_tokenizer import cap, counts, segments, sorted_tables, sums
from aura.train_tokenizer.counts import Counts
from aura.train_tokenizer.segments import Splitting
from aura.train_tokenizer.sorted_tables import NotKept, SortedTable
from aura.train_tokenizer.sums import Lost, Plan, Sum

SMALL = 4_000_000  # bytes of compressed shards; counting less takes no longer than starting workers
ROW = 10  # bytes of a row of a table, compressed
TRIES = 5  # rounds of making what the cache lost
_LIBRARIES = ("numpy", "pyarrow")
Found = TypeVar("Found")


def count_texts(texts: Iterable[str], splitting: Splitting, most: int | None = None) -> Counts:
    """The segment counts of some texts: of `most` segments at most, the rarest left out."""
    counted = _segmented([pa.array(checked_texts(texts), pa.large_string())], splitting)
    found = cap.fitting(cap.histogram(counted.table), most) if most else None
    return Counts(cap.rows_within(counted.table, found), counted.account, found)


def count_arrays(arrays: Iterable[pa.Array], splitting: Splitting) -> Counts:
    """The segment counts of arrays of texts (large_string, without nulls), a few of which are held at a time."""
    return _segmented(arrays, splitting)


def count_corpus(
    folder: Path,
    splitting: Splitting,
    cache: Cache,
    most: int | None = None,
    cluster: str | None = None,
    shards: Sequence[ShardFile] | None = None,
) -> Counts:
    """The segment counts of a corpus folder's documents: those of `count_texts`, in whatever shards they lie.

    `cluster` is the address of a cluster; without it, this machine's cores do the work. `shards` are those of the
    folder; the ones that are counted here are marked as compared.
    """
    shards = corpus.shards(folder) if shards is None else shards
    try:
        return _counted(shards, splitting, cache, most, cluster)
    except NotKept:
        with tempfile.TemporaryDirectory(prefix="aura-") as made:
            return _counted(shards, splitting, Cache(Path(made)), most, None)


def _counted(
    shards: Sequence[ShardFile], splitting: Splitting, cache: Cache, most: int | None, cluster: str | None
) -> Counts:
    code = code_key((cap, counts, segments, corpus, sorted_tables, sums, sys.modules[__name__], unicode), _LIBRARIES)
    keys = [action_key("segments", code, asdict(splitting), shard.recorded) for shard in shards]
    plan = sums.planned([Plan(key) for key in keys], code)
    with parallel.executors(SMALL, cluster) as executor_for:
        job = _Job(dict(zip(keys, shards, strict=True)), splitting, cache, executor_for)
        for _ in range(TRIES):
            try:
                total = job.made([plan])[plan.key]
                ranks.end_of_part()
                return _read(total, cache, most)
            except Lost as lost:
                cache.remove(*lost.keys)
    raise UserError(f"the cache {cache.address} loses what it had a moment ago. Run the same command again.")


class _Job:
    """One run: what it makes, and where."""

    def __init__(
        self,
        shards: dict[str, ShardFile],
        splitting: Splitting,
        cache: Cache,
        executor_for: Callable[[int, int], Executor],
    ) -> None:
        self.shards, self.splitting, self.cache, self.executor_for = shards, splitting, cache, executor_for

    def made(self, plans: Sequence[Plan]) -> dict[str, Sum]:
        """Sums by their keys, made as far as the cache does not have them; `Lost` if what they add is not there."""
        found = sums.find_all(self.cache, plans)
        missing = {plan.key: plan for plan in plans if plan.key not in found}
        leaves = [key for key, plan in missing.items() if not plan.children]
        inner = [plan for plan in missing.values() if plan.children]
        below = self.made([child for plan in inner for child in plan.children]) if inner else {}
        return found | self._counted(leaves) | self._added({plan.key: plan.added(below) for plan in inner})

    def _counted(self, keys: Sequence[str]) -> dict[str, Sum]:
        pool = self.executor_for(sum(self.shards[key].size for key in keys), len(keys))
        count = partial(_count, splitting=self.splitting, cache=self.cache)
        made = parallel.shared_map(pool, count, [(key, self.shards[key]) for key in keys], self._found)
        counted = dict(zip(keys, console.track(made, "counting", len(keys)), strict=True))
        if ranks.here() is None:  # otherwise another rank may have counted it
            for key in keys:
                self.shards[key].mark_compared()
        return counted

    def _found(self, named: tuple[str, ShardFile]) -> Sum | None:
        return sums.find_all(self.cache, [Plan(named[0])]).get(named[0])

    def _added(self, wanted: dict[str, list[Sum]]) -> dict[str, Sum]:
        tasks = {key: sums.tasks(key, added) for key, added in wanted.items()}
        every = [task for some in tasks.values() for task in some]
        rows = sum(one.rows for added in wanted.values() for one in added)
        pool = self.executor_for(rows * ROW, len(every))
        add, find = (partial(function, cache=self.cache) for function in (sums.add, sums.find))
        done = list(console.track(parallel.shared_map(pool, add, every, find), "adding counts", len(every)))
        if lost := {key for one in done if isinstance(one, Lost) for key in one.keys}:
            raise Lost(tuple(lost))
        tables = iter(one for one in done if isinstance(one, SortedTable))
        return {
            key: sums.keep(self.cache, key, added, list(itertools.islice(tables, len(tasks[key]))))
            for key, added in wanted.items()
        }


def _count(named: tuple[str, ShardFile], *, splitting: Splitting, cache: Cache) -> Sum:
    """Count one shard and keep the result; runs in a worker process."""
    key, shard = named
    counted = _segmented(corpus.read_column(shard, "text"), splitting)
    table = sorted_tables.keep(cache, key, counted.table, account=asdict(counted.account))
    return Sum(key, counted.account, (table,))


def _segmented(texts: Iterable[pa.Array], splitting: Splitting) -> Counts:
    words = counts.count_arrays(texts, segments.byte_cuts(splitting))
    return Counts(segments.segments(words.table, splitting), words.account)


def _read(total: Sum, cache: Cache, most: int | None) -> Counts:
    """Read a sum, a part of a table at a time: of `most` segments at most. Raises `Lost`."""

    def there(found: Found | None) -> Found:
        if found is None:
            raise Lost((total.key,))
        return found

    entries = [there(cache.get(table.key)) for table in total.tables]
    found = None
    if most and total.rows > most:
        histograms = [there(sorted_tables.read_histogram(entry)) for entry in entries]
        found = cap.fitting(cap.added(histograms), most)
    rows = [counts.SCHEMA.empty_table()]
    for table, entry in zip(total.tables, entries, strict=True):
        parts = sorted_tables.read(entry, range(len(table.firsts)))
        rows += [cap.rows_within(there(part), found) for part in parts]
    return Counts(pa.concat_tables(rows), total.account, found)

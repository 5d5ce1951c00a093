"""Selection: which extracted documents become the corpus, decided over all sources together, and the split.

Each step is a task for a group of shards (`candidates.py`) or for a range of hashes (`duplicates.py`, `outcome.py`),
on this machine's cores or on a cluster; a small corpus is one of each, in this process. Files in the unfinished output
carry the data from step to step. So the calling process holds something for each shard, and nothing for a document
(docs/contracts.md has the figures). The results depend neither on the number of groups and ranges nor on the place of
the work.
"""

import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from aura.core import checksums, console, parallel, paths, unicode
from aura.core.errors import UserError
from aura.core.files import read_pipeline, replaced_folder, write_records
from aura.core.keys import code_key
from aura.core.terms import SPLITS
from aura.corpus import corpus, shards
from aura.corpus.corpus import FORMAT
from aura.select import (
    candidates,
    choices,
    duplicates,
    large_buckets,
    near_duplicates,
    outcome,
    parts,
    record,
    signatures,
    writing,
)
from aura.select.candidates import Group, Shard, Work
from aura.select.choices import Limits
from aura.select.options import Select
from aura.select.outcome import Outcome
from aura.storage.cache import Cache
from aura.storage.placement import THIS_DISK, ShardPlace

LIBRARIES = ("numpy", "pyarrow", "xxhash")
SMALL = 8_000_000  # bytes of Parquet; less takes no longer than starting workers
RANGE_DOCUMENTS = 1_000_000  # of a range of hashes, which a task holds at once
RANGES = 4096  # at most
KINDS = ("documents", "splits", "kept", "sorted", "record")  # of files that a selection always has


def require_listed(sources: list[str], pipeline: Path) -> None:
    """Refuse a pipeline whose `select` does not depend on every source: DVC would keep a stale corpus."""
    deps = read_pipeline(pipeline, stages={"select": {"deps": [str]}})["stages"]["select"]["deps"]
    folder = f"{paths.EXTRACTED}/"
    listed = {dep.removeprefix(folder) for dep in deps if dep.startswith(folder)}
    if listed != set(sources):
        raise UserError(
            f"{pipeline}: expected {folder}NAME among select's deps for each source ({', '.join(sources)}); "
            f"got {', '.join(sorted(listed))}. Fix the list by hand; `aura source add` and `remove` keep it right."
        )


def select(
    sources: list[str],
    settings: Select,
    extracted: Path,
    out: Path,
    cache: Cache,
    place: ShardPlace = THIS_DISK,
    cluster: str | None = None,
    ranges: int | None = None,
) -> dict[str, Any]:
    """Write `out`/train, `out`/held_out, their manifest and the record of duplicates; returns totals per source.

    `cluster` is the address of a cluster; without it, this machine's cores do the work. `ranges` is the number
    of ranges of hashes; it follows from the number of documents when left out, and decides no byte.

    Raises `UserError` if a source is not extracted, or a split would be empty.
    """
    modules = (
        *(candidates, choices, corpus, duplicates, near_duplicates, outcome, parts, sys.modules[__name__], shards),
        *(large_buckets, record, signatures, unicode, writing),
    )
    code = code_key(modules, LIBRARIES)
    found = [shard for source in sorted(sources) for shard in candidates.find(source, extracted / source)]
    groups = candidates.grouped(found)
    with replaced_folder(out) as folder, parallel.executors(SMALL, cluster) as executor_for, _scratch(folder) as work:
        run = _Selection(
            groups, settings, Work(work, _ranks(groups, settings.prefer), cache, code), executor_for, ranges
        )
        run.decide()
        run.record(folder)
        records = writing.write(groups, run.outcomes, run.work, folder, place, executor_for)
        totals = run.totals(sorted(sources))
        _require_both_splits(totals, settings.held_out)
        for split in SPLITS:
            digests = {Path(record["path"]).name: record["sha256"] for record in records if record["split"] == split}
            checksums.write(folder / split, digests)
        head = {"format": FORMAT, "hash": outcome.hashes(run.work, settings.held_out), "sources": totals}
        head |= {"large_buckets": run.large} if run.large else {}
        sealed = checksums.sealed(head | {"files": records})
        del sealed["files"]
        write_records(folder / "manifest.json", sealed, "files", records)
    return totals


def number_of_ranges(documents: int) -> int:
    """The ranges of hashes that so many documents are cut into."""
    return min(-(-documents // RANGE_DOCUMENTS), RANGES) or 1


def _ranks(groups: Sequence[Group], prefer: Sequence[str]) -> tuple[int, ...]:
    """The place of each group's source among all sources."""
    names = _by_rank(groups, prefer)
    return tuple(names.index(group.source) for group in groups)


def _by_rank(groups: Sequence[Group], prefer: Sequence[str]) -> list[str]:
    """All sources: the preferred ones, then the others by name."""
    names = sorted({group.source for group in groups})
    return list(dict.fromkeys([*(name for name in prefer if name in names), *names]))


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder for what tasks hand on; a killed run leaves it in an unfinished output, which the next one removes."""
    scratch = folder / "work"
    for kind in KINDS:
        (scratch / kind).mkdir(parents=True)
    yield scratch
    shutil.rmtree(scratch)


class _Selection:
    """The steps of one selection."""

    def __init__(
        self,
        groups: Sequence[Group],
        settings: Select,
        work: Work,
        executor_for: Callable[..., Any],
        ranges: int | None,
    ) -> None:
        self.groups, self.settings, self.work, self.executor_for = groups, settings, work, executor_for
        self.size = sum(shard.file.size for group in groups for shard in group.shards)
        self._keep(candidates.key, candidates.keep_columns)
        self.counts: list[list[int]] = self.run(  # documents of each shard
            partial(candidates.lay_out, work=work), groups
        )
        if ranges is None:
            ranges = number_of_ranges(sum(map(sum, self.counts)))
        self.work = replace(work, ranges=ranges)
        self.rules: dict[str, list[str]] = {}  # the rules on duplicates that dropped something, under each reason
        self.large = 0  # bands that many documents share
        self.outcomes: list[list[Outcome]] = []
        self.dropped: dict[str, Counter[str]] = {}

    def run(self, function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """Call a function with each item, on this machine or a cluster; returns the results in order."""
        made = parallel.ordered_map(self.executor_for(self.size, len(items)), function, items)
        return list(console.track(made, "select", len(items)))

    def decide(self) -> None:
        """Apply the rules: duplicates, near duplicates, then shares and caps."""
        settings, numbers = self.settings, range(len(self.groups))
        if settings.deduplicate == "exact":
            duplicates.find(self.work, "exact", partial(duplicates.by_text, work=self.work), numbers, self.run)
            self.rules["duplicate"] = ["exact"]
        if settings.near_duplicates is not None:
            self._drop_near_duplicates(settings.near_duplicates)
        limits = self._limits()
        settle = partial(outcome.settle, work=self.work, rules=self.rules, held_out=settings.held_out)
        groups = [(number, counts, limits.get(number)) for number, counts in enumerate(self.counts)]
        settled = self.run(settle, groups)
        self.run(partial(outcome.sort_hashes, work=self.work), range(self.work.ranges))
        self.outcomes = [outcomes for outcomes, _ in settled]
        for group, (_, dropped) in zip(self.groups, settled, strict=True):
            self.dropped.setdefault(group.source, Counter()).update(dropped)

    def _drop_near_duplicates(self, similarity: float) -> None:
        """Find the near duplicates among the documents that are still in."""
        work, numbers, before = self.work, range(len(self.groups)), self.rules.get("duplicate", [])
        # Signing takes so long that workers pay for a quarter of the size.
        self._keep(signatures.key, signatures.keep, 4)
        near_duplicates.prepare(work, similarity)
        lay_out = partial(signatures.lay_out, work=work, rules=before)
        duplicates.find(work, "alike", lay_out, self.groups, self.run)
        rules = [*before, "alike"]
        self.run(partial(near_duplicates.write_bands, work=work, similarity=similarity, rules=rules), numbers)
        tasks = range(len(signatures.bands(similarity)) * work.ranges)
        self._shrink_large_buckets(tasks, similarity)
        self.large = sum(self.run(partial(near_duplicates.write_pairs, work=work, similarity=similarity), tasks))
        has_pairs = self.run(partial(near_duplicates.gather, work=work, tasks=len(tasks)), numbers)
        waiting = [number for number, any_pairs in zip(numbers, has_pairs, strict=True) if any_pairs]
        while waiting:
            waits = self.run(partial(near_duplicates.settle, work=work), waiting)
            waiting = [number for number, still in zip(waiting, waits, strict=True) if still]
        self.run(partial(near_duplicates.finish, work=work), numbers)
        self.rules["near duplicate"] = ["alike", "near"]

    def _shrink_large_buckets(self, tasks: range, similarity: float) -> None:
        """Find documents that go for one that stays, as long as large buckets lose any."""
        work, numbers = self.work, range(len(self.groups))
        large_buckets.prepare(work)
        for _ in range(large_buckets.ROUNDS):
            if not any(self.run(partial(large_buckets.find_firsts, work=work), tasks)):
                break
            self.run(partial(large_buckets.find_late, work=work, tasks=len(tasks)), tasks)
            self.run(partial(large_buckets.drop, work=work, tasks=len(tasks), similarity=similarity), tasks)
            if not any(self.run(partial(large_buckets.collect, work=work, tasks=len(tasks)), numbers)):
                break

    def _keep(self, key: Callable[[Shard, str], str], keep: Callable[..., None], cost: int = 1) -> None:
        """Have what `keep` makes of each shard in the cache; a rank makes its own, and looks for the others'."""
        cache, code = self.work.cache, self.work.code
        found = [shard for group in self.groups for shard in group.shards]
        known = cache.there([key(shard, code) for shard in found])
        missing = [shard for shard in found if key(shard, code) not in known]
        own = parallel.own(missing)
        some = self._portions(own)
        pool = self.executor_for(cost * sum(shard.file.size for shard in own), len(some))
        made = parallel.ordered_map(pool, partial(keep, cache=cache, code=code), some)
        for _ in console.track(made, "select, reading" if cost == 1 else "select, signing", len(some)):
            pass
        parallel.found_by_all(missing, lambda shard: cache.get(key(shard, code)))

    @staticmethod
    def _portions(shards: Sequence[Shard]) -> list[Sequence[Shard]]:
        """Shards that a worker reads at once: several of a store, for which it waits."""
        waits = any(shard.file.stored for shard in shards)
        return list(candidates.together(shards)) if waits else [[shard] for shard in shards]

    def record(self, folder: Path) -> None:
        """Write which document each dropped one duplicates."""
        sources = _by_rank(self.groups, self.settings.prefer)
        write = partial(record.write_group, work=self.work, rules=self.rules, sources=sources)
        self.run(write, range(len(self.groups)))
        record.join(self.work, folder)

    def _limits(self) -> dict[int, Limits]:
        """The limits of each group whose source has caps."""
        rules = [rule for some in self.rules.values() for rule in some]
        limits: dict[int, Limits] = {}
        for source, caps in self.settings.caps.items():
            mine = [group.number for group in self.groups if group.source == source]
            limits |= dict.fromkeys(mine, choices.find_limits(self.work, mine, caps, rules, self.run))
        return limits

    def totals(self, sources: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Per source: documents that it has, that were dropped (by reason) and that went into each split."""
        caps = self.settings.caps.values()
        reasons = [*self.rules, *(["over a cap"] if caps else [])]
        reasons += ["beyond its share"] if any(cap.share is not None for cap in caps) else []
        totals: dict[str, dict[str, Any]] = {}
        for source in sources:
            pairs = zip(self.groups, self.outcomes, strict=True)
            mine = [one for group, outcomes in pairs if group.source == source for one in outcomes]
            dropped = {reason: self.dropped[source][reason] for reason in sorted(reasons)}
            totals[source] = {"documents": sum(one.documents for one in mine), "dropped": dropped}
            for split in SPLITS:
                counts = [one.splits[split] for one in mine]
                totals[source][split] = {key: sum(count[key] for count in counts) for key in ("documents", "bytes")}
        return totals


def _require_both_splits(totals: dict[str, dict[str, Any]], held_out: float) -> None:
    counts = {split: sum(source[split]["documents"] for source in totals.values()) for split in SPLITS}
    if not all(counts.values()):
        raise UserError(
            f"expected documents for training and held-out ones to judge by; got {counts['train']} and "
            f"{counts['held_out']} (select.held_out: {held_out}). Add documents, raise select.held_out, or, if a file "
            "holds many documents, say so: documents: blank_line in its entry of extract.sources"
        )

"""Corpus shards: the rows of each extracted shard that the rules let through, in a file for each split.

They mirror the extracted shards, so a changed document changes one of them, and the others are linked from the action
cache. Texts stream from shard to shard.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from aura.core import parallel, ranks
from aura.core.console import track
from aura.core.files import sha256_file
from aura.core.keys import action_key
from aura.core.terms import SPLITS
from aura.corpus.corpus import batches
from aura.corpus.shards import ShardWriter
from aura.select.candidates import Group, Work
from aura.select.outcome import Outcome, masks
from aura.storage import placement
from aura.storage.placement import Kept, ShardPlace, at_once, write_lists


@dataclass(frozen=True)
class _Task:
    """The two corpus shards of one extracted shard."""

    file: placement.ShardFile
    key: str
    group: int
    start: int  # row of its first document in the group
    outcome: Outcome
    source: str
    targets: dict[str, Path]

    def __str__(self) -> str:
        return str(self.file)


def write(
    groups: Sequence[Group],
    outcomes: Sequence[Sequence[Outcome]],
    work: Work,
    folder: Path,
    place: ShardPlace,
    executor_for: Callable[..., Any],
) -> list[dict[str, Any]]:
    """Write both splits below `folder`, a file per extracted shard and split; returns a record per file."""
    for split in SPLITS:
        (folder / split).mkdir()
    tasks = [task for group, some in zip(groups, outcomes, strict=True) for task in _tasks(group, some, work, folder)]
    recalled = place.recall_all(work.cache, [(task.key, task.targets) for task in tasks])
    known = {task.key: kept for task, kept in zip(tasks, recalled, strict=True)}
    missing = parallel.own([task for task in tasks if known[task.key] is None])
    together = placement.fetched_together([task.file for task in missing]) if place.store else 1  # this disk is quick
    some = [missing[start : start + together] for start in range(0, len(missing), together)]
    pool = executor_for(sum(task.file.size for task in missing), len(some))
    written = parallel.ordered_map(pool, partial(_write_shards, work=work, place=place), some)
    made = (kept for several in written for kept in several)
    for task, kept in zip(missing, track(made, "select", len(missing)), strict=True):
        known[task.key] = kept
    ranks.end_of_part()
    write_lists(filter(None, known.values()))
    records = []
    for task in tasks:
        whole = known[task.key]
        digests = whole.record if whole else {}
        for split, counts in task.outcome.splits.items():
            if counts["documents"]:
                path = task.targets[split].relative_to(folder).as_posix()
                records.append(
                    {"path": path, "source": task.source, "split": split, **counts, "sha256": digests[split]}
                )
    return sorted(records, key=lambda record: str(record["path"]))


def _tasks(group: Group, outcomes: Sequence[Outcome], work: Work, folder: Path) -> Iterator[_Task]:
    start = 0
    for shard, outcome in zip(group.shards, outcomes, strict=True):
        targets = {split: folder / split / f"{shard.source}-{shard.file.path.name}" for split in SPLITS}
        key = action_key("corpus", work.code, shard.digest, outcome.masks)
        yield _Task(shard.file, key, group.number, start, outcome, shard.source, targets)
        start += outcome.documents


def _write_shards(tasks: Sequence[_Task], *, work: Work, place: ShardPlace) -> list[Kept]:
    """Write several shards at once; runs in a worker process."""
    return at_once(partial(_write_shard, work=work, place=place), tasks, len(tasks))


def _write_shard(task: _Task, *, work: Work, place: ShardPlace) -> Kept:
    """Copy the rows of each split into its file, some documents at a time.

    Its record is the SHA-256 of each file, by split.
    """
    writers = {split: ShardWriter(task.targets[split]) for split in SPLITS}
    marked = masks(work, task.group, task.start, task.outcome.documents)
    start = 0
    with task.file.opened() as file:
        for batch in batches(pq.ParquetFile(file)):
            for split, mask in marked.items():
                writers[split].add(pa.Table.from_batches([batch]).filter(pa.array(mask[start : start + len(batch)])))
            start += len(batch)
    for writer in writers.values():
        writer.close()
    written = {split: task.targets[split] for split in SPLITS if task.outcome.splits[split]["documents"]}
    digests = {split: sha256_file(path) for split, path in written.items()}
    return place.keep(work.cache, task.key, digests, written)

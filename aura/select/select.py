"""Selection: which extracted documents become the corpus, decided over all sources together, and the split.

Only hashes, sizes and names are held in memory (`candidates.py`); texts stream from shard to shard. Corpus shards
mirror the extracted ones, so a changed document changes one shard, and the others are linked from the action cache.
"""

import sys
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from aura.core import checksums, parallel, paths
from aura.core.console import track
from aura.core.errors import UserError
from aura.core.files import read_pipeline, replaced_folder, sha256_file, write_records
from aura.core.keys import action_key, code_key
from aura.core.terms import SPLITS
from aura.corpus import corpus, shards
from aura.corpus.corpus import FORMAT, is_held_out
from aura.corpus.shards import ShardWriter
from aura.select import candidates, choices, near_duplicates
from aura.select.candidates import Mask, ShardColumns
from aura.select.options import Select
from aura.storage import placement
from aura.storage.cache import Cache
from aura.storage.placement import THIS_DISK, Kept, ShardPlace, at_once, write_lists

LIBRARIES = ("datasketch", "numpy", "pyarrow", "xxhash")
SMALL = 8_000_000  # bytes of Parquet to write; less takes no longer than starting workers


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
    sources: list[str], settings: Select, extracted: Path, out: Path, cache: Cache, place: ShardPlace = THIS_DISK
) -> dict[str, Any]:
    """Write `out`/train, `out`/held_out and `out`/manifest.json; returns the manifest's totals per source.

    Raises `UserError` if a source is not extracted, or a split would be empty.
    """
    modules = (candidates, choices, corpus, near_duplicates, sys.modules[__name__], shards)
    code = code_key(modules, LIBRARIES)
    found = [
        shard for source in sorted(sources) for shard in candidates.read_shards(source, extracted / source, cache, code)
    ]
    dropped = _choose(found, sorted(sources), settings, cache, code)
    with replaced_folder(out) as folder:
        records = _write(found, settings.held_out, folder, cache, code, place)
        totals = _totals(found, dropped, records)
        _require_both_splits(totals, settings.held_out)
        for split in SPLITS:
            digests = {Path(record["path"]).name: record["sha256"] for record in records if record["split"] == split}
            checksums.write(folder / split, digests)
        head = {"format": FORMAT, "hash": _hashes(found, settings.held_out), "sources": totals}
        sealed = checksums.sealed(head | {"files": records})
        del sealed["files"]
        write_records(folder / "manifest.json", sealed, "files", records)
    return totals


def _choose(
    found: list[ShardColumns], sources: list[str], settings: Select, cache: Cache, code: str
) -> dict[str, Counter[str]]:
    """Take out what the rules do not let through; returns how many documents of each source, by rule."""
    dropped: dict[str, Counter[str]] = {source: Counter() for source in sources}
    if settings.deduplicate == "exact":
        _drop(found, choices.first_of_each_hash(found), "duplicate", dropped)
    if settings.near_duplicates is not None:
        keep = near_duplicates.without_near_duplicates(found, settings.near_duplicates, cache, code)
        _drop(found, keep, "near duplicate", dropped)
    for source, caps in settings.caps.items():
        if caps.share is not None:
            _drop(found, choices.within_share(found, source, caps.share), "beyond its share", dropped)
        _drop(found, choices.under_caps(found, source, caps), "over a cap", dropped)
    return dropped


def _drop(found: list[ShardColumns], keep: Mask, reason: str, dropped: dict[str, Counter[str]]) -> None:
    """Take out the documents where `keep` (over all shards in order) is false, counting each once."""
    start = 0
    for shard in found:
        here = keep[start : start + len(shard.kept)]
        dropped[shard.source][reason] += int(np.sum(shard.kept & ~here))
        shard.kept &= here
        start += len(here)


def _parts(shard: ShardColumns, held_out: float) -> dict[str, Mask]:
    """Mark the documents of a shard that go into each split."""
    held = is_held_out(shard.columns.column("text_hash").combine_chunks(), held_out)
    return {"train": shard.kept & ~held, "held_out": shard.kept & held}


def _hashes(found: list[ShardColumns], held_out: float) -> dict[str, str]:
    """Compute the value of `corpus_hash` for each split, without reading it."""
    hashes = candidates.column(found, "text_hash")
    held, kept = is_held_out(hashes, held_out), candidates.kept(found)
    masks = {"train": kept & ~held, "held_out": kept & held}
    return {split: corpus.hash_of(hashes.filter(pa.array(masks[split]))) for split in SPLITS}


@dataclass(frozen=True)
class _Task:
    """The two corpus shards of one extracted shard."""

    file: placement.ShardFile
    key: str
    parts: dict[str, Mask]
    targets: dict[str, Path]


def _write(
    found: list[ShardColumns], held_out: float, folder: Path, cache: Cache, code: str, place: ShardPlace
) -> list[dict[str, Any]]:
    """Write both splits below `folder`, a file per extracted shard and split; returns a record per file."""
    for split in SPLITS:
        (folder / split).mkdir()
    tasks = [_task(shard, held_out, folder, code) for shard in found]
    recalled = at_once(lambda task: place.recall(cache, task.key, task.targets), tasks)
    known = {task.key: kept for task, kept in zip(tasks, recalled, strict=True)}
    missing = [task for task in tasks if known[task.key] is None]
    with parallel.executors(SMALL) as executor_for:
        pool = executor_for(sum(task.file.size for task in missing), len(missing))
        made = parallel.ordered_map(pool, partial(_write_shard, cache=cache, place=place), missing)
        for task, kept in zip(missing, track(made, "select", len(missing)), strict=True):
            known[task.key] = kept
    write_lists(filter(None, known.values()))
    records = []
    for shard, task in zip(found, tasks, strict=True):
        whole = known[task.key]
        digests = whole.record if whole else {}
        for split, part in task.parts.items():
            if part.any():
                sizes = shard.columns.column("size").to_numpy()[part]
                counts = {"documents": len(sizes), "bytes": int(sizes.sum())}
                path = task.targets[split].relative_to(folder).as_posix()
                records.append(
                    {"path": path, "source": shard.source, "split": split, **counts, "sha256": digests[split]}
                )
    return sorted(records, key=lambda record: str(record["path"]))


def _task(shard: ShardColumns, held_out: float, folder: Path, code: str) -> _Task:
    parts = _parts(shard, held_out)
    masks = [xxhash.xxh3_128_hexdigest(np.packbits(parts[split]).tobytes()) for split in SPLITS]
    targets = {split: folder / split / f"{shard.source}-{shard.file.path.name}" for split in SPLITS}
    return _Task(shard.file, action_key("corpus", code, shard.digest, masks), parts, targets)


def _write_shard(task: _Task, *, cache: Cache, place: ShardPlace) -> Kept:
    """Copy the rows of each split into its file, some documents at a time; runs in a worker process.

    Its record is the SHA-256 of each file, by split.
    """
    writers = {split: ShardWriter(task.targets[split]) for split in SPLITS}
    start = 0
    with task.file.opened() as file:
        for batch in pq.ParquetFile(file).iter_batches(batch_size=256):
            for split, part in task.parts.items():
                writers[split].add(pa.Table.from_batches([batch]).filter(pa.array(part[start : start + len(batch)])))
            start += len(batch)
    for writer in writers.values():
        writer.close()
    written = {split: task.targets[split] for split in SPLITS if task.parts[split].any()}
    digests = {split: sha256_file(path) for split, path in written.items()}
    return place.keep(cache, task.key, digests, written)


def _totals(
    found: list[ShardColumns], dropped: dict[str, Counter[str]], records: list[dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Per source: documents that came, were dropped (by reason) and went into each split."""
    totals: dict[str, dict[str, Any]] = {}
    for source, reasons in dropped.items():
        came = sum(len(shard.kept) for shard in found if shard.source == source)
        totals[source] = {"documents": came, "dropped": dict(sorted(reasons.items()))}
        for split in SPLITS:
            mine = [record for record in records if (record["source"], record["split"]) == (source, split)]
            totals[source][split] = {key: sum(record[key] for record in mine) for key in ("documents", "bytes")}
    return totals


def _require_both_splits(totals: dict[str, dict[str, Any]], held_out: float) -> None:
    counts = {split: sum(source[split]["documents"] for source in totals.values()) for split in SPLITS}
    if not all(counts.values()):
        raise UserError(
            f"expected documents for training and held-out ones to judge by; got {counts['train']} and "
            f"{counts['held_out']} (select.held_out: {held_out}). Add documents, raise select.held_out, or, if a file "
            "holds many documents, say so: documents: blank_line in its entry of extract.sources"
        )

"""Extraction: one source's files become Parquet shards of cleaned documents with affect vectors.

A document's shard is a hash of its file (and of its block of 1,024 documents, in a file of many), so a
changed file changes its own shards and no other. Two steps, both through the action cache: batches of files, and
blocks of large ones, become packs of documents (`packs.py`, `blocks.py`), and packs become shards (`assembly.py`).
What either finds in the cache it does not do again: with one of 30,000 files changed, one file is extracted and
one shard of 16 written. Memory does not grow with the corpus but for the files' names and accounts. The same bytes
come out on any number of cores and whatever the cache held, because files keep their order.
"""

import gc
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from aura import console, parallel
from aura.cache import Cache, action_key, code_key
from aura.console import track
from aura.errors import UserError
from aura.files import replaced_folder, write_records
from aura.ingestion import (
    accounts,
    affect,
    assembly,
    blocks,
    cleaning,
    compression,
    corpus,
    document,
    fields,
    input_files,
    json_files,
    nrc,
    packs,
    parquet,
    readers,
    rows,
    sample,
    shards,
    txt_files,
)
from aura.ingestion.affect import read_lexicon
from aura.ingestion.listing import list_files
from aura.ingestion.packs import Batch, Pack
from aura.ingestion.rows import Recipe, extract_files
from aura.params import Extract, Source
from aura.placement import THIS_DISK, Place, at_once, write_lists

SMALL = 8_000_000  # bytes to extract; starting workers (0.5 s) costs more than extracting as much here
LIBRARIES = ("numpy", "pyarrow", "xxhash")


@dataclass
class Work:
    """How much was done and not found in the cache."""

    files_extracted: int = 0  # a large file counts if any block of it was
    shards_written: int = 0
    blocks_extracted: int = 0  # of large files


def extract(
    name: str,
    source: Source,
    settings: Extract,
    out: Path,
    cache: Cache,
    cluster: str | None = None,
    place: Place = THIS_DISK,
) -> tuple[dict[str, Any], Work]:
    """Extract one source into `out`; returns its manifest's totals, and what had to be done for them.

    `cluster` is the address of a Dask scheduler; without it, this machine's cores do the work. `place` says whether
    shards go into `out` or a store.

    Raises `UserError` if the source has no files or none of them holds a readable document, and, with
    `on_bad_file: fail`, at the first file that cannot be used.
    """
    batches = list(packs.batches(list_files(source), blocks.is_large(source, settings.max_document_bytes)))
    gc.freeze()  # 100,000 files: else each of Python's searches for garbage goes through them all
    recipe = Recipe(name, source, settings, read_lexicon(Path(settings.lexicon)))
    if recipe.lexicon.notice:
        console.err.print(recipe.lexicon.notice, markup=False)
    with replaced_folder(out) as folder, parallel.executors(SMALL, cluster) as executor_for:
        job = _Job(recipe, cache, _namespace(recipe), executor_for, place)
        stored = [pack for found in job.packs(batches) for pack in found]
        files = pa.concat_tables([pack.accounts for pack in stored])
        totals = accounts.totals(files)
        if not totals["documents"]:
            raise UserError(_nothing_readable(name, source, totals))
        job.write_shards(stored, batches, folder, totals["bytes_kept"])
        write_records(folder / "manifest.json", {"format": 1, "totals": totals}, "files", accounts.records(files))
    return totals, job.work


def _namespace(recipe: Recipe) -> str:
    """The hash of everything but the files that decides what becomes of them."""
    return action_key(
        recipe.name,
        recipe.source.model_dump(exclude={"path", "glob"}),
        # What is left out here does not decide what becomes of a file; the lexicon does, by its content.
        recipe.settings.model_dump(exclude={"sources", "on_bad_file", "lexicon"}),
        recipe.lexicon.words,
        recipe.lexicon.emotions.tolist(),
        code_key(TRANSFORMS, LIBRARIES),
    )


class _Job:
    """One run: what it works with, and how much it had to do."""

    def __init__(
        self, recipe: Recipe, cache: Cache, namespace: str, executor_for: Callable[..., Executor], place: Place
    ) -> None:
        self.recipe, self.cache, self.namespace, self.executor_for = recipe, cache, namespace, executor_for
        self.place = place
        self.work = Work()

    def packs(self, batches: list[Batch]) -> list[list[Pack]]:
        """The packs of every batch, in order; those that the cache lacks are made, large files last."""
        known = at_once(partial(packs.is_known, self.cache, self.namespace), batches)
        batches = [
            packs.hashed(batch) if seen or batch.large else batch for batch, seen in zip(batches, known, strict=True)
        ]
        found = at_once(self._find, batches)
        missing = [number for number, packs in enumerate(found) if packs is None]
        pool = self.executor_for(sum(batches[number].size for number in missing))
        small = [number for number in missing if not batches[number].large]
        make = partial(_make, cache=self.cache, namespace=self.namespace, recipe=self.recipe)
        made = parallel.ordered_map(pool, make, [batches[number] for number in small])
        self._stop_on_bad([pack for packs in found if packs for pack in packs])
        for number, (pack, files) in zip(small, track(made, f"extract {self.recipe.name}", len(small)), strict=True):
            self._stop_on_bad([pack])
            self.work.files_extracted += files
            found[number] = [pack]
        for number in missing:
            if batches[number].large:
                found[number] = self._make_large(batches[number], pool)
        return [packs for packs in found if packs is not None]

    def _find(self, batch: Batch) -> list[Pack] | None:
        if batch.large:
            return blocks.find(self.cache, self.namespace, batch)
        pack = packs.find(self.cache, self.namespace, batch)
        return None if pack is None else [pack]

    def _make_large(self, batch: Batch, pool: Executor) -> list[Pack]:
        def run(extract: Callable[[blocks.Task], Pack], tasks: Iterator[blocks.Task]) -> Iterator[Pack]:
            title = f"extract {self.recipe.name}, blocks of {batch.files[0].name}"
            for pack in track(parallel.ordered_map(pool, extract, tasks), title, None):
                self._stop_on_bad([pack])
                yield pack

        found, made = blocks.make(self.cache, self.namespace, batch, self.recipe, run)
        self.work.files_extracted += made > 0
        self.work.blocks_extracted += made
        return found

    def _stop_on_bad(self, stored: list[Pack]) -> None:
        if self.recipe.settings.on_bad_file == "fail":
            for pack in stored:
                accounts.stop_on_bad(pack.accounts)

    def write_shards(self, stored: list[Pack], batches: list[Batch], folder: Path, size: int) -> None:
        """Write every shard into `folder`; a pack that the cache lost since it was made or found is made again."""
        planned = assembly.planned(self.namespace, stored)
        recall = partial(assembly.recall, cache=self.cache, folder=folder, place=self.place)
        write = partial(assembly.write, cache=self.cache, folder=folder, place=self.place)
        kept = at_once(recall, planned)
        missing = [shard for shard, known in zip(planned, kept, strict=True) if known is None]
        self.work.shards_written = len(missing)
        # Writing a shard costs about a quarter of extracting its documents.
        pool = self.executor_for(size * len(missing) // (4 * self.recipe.settings.shards), len(missing))
        for shard, written in zip(missing, parallel.ordered_map(pool, write, missing), strict=True):
            if written is None:  # its packs are removed from the cache if damaged, so that they are missed now
                self.packs(batches)
            whole = written or write(shard)
            if whole is None:
                raise UserError(
                    f"files of source {self.recipe.name} ({self.recipe.source.path}) changed while they were read, or "
                    f"the cache {self.cache.address} lost what was just put there. Run the same command again."
                )
            kept.append(whole)
        write_lists(filter(None, kept))


def _make(batch: Batch, *, cache: Cache, namespace: str, recipe: Recipe) -> tuple[Pack, int]:
    """Make one pack; runs in a worker process."""
    return packs.make(cache, namespace, batch, partial(extract_files, recipe=recipe))


def _nothing_readable(name: str, source: Source, totals: dict[str, Any]) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in totals["lost"].items())
    return (
        f"No readable text in source {name} ({source.path}): {totals['files']} files, no document kept ({reasons}). "
        "Look at the files, their encoding and extract.min_chars; for JSON, name the text's key with text_keys."
    )


# Every module with a say in what becomes of a file: a change in one is a miss. A test compares with dvc.yaml.
TRANSFORMS = (
    *(accounts, affect, assembly, blocks, cleaning, compression, corpus, document, sys.modules[__name__], fields),
    *(input_files, json_files, nrc, packs, parquet, readers, rows, sample, shards, txt_files),
)

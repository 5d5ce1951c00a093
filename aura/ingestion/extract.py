"""Extraction: one source's files become Parquet shards of cleaned documents with affect vectors.

A document's shard is a hash of its file (and of its block of 1,024 documents, in a file of many), so a
changed file changes its own shards and no other. Two steps, both through the action cache: batches of files, and
blocks of large ones, become packs of documents (`packs.py`, `blocks.py`), and packs become shards (`assembly.py`).
What either finds in the cache it does not do again: with one of 30,000 files changed, one file is extracted and
one shard of 16 written. Memory does not grow with the corpus but for the files' accounts (1 kB each). The same bytes
come out on any number of cores and whatever the cache held, because files keep their order.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

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

SMALL = 8_000_000  # bytes to extract; starting workers (0.5 s) costs more than extracting as much here
LIBRARIES = ("numpy", "pyarrow", "xxhash")


@dataclass
class Work:
    """How much was done and not found in the cache."""

    files_extracted: int = 0  # a large file counts if any block of it was
    shards_written: int = 0
    blocks_extracted: int = 0  # of large files


def extract(
    name: str, source: Source, settings: Extract, out: Path, cache: Cache, cluster: str | None = None
) -> tuple[dict[str, Any], Work]:
    """Extract one source into `out`; returns its manifest's totals, and what had to be done for them.

    `cluster` is the address of a Dask scheduler; without it, this machine's cores do the work.

    Raises `UserError` if the source has no files or none of them holds a readable document, and, with
    `on_bad_file: fail`, at the first file that cannot be used.
    """
    batches = packs.batches(list_files(source), blocks.is_large(source, settings.max_document_bytes))
    recipe = Recipe(name, source, settings, read_lexicon(Path(settings.lexicon)))
    if recipe.lexicon.notice:
        console.err.print(recipe.lexicon.notice, markup=False)
    with replaced_folder(out) as folder, parallel.executors(SMALL, cluster) as executor_for:
        job = _Job(recipe, cache, _namespace(recipe), executor_for)
        stored = job.packs(batches)
        totals = accounts.totals(account for pack in stored for account in pack.accounts)
        if not totals["documents"]:
            raise UserError(_nothing_readable(name, source, totals))
        job.write_shards(stored, folder, totals["bytes_kept"])
        files = accounts.per_file(account for pack in stored for account in pack.accounts)
        head = {"format": 1, "totals": totals}
        write_records(folder / "manifest.json", head, "files", (account.as_json() for account in files))
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

    def __init__(self, recipe: Recipe, cache: Cache, namespace: str, executor_for: Callable[[int], Executor]) -> None:
        self.recipe, self.cache, self.namespace, self.executor_for = recipe, cache, namespace, executor_for
        self.work = Work()
        self.batches: list[Batch] = []

    def packs(self, hashed: Iterable[Batch]) -> list[Pack]:
        """The packs of every batch, in order; those that the cache lacks are made, large files last."""
        self.batches = batches = []
        found, size, pool = [], 0, self.executor_for(0)
        for batch in hashed:
            batches.append(batch)
            found.append(self._find(batch))
            if found[-1] is None:
                size += batch.size
                pool = self.executor_for(size)  # workers start while the other files are hashed
        missing = [number for number, packs in enumerate(found) if packs is None]
        small = [number for number in missing if not batches[number].large]
        make = partial(_make, cache=self.cache, namespace=self.namespace, recipe=self.recipe)
        made = parallel.ordered_map(pool, make, [batches[number] for number in small])
        self._stop_on_bad(pack for packs in found if packs for pack in packs)
        for number, (pack, files) in zip(small, track(made, f"extract {self.recipe.name}", len(small)), strict=True):
            self._stop_on_bad([pack])
            self.work.files_extracted += files
            found[number] = [pack]
        for number in missing:
            if batches[number].large:
                found[number] = self._make_large(batches[number], pool)
        return [pack for packs in found if packs is not None for pack in packs]

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

    def _stop_on_bad(self, stored: Any) -> None:  # noqa: ANN401 - an iterable of packs
        if self.recipe.settings.on_bad_file == "fail":
            accounts.stop_on_bad(account for pack in stored for account in pack.accounts)

    def write_shards(self, stored: list[Pack], folder: Path, size: int) -> None:
        """Write every shard into `folder`; a pack that the cache lost since it was made or found is made again."""
        planned = assembly.planned(self.namespace, stored)
        missing = [shard for shard in planned if not assembly.copied(shard, self.cache, folder)]
        self.work.shards_written = len(missing)
        # Writing a shard costs about a quarter of extracting its documents.
        pool = self.executor_for(size * len(missing) // (4 * self.recipe.settings.shards))
        write = partial(assembly.write, cache=self.cache, folder=folder)
        for shard, lost in zip(missing, parallel.ordered_map(pool, write, missing), strict=True):
            if lost:  # and removed from the cache, so that it is missed now
                self.packs(self.batches)
            if lost and assembly.write(shard, cache=self.cache, folder=folder):
                raise UserError(
                    f"files of source {self.recipe.name} ({self.recipe.source.path}) changed while they were read, or "
                    f"the cache {self.cache.folder} lost what was just put there. Run the same command again."
                )


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

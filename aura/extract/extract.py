"""Extraction: one source's files become Parquet shards of cleaned documents with affect vectors.

A document's shard is a hash of its file's name (of its block, in a large file), so a changed file changes its own
shard and no other. A shard is made, kept and recalled as a whole (`assembly.py`), but for large files, which are first
taken apart (`blocks.py`). With one of 100,000 files changed, the files are listed, one of them is extracted, and its
shard is written. Memory does not grow with the corpus but for the files' names and accounts. The same bytes come out
on any number of cores and whatever the cache held, because files keep their order.
"""

import gc
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from aura.core import checksums, console, parallel
from aura.core.console import track
from aura.core.errors import UserError
from aura.core.files import replaced_folder, write_lines
from aura.core.keys import action_key, code_key
from aura.corpus import corpus, shards
from aura.extract import accounts, assembly, blocks, losses, rows
from aura.extract.assembly import Built, ExtractionRun, ShardPlan
from aura.extract.blocks import Large
from aura.extract.documents import (
    affect,
    cleaning,
    compression,
    document,
    encodings,
    fields,
    impostors,
    json_files,
    json_walk,
    nrc,
    parquet,
    readers,
    regular_files,
    sample,
    txt_files,
    zstd_frames,
)
from aura.extract.documents.affect import read_lexicon
from aura.extract.options import Extract, Source
from aura.extract.rows import Recipe
from aura.extract.sources import input_files
from aura.extract.sources.input_files import InputFile
from aura.extract.sources.listing import list_files
from aura.storage.cache import Cache
from aura.storage.placement import THIS_DISK, ShardPlace, at_once, write_lists

SMALL = 8_000_000  # bytes to extract; starting workers (0.5 s) costs more than extracting as much here
LIBRARIES = ("numpy", "pyarrow", "xxhash")


@dataclass
class Work:
    """The work that was done and not found in the cache."""

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
    place: ShardPlace = THIS_DISK,
) -> tuple[dict[str, Any], Work]:
    """Extract one source into `out`; returns its manifest's totals, and what had to be done for them.

    `cluster` is the address of a Dask scheduler; without it, this machine's cores do the work. `place` says whether
    shards go into `out` or a store.

    Raises `UserError` if the source has no files or none of them holds a readable document, and, with
    `on_bad_file: fail`, at the first file that cannot be used.
    """
    recipe = Recipe(name, source, settings, read_lexicon(Path(settings.lexicon)))
    if recipe.lexicon.notice:
        console.err.print(recipe.lexicon.notice, markup=False)
    namespace = _namespace(recipe)
    new = assembly.is_new(settings.shards, cache, namespace)
    with replaced_folder(out) as folder, parallel.executors(SMALL, cluster, surely=new) as executor_for:
        with _no_search_for_garbage():
            files = list_files(source, cache)
        job = _Job(ExtractionRun(recipe, namespace, cache, folder, place), executor_for)
        found = job.extract(files)
        totals = accounts.totals(found)
        if not totals["documents"]:
            raise UserError(_nothing_readable(name, source, totals))
        warned = losses.warnings(found)
        head = {"format": 1, "totals": totals} | warned.record()
        write_lines(folder / "manifest.json", head, "files", accounts.lines(found))
        checksums.write(folder, job.digests)
    for line in warned.lines(name):
        console.err.print(line, markup=False)
    return totals, job.work


@contextmanager
def _no_search_for_garbage() -> Iterator[None]:
    """100,000 files: else each of Python's searches for garbage goes through them all, then and ever after."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if before:
            gc.enable()


def _namespace(recipe: Recipe) -> str:
    """The hash of everything but the files that decides what becomes of them."""
    return action_key(
        recipe.name,
        recipe.source.model_dump(exclude={"path", "glob", "links"}),
        # What is left out here does not decide what becomes of a file; the lexicon does, by its content.
        recipe.settings.model_dump(exclude={"sources", "on_bad_file", "lexicon", "shards"}),
        recipe.lexicon.words,
        recipe.lexicon.emotions.tolist(),
        code_key(TRANSFORMS, LIBRARIES),
    )


class _Job:
    """One run, and how much it had to do."""

    def __init__(self, run: ExtractionRun, executor_for: Callable[..., Executor]) -> None:
        self.run, self.executor_for = run, executor_for
        self.work = Work()
        self.digests: dict[str, str] = {}  # SHA-256 of each shard, by the name of its file

    def extract(self, files: list[InputFile]) -> pa.Table:
        """Put every shard where it belongs; returns the account of each file, in order."""
        count = assembly.shard_count(self.run.recipe.settings.shards, sum(file.size for file in files))
        large = {file: number for number, file in enumerate(files) if blocks.is_large(file, self.run.recipe)}
        apart = dict(zip(large, self._taken_apart(list(large)), strict=True))
        shards = assembly.planned(files, {file: found.blocks for file, found in apart.items()}, count)
        built = self._built(shards, list(large))
        write_lists(one.kept for one in built)
        self.digests = {
            shard.path(Path()).name: one.sha256 for shard, one in zip(shards, built, strict=True) if one.sha256
        }
        order = [list(large.values()), *(shard.order for shard in shards)]
        found = pa.concat_tables([one.account for one in apart.values()] + [one.accounts for one in built])
        return accounts.by_file(found, np.concatenate(order))

    def _taken_apart(self, files: list[InputFile], *, known: bool = True) -> list[Large]:
        """Large files, block by block; `known` is false where what the cache says of them is not to be relied on."""
        find = partial(blocks.find, self.run.cache, self.run.namespace)
        found = at_once(find, files) if known else [None] * len(files)
        # A compressed one counts as large as the least that is: what it swells to is not known.
        least = self.run.recipe.settings.max_document_bytes // 2
        missing = [file for file, one in zip(files, found, strict=True) if one is None]
        pool = self.executor_for(sum(max(file.size, least) for file in missing))
        made = self._each_taken_apart(missing, pool)
        return [one or next(made) for one in found]

    def _each_taken_apart(self, files: list[InputFile], pool: Executor) -> Iterator[Large]:
        """Yield the blocks of each file: whole files to workers, as many to each, then the others in turn."""
        workers = parallel.in_flight(pool) // 2
        whole = len(files) // workers * workers if workers > 1 else 0
        make = partial(blocks.make_alone, cache=self.run.cache, namespace=self.run.namespace, recipe=self.run.recipe)
        title = f"extract {self.run.recipe.name}, large files"
        for large, made in track(parallel.ordered_map(pool, make, files[:whole]), title, whole) if whole else ():
            self._count(made)
            yield large
        for file in files[whole:]:
            yield self._take_apart(file, pool)

    def _count(self, made: int) -> None:
        """Count a file of which so many blocks were extracted."""
        self.work.files_extracted += made > 0
        self.work.blocks_extracted += made

    def _take_apart(self, file: InputFile, pool: Executor) -> Large:
        def run(extract: Callable[[blocks.Task], blocks.Made], tasks: Iterator[blocks.Task]) -> Iterator[blocks.Made]:
            title = f"extract {self.run.recipe.name}, blocks of {file.name}"
            for block, account in track(parallel.ordered_map(pool, extract, tasks), title, None):
                self._stop_on_bad(account)
                yield block, account

        large, made = blocks.make(self.run.cache, self.run.namespace, file, self.run.recipe, run)
        self._count(made)
        return large

    def _built(self, shards: list[ShardPlan], large: list[InputFile]) -> list[Built]:
        """The shards, in order: those that the cache has are recalled, then the others made."""
        found = at_once(partial(assembly.find, run=self.run), shards)
        missing = [one for one in found if isinstance(one, ShardPlan)]
        pool = self.executor_for(sum(shard.cost for shard in missing), len(missing))
        made = parallel.ordered_map(pool, partial(assembly.make, run=self.run), missing)
        tracked = iter(track(made, f"extract {self.run.recipe.name}", len(missing)))
        built = []
        for one in found:
            if isinstance(one, ShardPlan):
                one = next(tracked) or self._made_again(one, large)
                self.work.files_extracted += one.extracted
                self.work.shards_written += 1
            self._stop_on_bad(one.accounts)
            built.append(one)
        next(tracked, None)  # it was the last: let the progress bar end
        return built

    def _made_again(self, shard: ShardPlan, large: list[InputFile]) -> Built:
        """A shard of which the cache lost a block since that was made or found."""
        names = {piece.name for piece in shard.pieces}
        self._taken_apart([file for file in large if file.name in names], known=False)
        built = assembly.make(shard, run=self.run)
        if built is None:
            raise UserError(
                f"files of source {self.run.recipe.name} ({self.run.recipe.source.path}) changed while being read, "
                f"or the action cache {self.run.cache.address} lost a new entry. Run the same command again."
            )
        return built

    def _stop_on_bad(self, found: pa.Table) -> None:
        if self.run.recipe.settings.on_bad_file == "fail":
            accounts.stop_on_bad(found)


def _nothing_readable(name: str, source: Source, totals: dict[str, Any]) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in totals["lost"].items())
    worst = sorted(totals["lost"], key=totals["lost"].__getitem__, reverse=True)
    remedy = next((f" {reason}: {what}." for reason in worst if (what := losses.remedy(reason))), "")
    return (
        f"No readable text in source {name} ({source.path}): {totals['files']} files, no document kept ({reasons}). "
        "Look at the files, their encoding and extract.min_chars; for JSON, name the text's key: text_keys of a "
        f"source, --text_key of the one-shot program.{remedy}"
    )


# Every module with a say in what becomes of a file: a change in one is a miss. A test compares with imports.
TRANSFORMS = (
    *(accounts, affect, assembly, blocks, cleaning, compression, corpus, document, encodings),
    *(sys.modules[__name__], fields, impostors),
    *(input_files, json_files, json_walk, nrc, parquet, readers, regular_files, rows, sample, shards),
    *(txt_files, zstd_frames),
)

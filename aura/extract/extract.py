"""Extraction: one source's files become Parquet shards of cleaned documents with affect vectors.

A hash of a file's name says its shard, so a changed file changes its own shard and no other. A shard is made, kept and
recalled as a whole (`assembly.py`). Large files have shards of their own: `chunks.py` cuts them, and `chunk_shards.py`
makes each part's. With one of 100,000 files changed, the files are listed, one of them is extracted, and its shard is
written. Memory does not grow with the corpus but for the files' names and accounts. The same bytes come out on any
number of cores and whatever the cache held, because files keep their order.
"""

import gc
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from aura.core import checksums, console, parallel, ranks, stage_inputs, unicode
from aura.core.console import track
from aura.core.errors import UserError
from aura.core.files import replaced_folder, write_lines
from aura.core.keys import action_key, code_key
from aura.corpus import corpus, shards
from aura.extract import accounts, assembly, chunk_shards, chunks, cleaning, losses, readers, rows, shard_tasks
from aura.extract.assembly import Built, ExtractionRun, ShardPlan
from aura.extract.chunk_shards import Made
from aura.extract.chunks import Chunk
from aura.extract.options import Extract
from aura.extract.rows import Recipe
from aura.sources import input_files, object_reader
from aura.sources.documents import (
    affect,
    compression,
    document,
    encodings,
    fields,
    impostors,
    json_files,
    json_values,
    json_walk,
    nrc,
    parquet,
    regular_files,
    sample,
    txt_files,
    zstd_frames,
)
from aura.sources.documents.affect import read_lexicon
from aura.sources.input_files import InputFile
from aura.sources.listing import list_files
from aura.sources.options import Source
from aura.storage.cache import Cache
from aura.storage.placement import THIS_DISK, ShardPlace, at_once, write_lists

SMALL = 8_000_000  # bytes to extract; starting workers (0.5 s) costs more than extracting as much here
LIBRARIES = ("numpy", "pyarrow", "xxhash")


@dataclass
class Work:
    """The work that was done and not found in the cache."""

    files_extracted: int = 0  # a large file counts if any chunk of it was
    shards_written: int = 0
    chunks_extracted: int = 0  # of large files


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

    `cluster` is the address of a cluster; without it, this machine's cores do the work. `place` says whether
    shards go into `out` or a store.

    Raises `UserError` if the source has no files or none of them holds a readable document, and, with
    `on_bad_file: fail`, at the first file that cannot be used.
    """
    recipe = Recipe(name, source, settings, read_lexicon(Path(settings.lexicon)))
    if recipe.lexicon.notice:
        console.err.print(recipe.lexicon.notice, markup=False)
    namespace = _namespace(recipe)
    new = assembly.is_new(cache, namespace)
    with replaced_folder(out) as folder, parallel.executors(SMALL, cluster, surely=new) as executor_for:
        with _no_search_for_garbage():
            files = list_files(source, cache)
        job = Job(ExtractionRun(recipe, namespace, cache, folder, place), executor_for)
        found = job.extract(files)
        stage_inputs.all_read()
        totals = accounts.totals(found)
        if not totals["documents"]:
            raise UserError(_nothing_readable(name, source, totals))
        warned = losses.warnings(found)
        head = {"format": 1, "totals": totals} | warned.record()
        write_lines(folder / "manifest.json", head, "files", accounts.lines(found))
        checksums.write(folder, job.digests)
    assembly.remember_source(cache, namespace)
    for line in warned.lines(name):
        console.err.print(line, markup=False)
    return totals, job.work


@contextmanager
def _no_search_for_garbage() -> Iterator[None]:
    """100,000 files: otherwise each of Python's searches for garbage goes through them all, then and ever after."""
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


class Job:
    """One run, and how much it had to do."""

    def __init__(self, run: ExtractionRun, executor_for: Callable[..., Executor]) -> None:
        self.run, self.executor_for = run, executor_for
        self.work = Work()
        self.digests: dict[str, str] = {}  # SHA-256 of each shard, by the name of its file

    def extract(self, files: list[InputFile]) -> pa.Table:
        """Put every shard where it belongs; returns the account of each file, in order."""
        large = {place: file for place, file in enumerate(files) if chunks.is_large(file, self.run.recipe)}
        small = [(place, file) for place, file in enumerate(files) if place not in large]
        of_large, order = self.large_files(large)
        count = assembly.shard_count(self.run.recipe.settings.shards, sum(file.size for _, file in small))
        shards = assembly.planned(small, count)
        built = self._built(shards)
        write_lists([*(kept for made in of_large for kept in made.kept), *(one.kept for one in built)])
        for made in of_large:
            self.digests |= made.digests
        self.digests |= {
            shard.path(Path()).name: one.sha256 for shard, one in zip(shards, built, strict=True) if one.sha256
        }
        found = pa.concat_tables([accounts.table([one.account for one in of_large]), *(one.accounts for one in built)])
        return accounts.by_file(found, np.concatenate([order, *(shard.order for shard in shards)]).astype(np.int64))

    def large_files(self, files: Mapping[int, InputFile]) -> tuple[list[Made], list[int]]:
        """Put the shards of large files, by their places, where they belong; returns chunks, and the file of each.

        A chunk's documents are numbered on from those before it. So it is made with the number that its file's plan
        foresees, and again, by a copy, where that proves wrong.
        """
        plans = dict(zip(files, self._planned(list(files.values())), strict=True))
        if ranks.here():
            self._chunks_of_this_rank(plans.values())
            return [], []
        seen = [chunk for plan in plans.values() for chunk in plan if chunk.span]
        found = at_once(partial(chunk_shards.known, run=self.run), seen)
        counts = {chunk.content: one.documents for chunk, one in zip(seen, found, strict=True) if one}
        made: dict[Chunk, Made] = {}
        while True:
            wanted = {place: chunks.numbered(plan, counts) for place, plan in plans.items()}
            missing = [chunk for plan in wanted.values() for chunk in plan if chunk not in made]
            if not missing:
                break
            made |= zip(missing, self._chunks(missing), strict=True)
            counts |= {chunk.content: made[chunk].documents for chunk in missing}
            for place, plan in wanted.items():
                if plan[0].span and not _is_apart([made[chunk] for chunk in plan]):
                    plans[place] = self._read_as_a_whole(plan)
        for plan in wanted.values():
            for chunk in plan:
                self._stop_on_bad_chunk(made[chunk])
        extracted = {chunk.file.name for chunk, one in made.items() if one.extracted}
        self.work.files_extracted += len(extracted)
        self.work.chunks_extracted += sum(one.extracted for one in made.values())
        order = [place for place, plan in wanted.items() for _ in plan]
        return [made[chunk] for plan in wanted.values() for chunk in plan], order

    def _planned(self, files: list[InputFile]) -> list[list[Chunk]]:
        """The chunks of each file."""
        cache, namespace = self.run.cache, self.run.namespace
        found = at_once(partial(chunks.find, cache, namespace), files)
        missing = [file for file, one in zip(files, found, strict=True) if one is None]
        pool = self.executor_for(sum(file.size for file in missing))
        cut = partial(chunks.cut, cache=cache, namespace=namespace, recipe=self.run.recipe)
        made = parallel.shared_map(pool, cut, missing, partial(self._cut_by_a_rank, cut=cut))
        return [one or next(made) for one in found]

    def _cut_by_a_rank(self, file: InputFile, *, cut: Callable[[InputFile], list[Chunk]]) -> list[Chunk] | None:
        """The chunks of a file that another rank cut; what no cache remembers, each rank cuts itself."""
        readable = file.stored or os.access(file.place, os.R_OK)
        if file.problem or not file.stamp or not readable:
            return cut(file)
        return chunks.find(self.run.cache, self.run.namespace, file)

    def _chunks_of_this_rank(self, plans: Iterable[list[Chunk]]) -> None:
        """Make the chunks that fall to this rank, with the numbers that are foreseen; one process puts them right."""
        wanted = [chunk for plan in plans for chunk in chunks.numbered(plan, {})]
        known = at_once(partial(chunk_shards.known, run=self.run), wanted)
        missing = [chunk for chunk, one in zip(wanted, known, strict=True) if one is None]
        mine = parallel.own(missing)
        pool = self.executor_for(sum(chunk.size for chunk in mine) * chunks.SWELLING, len(mine))
        for _ in parallel.ordered_map(pool, partial(chunk_shards.make, run=self.run), mine):
            pass

    def _chunks(self, missing: list[Chunk]) -> Iterator[Made]:
        """Yield the shards of chunks, in order: those that the cache has are recalled, the others made."""
        found = at_once(partial(chunk_shards.find, run=self.run), missing)
        rest = [chunk for chunk, one in zip(missing, found, strict=True) if one is None]
        swelling = chunks.SWELLING if any(chunk.span is None for chunk in rest) else 1
        pool = self.executor_for(sum(chunk.size for chunk in rest) * swelling, len(rest))
        order = sorted(range(len(rest)), key=lambda place: -rest[place].size)  # the largest must not be the last alone
        made = parallel.ordered_map(pool, partial(chunk_shards.make, run=self.run), [rest[place] for place in order])
        description = f"extract {self.run.recipe.name}, large files"
        tracked = iter(track(zip(order, made, strict=True), description, len(rest))) if rest else iter(())
        arrived: dict[int, Made] = {}
        places = iter(range(len(rest)))
        sure = True
        for one in found:
            result = one or _of_place(next(places), arrived, tracked)
            sure = sure and result.apart
            if sure:  # otherwise another file may have to be named first
                self._stop_on_bad_chunk(result)
            yield result
        next(tracked, None)  # it was the last: let the progress bar end

    def _read_as_a_whole(self, plan: list[Chunk]) -> list[Chunk]:
        """The plan of a file that cannot be read in parts; their shards go."""
        for chunk in plan:
            chunk_shards.forget(chunk, run=self.run)
        whole = [plan[0].whole]
        chunks.keep(self.run.cache, self.run.namespace, whole)
        return whole

    def _built(self, shards: list[ShardPlan]) -> list[Built]:
        """The shards, in order: those that the cache has are recalled, then the others made."""
        found = at_once(partial(assembly.find, run=self.run), shards)
        missing = [one for one in found if isinstance(one, ShardPlan)]
        with shard_tasks.handing_over(self.run.folder) as folder:
            made = self._made(missing, folder)
            built = []
            for one in found:
                if isinstance(one, ShardPlan):
                    one = next(made)
                    self.work.files_extracted += one.extracted
                    self.work.shards_written += 1
                self._stop_on_bad(one.accounts)
                built.append(one)
            next(made, None)  # it was the last: let the progress bar end
        return built

    def _made(self, missing: list[ShardPlan], folder: Path) -> Iterator[Built]:
        """Yield shards as tasks make them, in order; a rank makes its own and ends."""
        pool = self.executor_for(sum(shard.cost for shard in missing), len(missing))
        tasks = (shard_tasks.sent(shard, folder) for shard in parallel.own(missing))  # each is written when it is sent
        done = parallel.ordered_map(pool, partial(shard_tasks.make, run=self.run), tasks)
        if ranks.here():
            deque(done, maxlen=0)
            ranks.done()
        for one in track(done, f"extract {self.run.recipe.name}", len(missing)):
            yield shard_tasks.received(one)

    def _stop_on_bad_chunk(self, made: Made) -> None:
        if made.account.first_bad:
            self._stop_on_bad(accounts.table([made.account]))

    def _stop_on_bad(self, found: pa.Table) -> None:
        if self.run.recipe.settings.on_bad_file == "fail":
            accounts.stop_on_bad(found)


def _of_place(place: int, arrived: dict[int, Made], following: Iterator[tuple[int, Made]]) -> Made:
    """The result with this place among those that arrived and those that follow, in any order."""
    while place not in arrived:
        where, made = next(following)
        arrived[where] = made
    return arrived.pop(place)


def _is_apart(made: list[Made]) -> bool:
    """Return whether the parts of a file are what the file is; one of white space alone is lost as a whole."""
    return all(one.apart for one in made) and any(one.documents for one in made)


def _nothing_readable(name: str, source: Source, totals: dict[str, Any]) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in totals["lost"].items())
    worst = sorted(totals["lost"], key=totals["lost"].__getitem__, reverse=True)
    remedy = next((f" {reason}: {what}." for reason in worst if (what := losses.remedy(reason))), "")
    number = "1 file" if totals["files"] == 1 else f"{totals['files']:,} files"
    has_keys = hasattr(source, "text_keys") and not remedy
    keys = " Name the key of the text: text_keys (--text_key of the one-shot program)." if has_keys else ""
    return (
        f"No readable text in source {name} ({source.path}): {number}, no document kept ({reasons}). Look at the "
        f"files, their encoding and extract.min_chars.{keys}{remedy}"
    )


# Every module with a say in what becomes of a file: a change in one is a miss. A test compares with imports.
TRANSFORMS = (
    *(accounts, affect, assembly, chunk_shards, chunks, cleaning, compression, corpus, document, encodings),
    *(sys.modules[__name__], fields, impostors),
    *(input_files, json_files, json_values, json_walk, nrc, object_reader, parquet, readers, regular_files, rows),
    *(sample, shard_tasks, shards, txt_files, unicode, zstd_frames),
)

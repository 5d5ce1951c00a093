"""A shard to be made as a task that is small to send: its files stand in a file of the unfinished output.

A file takes some 25 bytes in the plan of its shard, and as many in its account. A shard may have 100,000 files: too
much for a cluster's scheduler to pass on. So the calling process writes the plan, the task leaves the accounts, and
only names cross the scheduler. All workers see the unfinished output, because they write shards there. Neither file
counts once the calling process has the accounts.
"""

import json
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aura.core.arrow import from_bytes, to_bytes
from aura.extract import assembly
from aura.extract.assembly import Built, ExtractionRun, ShardPlan
from aura.sources.input_files import InputFile
from aura.sources.object_reader import Stored
from aura.storage.placement import Kept

_FIELDS = len(InputFile._fields) - 1  # of a file that are written: its content is read where it is needed


@dataclass(frozen=True)
class ShardTask:
    """A shard to make: a plan without its files."""

    name: str
    number: int
    count: int
    folder: Path

    def __str__(self) -> str:
        return self.name

    @property
    def plan(self) -> Path:
        """The file with the files of the shard."""
        return self.folder / f"{self.number}.json"

    @property
    def accounts(self) -> Path:
        """The file with the accounts of these files."""
        return self.folder / f"{self.number}.arrow"


@dataclass(frozen=True)
class Done:
    """The answer of a task."""

    task: ShardTask
    kept: Kept
    extracted: int


@contextmanager
def handing_over(output: Path) -> Iterator[Path]:
    """A folder for plans and accounts in an unfinished output; it is gone afterwards."""
    folder = output / "work"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def sent(shard: ShardPlan, folder: Path) -> ShardTask:
    """Write the plan of a shard, and return the task of making it."""
    task = ShardTask(str(shard), shard.number, shard.count, folder)
    files = [file[:_FIELDS] for file in shard.files]
    task.plan.write_text(json.dumps({"files": files, "digests": shard.digests}), encoding="ascii")
    return task


def make(task: ShardTask, *, run: ExtractionRun) -> Done:
    """Make the shard of a task, and leave the accounts of its files; runs in a worker process."""
    built = assembly.make(_plan(task), run=run)
    partial = task.accounts.with_name(f".{task.accounts.name}.{uuid.uuid4().hex}")  # a task may run twice
    partial.write_bytes(to_bytes(built.accounts))
    partial.replace(task.accounts)
    return Done(task, built.kept, built.extracted)


def received(done: Done) -> Built:
    """The shard that a task made."""
    found = from_bytes(done.task.accounts.read_bytes())
    for file in (done.task.plan, done.task.accounts):
        file.unlink()
    return Built(done.kept, found, done.extracted)


def _plan(task: ShardTask) -> ShardPlan:
    written = json.loads(task.plan.read_bytes())
    files = [_file(values) for values in written["files"]]
    return ShardPlan(task.number, task.count, files, [], written["digests"])


def _file(values: list[Any]) -> InputFile:
    """A file as it was before it was written; most files have one folder, whose name is held once."""
    name, folder, below, size, stamp, problem, known, stored = values
    known, stored = tuple(known) if known else None, Stored(*stored) if stored else None
    return InputFile(name, sys.intern(folder), below, size, stamp, problem, known, stored)

"""The data that `select` decides by: hash, name and size of every extracted document, in groups of shards.

No process holds the whole corpus: a task reads the columns of one group, or one range of all hashes. Columns of a
shard are kept in the action cache, so a shard that has not changed is compared with its SHA-256 and not opened. For a
selection they are laid out once more per group, uncompressed, because rules look up single names (60 bytes a document
on the disk).
"""

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aura.core import checksums
from aura.core.arrow import from_bytes, joined, to_bytes
from aura.core.errors import UserError
from aura.core.keys import action_key
from aura.corpus.corpus import SCHEMA, batches
from aura.select.parts import Numbers
from aura.storage import placement
from aura.storage.cache import Cache

GROUP_BYTES, GROUP_SHARDS = 128_000_000, 64  # Parquet and files of a group, at most; a document takes 30 bytes and more
GROUPS = 4096  # at most; groups of more than this grow beyond both
_NAME = pa.field("doc", pa.large_string(), nullable=False)  # names of a shard, or of a group, may exceed 2 GiB
GROUP_SCHEMA = pa.schema([SCHEMA.field("text_hash"), _NAME, ("size", pa.int64())])
Mask = npt.NDArray[np.bool_]
Map = Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]  # calls a function with each item, somewhere


@dataclass(frozen=True)
class Shard:
    """One extracted shard."""

    source: str
    file: placement.ShardFile
    digest: str  # SHA-256 that its bytes must have, with which a task compares them before it uses them

    def __str__(self) -> str:
        return str(self.file)


@dataclass(frozen=True)
class Group:
    """Neighbouring shards of one source; a document's row counts through all of them."""

    number: int
    source: str
    shards: tuple[Shard, ...]

    def __str__(self) -> str:
        return f"{len(self.shards)} shards from {self.shards[0]}"


@dataclass(frozen=True)
class Work:
    """One selection: the folder of its shuffle, and what every task must know."""

    folder: Path
    ranks: tuple[int, ...]  # by group; of documents with one text, that of the lowest rank stays
    cache: Cache
    code: str  # the hash of the code at work
    ranges: int = 1  # parts that hashes are cut into

    def files(self, kind: str, number: int) -> list[Path]:
        """The files of one kind, numbered from zero."""
        return [self.file(kind, one) for one in range(number)]

    def file(self, kind: str, number: int) -> Path:
        """The file of one kind that a group or a range has."""
        return self.folder / kind / str(number)


def find(source: str, folder: Path) -> list[Shard]:
    """The shards of one source, in order."""
    made_by = f"dvc repro extract@{source}"
    files = [file for file in placement.shards(folder, made_by) if file.path.suffix == ".parquet"]
    if not files:
        raise UserError(f"{folder} holds no Parquet shards. {checksums.remedy(made_by)}")
    return [Shard(source, file, file.recorded) for file in files]


def grouped(shards: Sequence[Shard]) -> list[Group]:
    """Groups of shards, in order. The number of shards in a group hardly moves when a source grows."""
    limit = max(GROUP_BYTES, sum(shard.file.size for shard in shards) * 2 // GROUPS)
    groups: list[Group] = []
    for source in sorted({shard.source for shard in shards}):
        mine = [shard for shard in shards if shard.source == source]
        number = max(limit // max(1, *(shard.file.size for shard in mine)), 1)
        number = min(number, max(GROUP_SHARDS, len(shards) * 2 // GROUPS))
        for start in range(0, len(mine), number):
            groups.append(Group(len(groups), source, tuple(mine[start : start + number])))
    return groups


def together(shards: Sequence[Shard], most: int = placement.FETCHED_BYTES) -> Iterator[Sequence[Shard]]:
    """Yield shards in portions of about `most` bytes that one process reads at once."""
    number = placement.fetched_together([shard.file for shard in shards], most)
    return (shards[start : start + number] for start in range(0, len(shards), number))


def _known(shard: Shard, *, cache: Cache, code: str) -> bytes | None:
    """The columns of a shard, as far as the cache has them."""
    entry = cache.get(key(shard, code))
    return entry.read("columns") if entry else None


def keep_columns(shards: Sequence[Shard], *, cache: Cache, code: str) -> None:
    """Put the columns of some shards into the cache; runs in a worker process."""
    placement.at_once(partial(_made, cache=cache, code=code), shards, len(shards))


def key(shard: Shard, code: str) -> str:
    """The key of a shard's columns."""
    return action_key("columns", code, shard.digest)


def _made(shard: Shard, *, cache: Cache, code: str) -> bytes:
    """The columns of a shard, out of its texts; they are kept in the cache."""
    found = []
    with shard.file.opened() as file:
        for batch in batches(pq.ParquetFile(file), ["text", "doc", "text_hash"]):
            size = pc.binary_length(batch.column("text"))
            name = batch.column("doc").cast(_NAME.type)
            found.append(pa.record_batch([batch.column("text_hash"), name, size], GROUP_SCHEMA))
    columns = to_bytes(pa.Table.from_batches(found, GROUP_SCHEMA))
    cache.put(key(shard, code), {}, {"columns": columns})
    return columns


def lay_out(group: Group, *, work: Work) -> list[int]:
    """Write the columns of a group's documents; returns the documents of each shard."""
    known = placement.at_once(partial(_known, cache=work.cache, code=work.code), group.shards)
    missing = [shard for shard, columns in zip(group.shards, known, strict=True) if columns is None]
    make = partial(_made, cache=work.cache, code=work.code)
    made = (columns for some in together(missing) for columns in placement.at_once(make, some, len(some)))
    tables = [from_bytes(next(made) if columns is None else columns) for columns in known]
    write_documents(work, group.number, pa.concat_tables(tables))
    return [len(table) for table in tables]


def write_documents(work: Work, group: int, columns: pa.Table) -> None:
    """Write what `documents` reads."""
    path = work.file("documents", group)
    partial_path = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with pa.ipc.new_file(partial_path, GROUP_SCHEMA) as writer:
        writer.write_table(joined(columns))
    partial_path.replace(path)


def documents(work: Work, group: int) -> pa.Table:
    """The columns of a group's documents, by row: text_hash, doc and size (UTF-8 bytes of the text)."""
    return pa.ipc.open_file(pa.memory_map(str(work.file("documents", group)))).read_all()


def column(table: pa.Table, name: str) -> pa.Array:
    """A column of what `documents` returns, which is not copied."""
    chunks = table.column(name)
    return chunks.chunk(0) if chunks.num_chunks == 1 else chunks.combine_chunks()


def names(work: Work, groups: Numbers, rows: Numbers) -> pa.Array:
    """The name of each of these documents."""
    order = np.argsort(groups.astype(np.uint16), kind="stable")  # there are at most `GROUPS`, and a few
    rows = rows[order].astype(np.int64)
    found = [pa.array([], pa.large_string())]
    for group, mine in _runs(groups[order]):
        found.append(column(documents(work, group), "doc").take(pa.array(rows[mine])))
    back = np.empty(len(order), dtype=np.int64)
    back[order] = np.arange(len(order))
    return pa.concat_arrays(found).take(pa.array(back))


def _runs(numbers: Numbers) -> list[tuple[int, slice]]:
    """Each number of an ascending array, and where it stands."""
    found, starts = np.unique(numbers, return_index=True)
    ends = [*starts[1:].tolist(), len(numbers)]
    return [(number, slice(*place)) for number, *place in zip(found.tolist(), starts.tolist(), ends, strict=False)]


def in_order(work: Work, same: Numbers, groups: Numbers, rows: Numbers) -> npt.NDArray[np.int64]:
    """The order of documents by `same`, then by source and name, then by place."""
    columns = {
        "same": same,
        "rank": np.array(work.ranks, dtype=np.int64)[groups.astype(np.int64)],
        "name": names(work, groups, rows),
        "group": groups,
        "row": rows,
    }
    order = pc.sort_indices(pa.table(columns), [(name, "ascending") for name in columns])
    return np.asarray(order.to_numpy().astype(np.int64))

"""What `select` decides by: hash, name and size of every extracted document, shard by shard.

Held in memory for the whole corpus (about 100 bytes a document), read through the action cache: an extracted
shard that has not changed is hashed (XXH3, 10 GB/s) and not opened.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aura.cache import Cache, action_key
from aura.errors import UserError
from aura.files import require_folder
from aura.ingestion.corpus import SCHEMA
from aura.ingestion.input_files import hash_file

_SCHEMA = pa.schema([SCHEMA.field("text_hash"), SCHEMA.field("doc"), ("size", pa.int64())])
Mask = npt.NDArray[np.bool_]


@dataclass
class Shard:
    """One extracted shard's decisive columns, and which of its documents are still in."""

    source: str
    path: Path
    digest: str  # XXH3 of the file
    columns: pa.Table  # text_hash, doc, size (UTF-8 bytes of the text)
    kept: Mask


def read_shards(source: str, folder: Path, cache: Cache, code: str) -> list[Shard]:
    """The shards of one source, in order; `code` is the hash of the code at work."""
    require_folder(folder, made_by=f"dvc repro extract@{source}")
    shards = []
    for path in sorted(folder.glob("*.parquet")):
        digest, _ = hash_file(path)
        columns = _columns(path, cache, action_key("columns", code, digest))
        shards.append(Shard(source, path, digest, columns, np.ones(len(columns), dtype=bool)))
    if not shards:
        raise UserError(f"{folder} holds no Parquet shards. Run: dvc repro --force extract@{source}")
    return shards


def _columns(path: Path, cache: Cache, key: str) -> pa.Table:
    entry = cache.get(key)
    data = entry.read("columns") if entry else None
    if data is not None:
        return pa.ipc.open_stream(data).read_all()
    batches = []
    for batch in pq.ParquetFile(path).iter_batches(columns=["text", "doc", "text_hash"]):
        size = pc.binary_length(batch.column("text"))
        batches.append(pa.record_batch([batch.column("text_hash"), batch.column("doc"), size], _SCHEMA))
    columns = pa.Table.from_batches(batches, _SCHEMA).combine_chunks()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, columns.schema) as writer:
        writer.write_table(columns)
    cache.put(key, {}, {"columns": sink.getvalue().to_pybytes()})
    return columns


def column(shards: list[Shard], name: str) -> pa.Array:
    """One column over all shards, in order."""
    return pa.concat_arrays([shard.columns.column(name).combine_chunks() for shard in shards])


def kept(shards: list[Shard]) -> Mask:
    """Which documents are still in, over all shards in order."""
    return np.concatenate([shard.kept for shard in shards])


def sources(shards: list[Shard]) -> npt.NDArray[np.object_]:
    """The source of each document, over all shards in order."""
    return np.repeat(np.array([shard.source for shard in shards], dtype=object), [len(shard.kept) for shard in shards])

"""The data that `select` decides by: hash, name and size of every extracted document, shard by shard.

Held in memory for the whole corpus (about 100 bytes a document), read through the action cache: an extracted
shard that has not changed is compared with its SHA-256 and not opened.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aura.core import checksums
from aura.core.arrow import from_bytes, to_bytes
from aura.core.errors import UserError
from aura.core.keys import action_key
from aura.corpus.corpus import SCHEMA
from aura.storage import placement
from aura.storage.cache import Cache

_SCHEMA = pa.schema([SCHEMA.field("text_hash"), SCHEMA.field("doc"), ("size", pa.int64())])
Mask = npt.NDArray[np.bool_]


@dataclass
class ShardColumns:
    """One extracted shard's decisive columns, and which of its documents are still in."""

    source: str
    file: placement.ShardFile
    digest: str  # SHA-256 of its bytes
    columns: pa.Table  # text_hash, doc, size (UTF-8 bytes of the text)
    kept: Mask


def read_shards(source: str, folder: Path, cache: Cache, code: str) -> list[ShardColumns]:
    """The shards of one source, in order; `code` is the hash of the code at work."""
    made_by = f"dvc repro extract@{source}"
    files = [file for file in placement.shards(folder, made_by) if file.path.suffix == ".parquet"]
    if not files:
        raise UserError(f"{folder} holds no Parquet shards. {checksums.remedy(made_by)}")
    digests = placement.at_once(placement.ShardFile.sha256, files)
    keys = [action_key("columns", code, digest) for digest in digests]
    found = placement.at_once(partial(_columns, cache=cache), list(zip(files, keys, strict=True)), placement.FETCHED)
    return [
        ShardColumns(source, file, digest, columns, np.ones(len(columns), dtype=bool))
        for file, digest, columns in zip(files, digests, found, strict=True)
    ]


def _columns(place: tuple[placement.ShardFile, str], *, cache: Cache) -> pa.Table:
    shard, key = place
    entry = cache.get(key)
    data = entry.read("columns") if entry else None
    if data is not None:
        return from_bytes(data)
    batches = []
    with shard.opened() as file:
        for batch in pq.ParquetFile(file).iter_batches(batch_size=256, columns=["text", "doc", "text_hash"]):
            size = pc.binary_length(batch.column("text"))
            batches.append(pa.record_batch([batch.column("text_hash"), batch.column("doc"), size], _SCHEMA))
    columns = pa.Table.from_batches(batches, _SCHEMA).combine_chunks()
    cache.put(key, {}, {"columns": to_bytes(columns)})
    return columns


def column(shards: list[ShardColumns], name: str) -> pa.Array:
    """One column over all shards, in order; strings with 64-bit offsets, because names of a corpus exceed 2 GiB."""
    columns = [shard.columns.column(name).combine_chunks() for shard in shards]
    if pa.types.is_string(columns[0].type):
        columns = [column.cast(pa.large_string()) for column in columns]
    return pa.concat_arrays(columns)


def kept(shards: list[ShardColumns]) -> Mask:
    """Mark the documents that are still in, over all shards in order."""
    return np.concatenate([shard.kept for shard in shards])


def sources(shards: list[ShardColumns]) -> npt.NDArray[np.object_]:
    """The source of each document, over all shards in order."""
    return np.repeat(np.array([shard.source for shard in shards], dtype=object), [len(shard.kept) for shard in shards])

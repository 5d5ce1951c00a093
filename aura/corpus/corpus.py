"""The corpus on disk: one Parquet schema for extracted shards and for what `select` lets through.

A document's hash (XXH3, 128 bits, of its UTF-8 text) is computed once, at extraction, and decides everything
that must not move when the corpus grows: duplicates, caps and the split. XXH3 is no cryptographic hash: it
guards against accidents, at 20 GB/s, and not against forged documents.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from aura.core import arrow
from aura.core.errors import UserError
from aura.core.terms import EMOTIONS
from aura.storage import placement

arrow.leave_pandas_out()

SCHEMA = pa.schema(
    [
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("doc", pa.string(), nullable=False),  # the file it came from, and `#n` where a file holds several
        pa.field("source", pa.string(), nullable=False),
        pa.field("affect", pa.list_(pa.float32(), len(EMOTIONS)), nullable=False),  # sums to 1, or all zero
        pa.field("text_hash", pa.binary(16), nullable=False),
    ]
)

FORMAT = 1  # of data/corpus/manifest.json
MADE_BY = "dvc repro select"
BATCH_ROWS, BATCH_BYTES = 256, 8_000_000  # of documents that are read at a time


def text_hash(text: bytes) -> bytes:
    """The 16-byte hash of a document's UTF-8 text."""
    return xxhash.xxh3_128_digest(text)


def hash_halves(hashes: pa.Array) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """The two 64-bit halves of each hash: independent random numbers, one for the split, one for caps."""
    words = _bytes(hashes).view(">u8")
    return words[:, 0].astype(np.uint64), words[:, 1].astype(np.uint64)


def _bytes(hashes: pa.Array) -> npt.NDArray[np.uint8]:
    """Hashes as rows of 16 bytes."""
    hashes = hashes.cast(SCHEMA.field("text_hash").type)
    size = hashes.type.byte_width
    return np.frombuffer(hashes.buffers()[1] or b"", np.uint8, size * len(hashes), size * hashes.offset).reshape(
        -1, size
    )


def is_held_out(hashes: pa.Array, share: float) -> npt.NDArray[np.bool_]:
    """Mark the documents that are kept from training: a function of each text hash alone.

    `share` is the expected share of held-out documents. Raising it only adds documents to the held-out set.
    """
    return hash_halves(hashes)[0] < first_in_training(share)


def first_in_training(share: float) -> np.uint64:
    """The lowest first half of a hash that is not held out."""
    return np.uint64(share * 2.0**64)


def shards(folder: Path) -> list[placement.ShardFile]:
    """The Parquet files of one split, in order, here or in a store; an absent or empty folder is a `UserError`."""
    found = [shard for shard in placement.shards(folder, made_by=MADE_BY) if shard.path.suffix == ".parquet"]
    if not found:
        raise UserError(f"expected the corpus in {folder}, found no Parquet file there. Run: {MADE_BY}")
    return found


def read_texts(folder: Path) -> Iterator[str]:
    """Yield every document's text, in order, a few megabytes of them in memory at a time."""
    for shard in shards(folder):
        yield from read_shard(shard)


def read_shard(shard: placement.ShardFile) -> Iterator[str]:
    """Yield every document's text of one Parquet file, in order, a few megabytes of them in memory at a time."""
    for texts in read_column(shard, "text"):
        yield from texts.to_pylist()


def read_column(shard: placement.ShardFile, name: str) -> Iterator[pa.Array]:
    """Yield a column of one Parquet file, some documents at a time."""
    with shard.opened() as file:
        for batch in batches(pq.ParquetFile(file), [name]):
            yield batch.column(name)


def batches(
    file: pq.ParquetFile, columns: list[str] | None = None, rows: int = BATCH_ROWS, groups: Iterable[int] | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a file, or of some row groups: at most `rows` of one group at a time, and about BATCH_BYTES.

    Without the number of bytes, Arrow would join row groups until it has as many rows, of whatever size.
    """
    for number in range(file.num_row_groups) if groups is None else groups:
        group = file.metadata.row_group(number)
        size = max(1, group.total_byte_size // max(1, group.num_rows))
        number_of_rows = min(rows, max(1, BATCH_BYTES // size))
        yield from file.iter_batches(
            number_of_rows,
            row_groups=[number],
            columns=columns,
            use_threads=columns is None or len(columns) > 1,  # for one column they take a tenth more processor time
        )

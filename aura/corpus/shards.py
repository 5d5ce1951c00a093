"""Writing one Parquet shard of documents as they come, in a few megabytes of memory."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aura.corpus.corpus import SCHEMA

GROUP_DOCUMENTS, GROUP_BYTES = 1024, 8_000_000  # a row group is closed when it holds as many


class ShardWriter:
    """Appends documents to a Parquet file, which comes into being with its first row group.

    Row groups are cut after a fixed number of documents or bytes of the shard's own, so the file's bytes
    depend on its documents alone, not on the portions in which they arrived. Compression is zstd at level 1,
    which keeps up with extraction.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.waiting: list[pa.Table] = []
        self.file: pq.ParquetWriter | None = None

    def add(self, documents: pa.Table) -> None:
        """Append documents; full row groups are written out."""
        pending = pa.concat_tables([*self.waiting, documents])
        start = 0
        for end in _group_ends(pending):
            self._write(pending.slice(start, end - start))
            start = end
        self.waiting = [pending.slice(start)] if start < len(pending) else []

    def close(self) -> None:
        """Write what still waits and close the file."""
        for rest in self.waiting:
            self._write(rest)
        self.waiting = []
        if self.file:
            self.file.close()

    def _write(self, group: pa.Table) -> None:
        if self.file is None:
            options = {"compression": "zstd", "compression_level": 1, "use_dictionary": ["source"]}
            self.path.unlink(missing_ok=True)  # made before, it may be the cache's too, and is not to be written into
            self.file = pq.ParquetWriter(self.path, SCHEMA, **options)
        self.file.write_table(group.combine_chunks(), row_group_size=len(group))


def _group_ends(documents: pa.Table) -> list[int]:
    """Row numbers after which a full row group ends."""
    bytes_until = np.cumsum(pc.binary_length(documents.column("text")).to_numpy())
    ends: list[int] = []
    start = before = 0
    while True:
        end = min(start + GROUP_DOCUMENTS, int(np.searchsorted(bytes_until, before + GROUP_BYTES)) + 1)
        if end > len(documents):
            return ends
        ends.append(end)
        start, before = end, int(bytes_until[end - 1])

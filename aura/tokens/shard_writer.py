"""Writing one token shard as its documents come, in the memory of a row group of its index (0.1 GB at most).

Both files have the bytes that they would have if they were written at once. The header of a .npy file holds the number
of ids; it has the same size for any number, so it is written again at the end.
"""

import io
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aura.core import files
from aura.tokens.mapped_ids import Ids
from aura.tokens.token_shards import DOCUMENTS, ShardEntry, files_of, source_of

GROUP_ROWS = 1 << 20  # documents of a row group


class TokenShardWriter:
    """Appends documents to a shard; it counts once `finish` has returned its entry.

    Arguments:
        folder: of the set.
        path: of the shard in it, without suffix, as in `train/sample-003`.
        dtype: of the ids.
    """

    def __init__(self, folder: Path, path: str, dtype: np.dtype[Any]) -> None:
        self._path, self._dtype = path, dtype
        self._ids_file, self._documents_file = files_of(folder, path)
        self._tokens = self._bytes = self._rows = 0
        self._offset = 0  # of the first document that waits
        self._waiting: list[pa.Table] = []
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self._ids_file.parent.mkdir(parents=True, exist_ok=True)
        for file in (self._ids_file, self._documents_file):
            file.unlink(missing_ok=True)  # made before, it may be the cache's too, and must not be written into
        self._ids: BinaryIO = self._open.enter_context(self._ids_file.open("wb"))
        writer = pq.ParquetWriter(self._documents_file, DOCUMENTS, compression="zstd")
        self._index: pq.ParquetWriter = self._open.enter_context(writer)
        self._write(_header(self._dtype, 0))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    def add(self, ids: Ids, documents: pa.Table) -> None:
        """Append documents: their ids, and their rows of the schema DOCUMENTS without `offset`."""
        self._write(np.ascontiguousarray(ids).data)
        self._tokens += len(ids)
        self._bytes += pc.sum(documents["bytes"]).as_py() or 0
        self._rows += len(documents)
        self._waiting.append(documents)
        while sum(map(len, self._waiting)) >= GROUP_ROWS:
            waiting = pa.concat_tables(self._waiting)
            self._write_group(waiting.slice(0, GROUP_ROWS))
            self._waiting = [waiting.slice(GROUP_ROWS)]

    def finish(self) -> ShardEntry:
        """Write what still waits, close both files and return what they hold."""
        rest = pa.concat_tables(self._waiting)
        if len(rest) or not self._rows:
            self._write_group(rest)
        self._ids.seek(0)
        self._write(_header(self._dtype, self._tokens))
        self._open.close()
        return ShardEntry(
            path=self._path,
            source=source_of(Path(self._path).name),
            documents=self._rows,
            tokens=self._tokens,
            bytes=self._bytes,
            ids_size=self._ids_file.stat().st_size,
            ids_sha256=files.sha256_file(self._ids_file),
            documents_size=self._documents_file.stat().st_size,
            documents_sha256=files.sha256_file(self._documents_file),
        )

    def _write_group(self, documents: pa.Table) -> None:
        tokens = documents["tokens"].to_numpy()
        offsets = np.cumsum(tokens) - tokens + self._offset
        self._offset += int(tokens.sum())
        self._index.write_table(documents.add_column(0, "offset", pa.array(offsets)).cast(DOCUMENTS), GROUP_ROWS)

    def _write(self, content: bytes | memoryview) -> None:
        try:
            self._ids.write(content)
        except OSError as error:  # a full disk does not say where
            error.filename = error.filename or str(self._ids_file)
            raise


def _header(dtype: np.dtype[Any], length: int) -> bytes:
    """The beginning of a .npy file of one dimension, as np.save writes it."""
    content = io.BytesIO()
    empty: npt.NDArray[Any] = np.empty(0, dtype)
    described = np.lib.format.header_data_from_array_1_0(empty) | {"shape": (length,)}
    np.lib.format.write_array_header_1_0(content, described)
    return content.getvalue()

"""Parquet files: the text of each row, streamed in small batches of the columns that can hold it.

Memory holds a row group's pages and 256 rows of its text columns, never the decoded file. A file that is cut
short is lost whole, because Parquet keeps its directory at the end. In one that is damaged in the middle the rows
before the fault are kept, each batch being decoded (and checked, where the writer left checksums) by itself; the
fault is counted.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aura.ingestion.compression import Damaged

BATCH_ROWS = 256


def texts(stream: Any, text_keys: Sequence[str]) -> Iterator[bytes | None]:  # noqa: ANN401
    """Yield each row's text as it lies in the file (an open one that can seek), `None` for a row without one.

    Of `text_keys`, column names or dotted paths into struct columns, the first that holds a string counts. Raises
    `Damaged` if the file, or the rest of it, cannot be read or it has none of these columns.
    """
    try:
        file = pq.ParquetFile(stream, page_checksum_verification=True, pre_buffer=False)
        names = file.schema_arrow.names
        wanted = [name for name in names if any(f"{key}.".startswith(f"{name}.") for key in text_keys)]
        if not any(_is_text(_type_of(file.schema_arrow, key)) for key in text_keys):
            raise Damaged("no text column")
        for batch in file.iter_batches(BATCH_ROWS, columns=wanted, use_threads=False):
            found = [column for key in text_keys if (column := _leaf(batch, key)) is not None]
            yield from pc.coalesce(*found).to_pylist()
    except (pa.ArrowException, OSError):  # pyarrow raises either, by which part of the file is damaged
        raise Damaged("damaged Parquet") from None


def _type_of(schema: pa.Schema, key: str) -> pa.DataType | None:
    """The type of a column, or of a field inside a struct column."""
    if key in schema.names:
        return schema.field(key).type
    name, *inner = key.split(".")
    kind = schema.field(name).type if name in schema.names else None
    for part in inner:
        index = kind.get_field_index(part) if isinstance(kind, pa.StructType) else -1
        kind = kind.field(index).type if kind is not None and index >= 0 else None
    return kind


def _is_text(kind: pa.DataType | None) -> bool:
    if isinstance(kind, pa.DictionaryType):
        kind = kind.value_type
    return kind is not None and (
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _leaf(batch: pa.RecordBatch, key: str) -> Any:  # noqa: ANN401 - an array of bytes; pyarrow has no types
    """The values under `key` as bytes, because a file may claim that invalid UTF-8 is text; `None` if not text."""
    if not _is_text(_type_of(batch.schema, key)):
        return None
    if key in batch.schema.names:
        values = batch.column(key)
    else:
        name, *inner = key.split(".")
        values = pc.struct_field(batch.column(name), inner)
    if isinstance(values, pa.DictionaryArray):
        values = values.dictionary_decode()
    return values.cast(pa.large_binary())

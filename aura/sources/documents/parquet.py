"""Parquet files: the text of each row, or the row, streamed in small batches of the columns that can hold it.

Memory holds a row group's pages and some rows of its text columns, never the decoded file: columns of strings stay
dictionaries, so that a value that stands in many rows is held once. A file that is cut short is lost whole, because
Parquet keeps its directory at the end. In one that is damaged in the middle the rows before the fault are kept, each
batch being decoded (and checked, where the writer left checksums) by itself; the others are counted.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aura.sources.documents.compression import FREE_BYTES, MAX_RATIO, Damaged
from aura.sources.documents.document import Lost
from aura.sources.documents.fields import TooDeep, first_text
from aura.sources.documents.json_files import as_bytes

BATCH_ROWS, LEAST_ROWS = 256, 16
BATCH_BYTES = 256_000_000  # of a batch if every row held all that its row group does, where that allows LEAST_ROWS
DENSE = 16  # bytes of the file a row; a file with fewer holds large values in many rows, or small ones
NO_COLUMN, ENCRYPTED, DAMAGED = "no text column", "encrypted Parquet", "damaged Parquet"
SHOWN_COLUMNS = 10  # of a file without a text column
# What pyarrow raises on a damaged file, by where the damage is: errors of its own, of the system, and those that its
# Python layer meets with names that are no UTF-8, that stand twice, or types that it cannot build.
ERRORS = (pa.ArrowException, OSError, ValueError, LookupError, TypeError, ArithmeticError, RuntimeError, MemoryError)
T = TypeVar("T")


class Unreadable(Damaged):
    """The rows from here on cannot be used; the message is the reason, and `rows` says how many there are.

    `columns` names those of a file without a text column.
    """

    def __init__(self, reason: str, rows: int = 1, columns: str = "") -> None:
        super().__init__(reason)
        self.rows, self.columns = max(rows, 1), columns


def texts(
    stream: Any,  # noqa: ANN401 - an open file that can seek
    text_keys: Sequence[str],
    groups: Sequence[int] | None = None,
) -> Iterator[bytes | Lost | None]:
    """Yield each row's text as it lies in the file, or in these row groups of it, `None` for a row without one.

    A row of which only the text cannot be used is a `Lost`. Of `text_keys`, column names or dotted paths into struct
    columns, the first that holds a string counts; where none does, the first that holds a chat or a list of strings.
    Raises `Unreadable` if the file, or the rest of it, cannot be read, has none of these columns, or holds more text
    than a file of its size should.
    """
    size = stream.seek(0, 2)
    most = max(FREE_BYTES, MAX_RATIO * size)
    file = _tried(lambda: pq.ParquetFile(stream, page_checksum_verification=True, pre_buffer=False))
    total = _tried(lambda: file.metadata.num_rows)
    schema = _tried(lambda: file.schema_arrow)
    names = _tried(lambda: schema.names)
    text_keys = _with_inner(schema, names, text_keys)
    wanted = _wanted(names, text_keys)
    if total and not any(_may_hold_text(schema, names, key) for key in text_keys):
        raise Unreadable(NO_COLUMN, total, _shown(schema, names))
    group_bytes = _tried(lambda: _group_bytes(file))
    if group_bytes > most:
        raise Unreadable(_bomb(), total)
    leaves = _leaves(schema, wanted)
    if size < DENSE * total:
        file = _tried(lambda: _with_dictionaries(stream, file, leaves))
    reader = file.reader
    chosen = list(range(_tried(lambda: file.metadata.num_row_groups)) if groups is None else groups)
    at_once = max(LEAST_ROWS, min(BATCH_ROWS, BATCH_BYTES // max(group_bytes, 1)))
    rows = came = 0
    batches = (  # of one row group at a time: a fault in a later one must not take rows of an earlier one along
        batch
        for group in chosen
        for batch in reader.iter_batches(at_once, [group], column_indices=leaves, use_threads=False)
    )
    while (batch := _tried(lambda: next(batches, None), total - rows)) is not None:
        for text in _batch_texts(batch, text_keys, total - rows):
            came += len(text) if isinstance(text, bytes) else 0
            if came > most:
                raise Unreadable(_bomb(), total - rows)
            rows += 1
            yield text


def rows(stream: Any, columns: Sequence[str]) -> Iterator[dict[str, Any] | Lost]:  # noqa: ANN401 - as in `texts`
    """Yield each row as a record of these columns, of which a file need not have all; bytes of a text as `as_bytes`.

    A row of which a value cannot be used is a `Lost`. Raises `Unreadable` as `texts`.
    """
    size = stream.seek(0, 2)
    most = max(FREE_BYTES, MAX_RATIO * size)
    file = _tried(lambda: pq.ParquetFile(stream, page_checksum_verification=True, pre_buffer=False))
    total = _tried(lambda: file.metadata.num_rows)
    schema = _tried(lambda: file.schema_arrow)
    names = _tried(lambda: schema.names)
    wanted = [number for number, name in enumerate(names) if name in columns and name not in names[:number]]
    if total and not wanted:
        raise Unreadable(NO_COLUMN, total, _shown(schema, names))
    group_bytes = _tried(lambda: _group_bytes(file))
    if group_bytes > most:
        raise Unreadable(_bomb(), total)
    leaves = _leaves(schema, wanted)
    at_once = max(LEAST_ROWS, min(BATCH_ROWS, BATCH_BYTES // max(group_bytes, 1)))
    done = came = 0
    batches = (
        batch
        for group in range(_tried(lambda: file.metadata.num_row_groups))
        for batch in file.reader.iter_batches(at_once, [group], column_indices=leaves, use_threads=False)
    )
    while (batch := _tried(lambda: next(batches, None), total - done)) is not None:
        came += batch.nbytes
        if came > most:
            raise Unreadable(_bomb(), total - done)
        for row in range(len(batch)):
            try:
                yield {names[number]: _value(batch.column(place)[row]) for place, number in enumerate(wanted)}
            except ERRORS:  # the batch is decoded, so the fault is in this row alone
                yield Lost(DAMAGED)
            done += 1


def _tried(call: Callable[[], T], lost: int = 1) -> T:
    """Call pyarrow; an error of it makes the rest of the file a loss of so many rows."""
    try:
        return call()
    except ERRORS as error:
        encrypted = "crypt" in str(error).lower()
        raise Unreadable(ENCRYPTED if encrypted else DAMAGED, lost) from None


def _bomb() -> str:
    return f"decompresses to more than {MAX_RATIO} times its size and {FREE_BYTES // 10**6} MB"


def _with_inner(schema: pa.Schema, names: Sequence[str], text_keys: Sequence[str]) -> list[str]:
    """The keys, and behind them the paths of the same keys inside the structs that they lead to."""
    found, new = list(text_keys), list(text_keys)
    while new:
        kinds = {key: _type_of(schema, names, key) for key in new}
        structs = {key: kind for key, kind in kinds.items() if isinstance(kind, pa.StructType)}
        new = [
            f"{key}.{inner}" for key, kind in structs.items() for inner in text_keys if kind.get_field_index(inner) >= 0
        ]
        found += new
    return found


def _wanted(names: Sequence[str], text_keys: Sequence[str]) -> list[int]:
    """The columns that keys lead into; of those with one name the first."""
    return [
        number
        for number, name in enumerate(names)
        if name not in names[:number] and any(f"{key}.".startswith(f"{name}.") for key in text_keys)
    ]


def _leaves(schema: pa.Schema, wanted: Sequence[int]) -> list[int]:
    """The wanted columns' places among the leaf columns of the file."""
    counts = [_leaf_count(kind) for kind in schema.types]
    starts = [sum(counts[:number]) for number in wanted]
    return [leaf for number, start in zip(wanted, starts, strict=True) for leaf in range(start, start + counts[number])]


def _leaf_count(kind: pa.DataType) -> int:
    if isinstance(kind, pa.BaseExtensionType):
        return _leaf_count(kind.storage_type)
    if pa.types.is_struct(kind):
        return sum(_leaf_count(kind.field(number).type) for number in range(kind.num_fields))
    if pa.types.is_map(kind):
        return _leaf_count(kind.key_type) + _leaf_count(kind.item_type)
    return _leaf_count(kind.value_type) if _is_list(kind) else 1


def _group_bytes(file: pq.ParquetFile) -> int:
    """Bytes of the largest row group's pages in memory, as the file says.

    Only of whole groups: pyarrow ends the process where what a damaged file says of a column makes no sense.
    """
    groups = range(file.metadata.num_row_groups)
    return max((file.metadata.row_group(group).total_byte_size for group in groups), default=0)


def _with_dictionaries(stream: Any, file: pq.ParquetFile, leaves: Sequence[int]) -> pq.ParquetFile:  # noqa: ANN401
    """The file opened so that strings that stand in a dictionary are held once; this reads others half as fast."""
    found = [file.schema.column(leaf) for leaf in leaves]
    paths = [column.path for column in found if column.physical_type == "BYTE_ARRAY"]
    stream.seek(0)
    return pq.ParquetFile(stream, page_checksum_verification=True, pre_buffer=False, read_dictionary=paths)


def _is_list(kind: pa.DataType) -> bool:
    checks = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list, pa.types.is_list_view)
    return any(check(kind) for check in (*checks, pa.types.is_large_list_view))


def _type_of(schema: pa.Schema, names: Sequence[str], key: str) -> pa.DataType | None:
    """The type of a column, or of a field inside a struct column."""
    if key in names:
        return schema.types[names.index(key)]
    name, *inner = key.split(".")
    kind = schema.types[names.index(name)] if name in names else None
    for part in inner:
        index = kind.get_field_index(part) if isinstance(kind, pa.StructType) else -1
        kind = kind.field(index).type if kind is not None and index >= 0 else None
    return kind


def _is_text(kind: pa.DataType | None) -> bool:
    """Return whether values are strings, or bytes: strings without a UTF-8 mark, as old programs write them."""
    if isinstance(kind, pa.DictionaryType):
        kind = kind.value_type
    strings = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    binaries = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)
    return kind is not None and any(check(kind) for check in (*strings, *binaries))


def _may_hold_text(schema: pa.Schema, names: Sequence[str], key: str) -> bool:
    kind = _type_of(schema, names, key)
    return kind is not None and (_is_text(kind) or pa.types.is_null(kind) or _is_list(kind))


def _shown(schema: pa.Schema, names: Sequence[str]) -> str:
    """Columns with their types, some of them, for a message."""
    shown = [f"{name} ({str(kind)[:60]})" for name, kind in zip(names[:SHOWN_COLUMNS], schema.types, strict=False)]
    more = f" and {len(names) - SHOWN_COLUMNS} more" if len(names) > SHOWN_COLUMNS else ""
    return (", ".join(shown) or "none") + more


def _batch_texts(batch: pa.RecordBatch, text_keys: Sequence[str], left: int) -> Iterator[bytes | Lost | None]:
    """The text of each row, one at a time: what many rows share must not be copied for all of them at once."""
    names = _tried(lambda: batch.schema.names)
    columns = [column for key in text_keys if (column := _tried(lambda: _strings(batch, names, key), left)) is not None]  # noqa: B023
    others = [key for key in text_keys if _holds_lists(batch, names, key)]
    if len(columns) == 1 and not others and not isinstance(columns[0], pa.DictionaryArray):
        yield from _tried(columns[0].to_pylist, left)
        return
    for row in range(len(batch)):
        found = (_tried(lambda: column[row].as_py(), left - row) for column in columns)  # noqa: B023
        text = next((text for text in found if text is not None), None)
        if text is None and others:
            text = _listed(batch, names, others, row)
        yield text


def _strings(batch: pa.RecordBatch, names: Sequence[str], key: str) -> Any:  # noqa: ANN401 - an array of bytes
    """The values under `key` as bytes, because a file may claim that invalid UTF-8 is text; `None` if not text."""
    if not _is_text(_type_of(batch.schema, names, key)):
        return None
    if key in names:
        values = batch.column(names.index(key))
    else:
        name, *inner = key.split(".")
        values = pc.struct_field(batch.column(names.index(name)), inner)
    if isinstance(values, pa.DictionaryArray):
        return pa.DictionaryArray.from_arrays(values.indices, values.dictionary.cast(pa.large_binary()), safe=False)
    return values.cast(pa.large_binary())


def _holds_lists(batch: pa.RecordBatch, names: Sequence[str], key: str) -> bool:
    kind = _type_of(batch.schema, names, key)
    return kind is not None and _is_list(kind)


def _listed(batch: pa.RecordBatch, names: Sequence[str], keys: Sequence[str], row: int) -> bytes | Lost | None:
    """The text of a row whose chat or list of strings lies under one of `keys`."""
    tops = {key if key in names else key.split(".")[0] for key in keys}
    try:
        record = {name: _value(batch.column(names.index(name))[row]) for name in sorted(tops)}
        text = first_text(record, keys)
    except TooDeep as error:
        return Lost(str(error))
    except ERRORS:  # the batch is decoded, so the fault is in this row alone
        return Lost("damaged Parquet")
    return None if text is None else as_bytes(text)


def _value(found: pa.Scalar) -> Any:  # noqa: ANN401 - as Python holds it
    """A value in Python; what a file wrongly calls text keeps its bytes, as `as_bytes` undoes."""
    try:
        return found.as_py()
    except UnicodeDecodeError:
        if isinstance(found, pa.StructScalar):
            return {name: _value(inner) for name, inner in found.items()}
        if isinstance(found, pa.ListScalar):  # and those of the other kinds of lists
            return [_value(inner) for inner in found]
        if isinstance(found, pa.DictionaryScalar | pa.ExtensionScalar):
            return _value(found.value)
        return found.as_buffer().to_pybytes().decode("utf-8", "surrogateescape")

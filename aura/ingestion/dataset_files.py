"""The JSON and Parquet files of a dataset as tables of their text alone: no other column can stop the stream.

`datasets` gives a split one schema, which the files of a real dataset often break: a column is added in a later file,
or is null in one and a struct in another. So the files that it names are opened by it, and read as sources of their
kinds are: a row is a record, and its text is found in the same way.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import pyarrow as pa

from aura.errors import UserError
from aura.ingestion import parquet
from aura.ingestion.document import Lost
from aura.ingestion.fields import field, first_text
from aura.ingestion.json_files import as_bytes, json_records

RECORD_BYTES = 100_000_000  # of a JSON record; a larger one ends the stream with a message
TABLE_ROWS = 1000


def json_tables(
    text_keys: Sequence[str], title: str, files_iterables: Iterable[Iterable[str]], **_: object
) -> Iterator[Any]:
    """Yield numbered tables of the text of each record in JSON files, null where one has none."""
    for number, files in enumerate(files_iterables):
        for file in files:
            yield from _tables(_json_texts(file, text_keys, title), number)


def parquet_tables(text_keys: Sequence[str], title: str, files: Iterable[str], **_: Any) -> Iterator[Any]:  # noqa: ANN401
    """Yield numbered tables of the text of each row in Parquet files, null where one has none."""
    for number, file in enumerate(files):
        yield from _tables(_parquet_texts(file, text_keys, title), number)


def require_text(row: dict[str, Any], title: str, text_keys: Sequence[str]) -> None:
    """Raise `UserError` if a row, the first one, has none of the keys, or nothing that could be text under them."""
    present = [key for key in text_keys if key in row or field(row, key) is not None]
    if not present:
        raise no_such_column(title, text_keys, ", ".join(row))
    if first_text(row, text_keys) is None and not any(field(row, key) is None for key in present):
        kinds = ", ".join(f"{key} ({type(field(row, key)).__name__})" for key in present)
        raise UserError(f"{title}: expected text, got {kinds}. Name a column of strings, dotted where it is deeper.")


def no_such_column(title: str, text_keys: Sequence[str], columns: str) -> UserError:
    """What to say of a dataset that has other columns."""
    return UserError(
        f"{title}: expected a column {' or '.join(text_keys)}, it has {columns}. "
        "Name the one with the text, dotted where it is deeper: text_keys in params.yaml, or hf_stream --text_key."
    )


def _json_texts(file: str, text_keys: Sequence[str], title: str) -> Iterator[str | None]:
    with _opened(file) as stream:
        for number, record in enumerate(json_records(stream, RECORD_BYTES)):
            if isinstance(record, Lost):
                raise UserError(f"{title}: {file}, {record.place}: {record.reason}. Repair or remove the file.")
            value = record.value
            if number == 0 and isinstance(value, dict):
                require_text(value, title, text_keys)
            yield value if isinstance(value, str) else first_text(value, text_keys)


def _parquet_texts(file: str, text_keys: Sequence[str], title: str) -> Iterator[bytes | None]:
    with _opened(file) as stream:
        try:
            yield from parquet.texts(stream, text_keys)
        except parquet.Unreadable as error:
            if str(error).startswith(parquet.NO_COLUMN):
                raise no_such_column(title, text_keys, str(error).partition("; there are ")[2]) from None
            raise UserError(f"{title}: {file}: {error}. Repair or remove the file.") from None


def _opened(file: str) -> Any:  # noqa: ANN401 - a file, local or on the Hub, decompressed
    from datasets.utils.file_utils import xopen

    return xopen(file, "rb")


def _tables(texts: Iterator[str | bytes | None], number: int) -> Iterator[Any]:
    from datasets.builder import Key

    part = 0
    while rows := list(islice(texts, TABLE_ROWS)):
        held = [as_bytes(text) if isinstance(text, str) else text for text in rows]
        yield Key(number, part), pa.table({"text": pa.array(held, pa.large_binary()).view(pa.large_string())})
        part += 1

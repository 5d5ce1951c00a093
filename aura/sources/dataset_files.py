"""The JSON and Parquet files of a dataset as tables of their text alone: no other column can stop the stream.

`datasets` gives a split one schema, which the files of a real dataset often break: a column is added in a later file,
or is null in one and a struct in another. So the files that it names are opened by it, and read as sources of their
kinds are: a row is a record, and its text is found in the same way.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, repeat
from typing import Any

import pyarrow as pa

from aura.core.errors import UserError
from aura.core.shown_text import on_one_line
from aura.sources.documents import parquet
from aura.sources.documents.document import Lost
from aura.sources.documents.fields import TooDeep, chat, field, first_text
from aura.sources.documents.json_files import as_bytes, json_records

RECORD_BYTES = 100_000_000  # of a JSON record; a larger one ends the stream with a message
TABLE_ROWS = 1000


@dataclass
class Tables:
    """A reader of a dataset's text as tables of one column, `text`: bytes, because some of it may be no UTF-8.

    Of the first row of the stream a text is required, unless `begun`; a later one without any is null.
    """

    text_keys: Sequence[str]
    title: str
    begun: bool = False

    def of_json(self, files_iterables: Iterable[Iterable[str]], **_: object) -> Iterator[Any]:
        """Yield numbered tables of the text of each record in JSON files, null where one has none."""
        for number, files in enumerate(files_iterables):
            for file in files:
                yield from _tables(self._json_texts(file), number)

    def of_parquet(self, files: Iterable[str], **_: object) -> Iterator[Any]:
        """Yield numbered tables of the text of each row in Parquet files, null where one has none."""
        for number, file in enumerate(files):
            yield from _tables(self._parquet_texts(file), number)

    def _json_texts(self, file: str) -> Iterator[bytes | None]:
        with _opened(file) as stream:
            keys = self.text_keys
            for record in json_records(stream, RECORD_BYTES, chats="messages" in keys, text_keys=keys):
                if isinstance(record, Lost):
                    place = f"{on_one_line(file)}, {record.place}"
                    raise UserError(f"{self.title}: {place}: {record.reason}. Repair or remove the file.")
                value = record.value
                if not self.begun and isinstance(value, dict):
                    require_text(value, self.title, self.text_keys)
                self.begun = True
                text = value if isinstance(value, str) else text_of(value, self.text_keys)
                yield None if text is None else as_bytes(text)

    def _parquet_texts(self, file: str) -> Iterator[bytes | None]:
        with _opened(file) as stream:
            try:
                for text in parquet.texts(stream, self.text_keys):
                    self.begun = True
                    yield None if isinstance(text, Lost) else text
            except parquet.Unreadable as error:
                if not error.columns:
                    raise UserError(f"{self.title}: {on_one_line(file)}: {error}. Repair or remove the file.") from None
                if not self.begun:
                    raise _no_such_column(self.title, self.text_keys, error.columns) from None
                yield from repeat(None, error.rows)


def text_of(row: Any, text_keys: Sequence[str]) -> str | None:  # noqa: ANN401 - what a row becomes in Python
    """The text of a row, which may be a chat by itself; one that is nested too deeply has none."""
    try:
        return chat(row) or None if isinstance(row, list) else first_text(row, text_keys)
    except TooDeep:
        return None


def require_text(row: dict[str, Any], title: str, text_keys: Sequence[str]) -> None:
    """Raise `UserError` if a row, the first one, has none of the keys, or nothing that could be text under them."""
    present = [key for key in text_keys if key in row or field(row, key) is not None]
    if not present:
        raise _no_such_column(title, text_keys, ", ".join(row))
    if text_of(row, text_keys) is None and not any(field(row, key) is None for key in present):
        kinds = ", ".join(f"{key} ({type(field(row, key)).__name__})" for key in present)
        raise UserError(f"{title}: expected text, got {kinds}. Name a column of strings, dotted where it is deeper.")


def _no_such_column(title: str, text_keys: Sequence[str], columns: str) -> UserError:
    """Word the error of a dataset that has other columns."""
    return UserError(
        f"{title}: expected a column {' or '.join(text_keys)}, it has {columns}. "
        "Name the one with the text, dotted where it is deeper: text_keys in params.yaml, or hf_stream --text_key."
    )


def _opened(file: str) -> Any:  # noqa: ANN401 - a file, local or on the Hub, decompressed
    from datasets.utils.file_utils import xopen

    return xopen(file, "rb")


def _tables(texts: Iterator[bytes | None], number: int) -> Iterator[Any]:
    from datasets.builder import Key

    part = 0
    while rows := list(islice(texts, TABLE_ROWS)):
        yield Key(number, part), pa.table({"text": pa.array(rows, pa.large_binary())})
        part += 1

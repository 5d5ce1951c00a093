"""From a file's bytes to its documents.

A reader looks at one file and nothing else, so files can be read anywhere, in any order, and a changed file
changes only its own documents. It streams: memory holds a few blocks and one document, whatever the file's size.
It yields all that it cannot use as a `Lost` with the reason: nothing goes missing without being counted.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, assert_never

from aura.sources.documents import parquet
from aura.sources.documents.document import Item, Lost, cut
from aura.sources.documents.encodings import Decoded
from aura.sources.documents.json_files import Wanted, json_documents
from aura.sources.documents.sample import docstrings
from aura.sources.documents.txt_files import Range, txt_documents
from aura.sources.options import DatasetSource, JsonSource, ParquetSource, SampleSource, Source, TxtSource


def documents(source: Source, stream: Any, limit: int) -> Iterator[Item]:  # noqa: ANN401 - anything with `read`
    """Yield the documents of one file as UTF-8 (perhaps invalid: cleaning decides), and what was lost.

    `stream` is the file, opened and decompressed; Parquet needs one that can seek. A document of more than `limit`
    bytes is cut. A file with nothing in it is lost as "empty".
    """
    if encoding := named_encoding(source):
        stream = Decoded(stream, encoding)
    items = _items(source, stream, limit)
    yield next(items, Lost("empty"))
    yield from items


@dataclass(frozen=True)
class RowGroups:
    """A part of a Parquet file."""

    file: Any  # an open one that can seek
    groups: range
    before: int  # rows of the file before it


def documents_of_part(source: Source, part: Range | RowGroups, limit: int) -> Iterator[Item]:
    """Yield what `documents` does of a part of a file.

    Raises `parquet.Unreadable` if a Parquet file cannot be read on.
    """
    if isinstance(source, ParquetSource) and isinstance(part, RowGroups):
        yield from _parquet_documents(source, part.file, limit, part)
    else:
        yield from _items(source, part, limit)


def named_encoding(source: Source) -> str | None:
    """The encoding that a source names for its files, if it does."""
    return source.encoding if isinstance(source, (TxtSource, JsonSource)) else None


def one_document_per_file(source: Source) -> bool:
    """Return whether each of a source's files is one document, which then has the file's name."""
    return source.kind == "sample" or (source.kind == "txt" and source.documents == "file")


def _items(source: Source, stream: Any, limit: int) -> Iterator[Item]:  # noqa: ANN401 - as above
    match source:
        case SampleSource():
            yield from _sample_documents(stream.read())
        case TxtSource():
            yield from txt_documents(stream, source.documents, limit)
        case JsonSource():
            yield from json_documents(stream, Wanted(source.text_keys, limit, source.nested))
        case DatasetSource():
            yield from json_documents(stream, Wanted(["text"], limit))
        case ParquetSource():
            yield from _parquet_documents(source, stream, limit)
        case _:
            assert_never(source)


def _sample_documents(data: bytes) -> Iterator[Item]:
    if data.strip():
        text = docstrings(data)
        yield text.encode() if text else Lost("no documentation")


def _parquet_documents(
    source: ParquetSource,
    stream: Any,  # noqa: ANN401 - as above
    limit: int,
    part: RowGroups | None = None,
) -> Iterator[Item]:
    if not stream.read(1):
        return
    stream.seek(0)
    row = before = part.before if part else 0
    try:
        groups = part.groups if part else None
        for row, text in enumerate(parquet.texts(stream, source.text_keys, groups), start=before + 1):
            if text is None:
                yield Lost("no text key", f"row {row}")
            elif isinstance(text, Lost):
                yield Lost(text.reason, f"row {row}")
            else:
                yield from cut(text, limit)
    except parquet.Unreadable as error:
        if part:
            raise
        place = f"columns: {error.columns}" if error.columns else f"after row {row}"
        yield Lost(str(error), place, error.rows)

"""JSON as a stream of values, taken off wherever they end: the same records give the same documents in every layout.

JSON lines, several values on a line, indented objects, arrays (one for the whole file, or one a line), and records
behind the separator 0x1E are all streams of values; an array stands for its items, unless it is a chat. A line that is
one whole value, as nearly all are, goes to the parser as it is. Anything else goes through `Walk`, over a window of the
text that grows only while a value has not ended.

A fault loses the record that it is in. Reading goes on with the next line, or, where a record stands on several lines,
with the next line that begins as the record's first one did. A record of more than twice `max_document_bytes` is
lost, and reading goes on behind it.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from aura.extract.documents.document import Item, Lost, cut, cut_place
from aura.extract.documents.fields import TooDeep, texts
from aura.extract.documents.json_walk import Record, Walk
from aura.extract.documents.txt_files import utf8_blocks

PIECE_BYTES = 1_000_000  # a line that is longer comes in pieces


@dataclass(frozen=True)
class Wanted:
    """The keys that are sought in records, and the most bytes of a document."""

    text_keys: Sequence[str]
    limit: int
    nested: bool = False


def json_documents(stream: Any, wanted: Wanted) -> Iterator[Item]:  # noqa: ANN401 - anything with `read`
    """Yield the texts of a file's JSON values, and what was lost."""
    keys, limit = wanted.text_keys, wanted.limit
    first_key = keys[0]
    for record in json_records(stream, 2 * limit, chats="messages" in keys):
        if isinstance(record, Lost):
            yield record
            continue
        value = record.value
        text = value.get(first_key) if isinstance(value, dict) and not wanted.nested else None
        if isinstance(text, str):
            yield from cut(as_bytes(text), limit)
            continue
        found = False
        try:
            for text in texts(value, keys, nested=wanted.nested):
                found = True
                yield from cut(as_bytes(text), limit)
        except TooDeep as error:
            found = True
            yield Lost(str(error), record.place)
        if not found:
            yield Lost("no text key", record.place)


def json_records(  # a stream is anything with `read`
    stream: Any,  # noqa: ANN401
    limit: int,
    piece: int = PIECE_BYTES,
    *,
    chats: bool = False,
) -> Iterator[Record | Lost]:
    """Yield the records of a stream of JSON values, and what was lost; a record has up to `limit` bytes.

    With `chats`, an array of a chat's turns is one record; otherwise each turn is.
    """
    decode = json.JSONDecoder().decode
    lines = _lines(utf8_blocks(stream), piece)
    number = 0
    for line in lines:
        if isinstance(line, Lost):
            yield line
            return
        number += 1
        value: Any = None
        whole = len(line) <= limit and line.endswith(_ENDS)
        try:
            value = decode(line.decode()) if whole else None
        except (ValueError, RecursionError):
            whole = False
        if whole and not isinstance(value, list):
            yield Record(value, "line", number)
        elif line.strip() or not line.endswith(_ENDS):  # white space may be the first piece of a long line
            walk = Walk(line, number, lines, limit, chats=chats)
            yield from walk.records()
            number = walk.line - 1


_ENDS = (b"\n", b"\r")


def _lines(blocks: Iterator[Item], piece: int) -> Iterator[Item]:
    """Lines with their ends; a line of more than `piece` bytes comes in pieces, of which only the last has an end."""
    waiting = b""
    for block in blocks:
        if isinstance(block, Lost):
            if waiting:
                yield waiting
            yield block
            return
        whole = (waiting + block).splitlines(keepends=True)
        waiting = whole.pop() if whole else b""
        for line in whole:
            if len(line) <= piece:
                yield line
            else:
                yield from _cut(line, piece)
        if len(waiting) > piece:
            *parts, waiting = _cut(waiting, piece)
            yield from parts
    if waiting:
        yield waiting


def _cut(line: bytes, piece: int) -> Iterator[bytes]:
    start = 0
    while len(line) - start > piece:
        end = cut_place(line, start, piece)
        end -= line[end - 1 :] == b"\r\n"  # one line end is not two
        yield line[start:end]
        start = end
    yield line[start:]


def as_bytes(text: str) -> bytes:
    """UTF-8; what was no UTF-8 becomes what it was, and a lone surrogate (legal JSON, no text) invalid UTF-8."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")

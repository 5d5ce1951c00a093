"""JSON as a stream of values, taken off wherever they end: the same records give the same documents in every layout.

JSON lines, several values on a line, indented objects, arrays (one for the whole file, or one a line), and records
behind the separator 0x1E are all streams of values; an array stands for its items, unless it is a chat. A line that is
one whole value, as nearly all are, goes to the parser as it is. Anything else goes through `Walk`, over a window of the
text that grows only while a value has not ended.

Python's json says what is JSON and what it means, but for its depth (`json_values`). orjson reads a line in half the
time, but rounds integers above 64 bits and refuses NaN and lone surrogates. So it reads lines whose text is a string,
and json whatever orjson refuses.

A fault loses the record that it is in. Reading goes on with the next line, or, where a record stands on several lines,
with the next line that begins as the record's first one did. A record of more than twice `max_document_bytes` is
lost, and reading goes on behind it.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from aura.sources.documents import json_values
from aura.sources.documents.document import Item, Lost, cut, cut_place
from aura.sources.documents.fields import TooDeep, field, texts
from aura.sources.documents.json_walk import Record, Walk
from aura.sources.documents.txt_files import Range, utf8_blocks

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
    quick = () if wanted.nested else keys
    for record in json_records(stream, 2 * limit, chats="messages" in keys, text_keys=quick):
        if isinstance(record, Lost):
            yield record
            continue
        value = record.value
        text = value.get(first_key) if isinstance(value, dict) and not wanted.nested else None
        if isinstance(text, str):
            document = as_bytes(text)
            if len(document) <= limit:
                yield document
            else:
                yield from cut(document, limit)
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
    text_keys: Sequence[str] = (),
) -> Iterator[Record | Lost]:
    """Yield the records of a stream of JSON values, and what was lost; a record has up to `limit` bytes.

    With `chats`, an array of a chat's turns is one record; otherwise each turn is. Of a record that has a string under
    one of `text_keys`, the caller uses the first such string alone: large integers in it may be rounded.
    """
    lines = _lines(utf8_blocks(stream), piece)
    number = stream.line if isinstance(stream, Range) else 0
    for line in lines:
        if isinstance(line, Lost):
            yield line
            return
        number += 1
        value: Any = None
        whole = len(line) <= limit and line.endswith(_ENDS)
        if whole and text_keys and (quickly := _with_text(line, text_keys)):
            yield Record(quickly, "line", number)
            continue
        try:
            value = json_values.decode(line.decode()) if whole else None
        except (ValueError, RecursionError):
            whole = False
        if whole and not isinstance(value, list):
            yield Record(value, "line", number)
        elif line.strip() or not line.endswith(_ENDS):  # white space may be the first piece of a long line
            walk = Walk(line, number, lines, limit, chats=chats)
            yield from walk.records()
            number = walk.line - 1
            if isinstance(stream, Range):
                stream.ends_inside = walk.ended  # with the lines behind the range it may have read on


_ENDS = (b"\n", b"\r")
_NESTED = {dict, list}  # types of orjson's values that hold others


def is_whole_object(line: bytes) -> bool:
    """Return whether a line is one object of JSON."""
    try:
        return isinstance(json_values.decode(line.decode(json.detect_encoding(line), "surrogatepass")), dict)
    except (ValueError, RecursionError):
        return False


def _with_text(line: bytes, text_keys: Sequence[str]) -> dict[str, Any] | None:
    """The object of a line, if it surely is one for json, too, and has a string under one of the keys."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(value, dict):
        return None
    if not _NESTED.isdisjoint(map(type, value.values())):
        if line.count(b"[") + line.count(b"{") > json_values.DEEPEST:
            return None
    elif isinstance(value.get(text_keys[0]), str):  # as nearly all
        return value
    return value if any(isinstance(field(value, key), str) for key in text_keys) else None


def _lines(blocks: Iterator[Item], piece: int) -> Iterator[Item]:
    """Lines with their ends; a line of more than `piece` bytes comes in pieces, of which only the last has an end."""
    waiting = b""
    for block in blocks:
        if isinstance(block, Lost):
            if waiting:
                yield waiting
            yield block
            return
        whole = block.splitlines(keepends=True)
        if waiting.endswith(b"\n") or (waiting.endswith(b"\r") and not block.startswith(b"\n")) or not whole:
            whole.insert(0, waiting)
        else:
            whole[0] = waiting + whole[0]
        waiting = whole.pop()
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

"""JSON and JSON lines as streams: record by record, in the memory of one record.

A top-level array is taken apart with Python's own parser over a sliding window, so a file has one meaning whatever
its size. (`ijson` would do it too, but reads lone surrogates, NaN and depth
differently from the parser that small files go through.) What cannot be taken apart, a single object, must fit into
memory: a record of more than twice `max_document_bytes` is lost, and counted.
"""

import codecs
import json
from collections.abc import Iterator, Sequence
from typing import Any

from aura.ingestion.document import Item, Lost, cut
from aura.ingestion.fields import first_text
from aura.ingestion.txt_files import parts, split_lines, utf8_blocks

_SPACE = " \t\n\r"
_Value = Any  # any JSON value


def jsonl_documents(stream: Any, text_keys: Sequence[str], limit: int) -> Iterator[Item]:  # noqa: ANN401
    """Yield the texts of a file with a JSON value on every line; a malformed line loses that line alone."""
    for number, line in enumerate(_lines(stream, 2 * limit), start=1):
        place = f"line {number}"
        if isinstance(line, Lost):
            yield Lost(line.reason, place)
        elif line.strip():
            yield from _parsed(line, text_keys, limit, place)


def json_documents(stream: Any, text_keys: Sequence[str], limit: int) -> Iterator[Item]:  # noqa: ANN401
    """Yield the texts of a file that is one JSON value; items of an array before a fault in it are kept."""
    blocks = utf8_blocks(stream)
    held, size = [], 0
    for block in blocks:
        if isinstance(block, Lost):
            yield block
            return
        held.append(block)
        size += len(block)
        if size > 2 * limit:
            break
    start = b"".join(held)
    is_array = start.lstrip()[:1] == b"["
    if size > 2 * limit and not is_array:
        yield _too_large(2 * limit)
    elif size > 2 * limit:
        yield from _array_documents(_chained(start, blocks), text_keys, limit)
    elif start.strip():
        try:
            yield from _texts_of(json.loads(start), text_keys, limit, "")
        except RecursionError:
            yield Lost("JSON nested too deeply")
        except ValueError as error:  # a JSONDecodeError, no UTF-8, or a number of more digits than Python reads
            if is_array:
                yield from _array_documents(iter([start]), text_keys, limit)
            else:
                yield _malformed(error, "")


def _parsed(record: bytes, text_keys: Sequence[str], limit: int, place: str) -> Iterator[Item]:
    try:
        value = json.loads(record)
    except RecursionError:
        yield Lost("JSON nested too deeply", place)
    except ValueError as error:
        yield _malformed(error, place)
    else:
        yield from _texts_of(value, text_keys, limit, place)


def _malformed(error: ValueError, place: str) -> Lost:
    return Lost("invalid UTF-8" if isinstance(error, UnicodeDecodeError) else "malformed JSON", place)


def _too_large(size: int, place: str = "") -> Lost:
    return Lost(f"JSON record of more than {size:,} bytes", place)


def _chained(start: bytes, blocks: Iterator[Item]) -> Iterator[Item]:
    yield start
    yield from blocks


def _lines(stream: Any, limit: int) -> Iterator[Item]:  # noqa: ANN401 - as in utf8_blocks
    """Every line, empty ones too; one of more than `limit` bytes is lost without being held."""
    skipping = False
    for part in parts(stream, split_lines, limit):
        if isinstance(part, Lost):
            yield part
        elif not part.ends:
            skipping = True
        else:
            yield _too_large(limit) if skipping or len(part.data) > limit else part.data
            skipping = False


def _array_documents(blocks: Iterator[Item], text_keys: Sequence[str], limit: int) -> Iterator[Item]:
    """The texts of every item of a top-level array, up to the first fault in it."""
    for number, value in enumerate(_array_items(_decoded(blocks), 2 * limit), start=1):
        if isinstance(value, Lost):
            yield Lost(value.reason, f"item {number}")
        else:
            yield from _texts_of_item(value, text_keys, limit, f"item {number}")


def _decoded(blocks: Iterator[Item]) -> Iterator[str | Lost]:
    """Blocks of UTF-8 as text; bytes that are none are smuggled through, to be counted in their own document."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    for block in blocks:
        yield block if isinstance(block, Lost) else decoder.decode(block)
    yield decoder.decode(b"", final=True)


def _array_items(blocks: Iterator[str | Lost], limit: int) -> Iterator[_Value]:
    """Yield the items of an array, or a `Lost` where it cannot be read on; the text begins with `[` and spaces."""
    decode = json.JSONDecoder().raw_decode
    text, at = "", 0
    for block in blocks:
        if isinstance(block, Lost):
            yield block
            return
        text, at = (text[at:] + block).lstrip(_SPACE), 0
        while True:  # each turn gives one item out of the window, with the bracket or comma before it
            begin = _skip(text, at + 1)
            if text[begin : begin + 1] == "]" and text[at] == "[":
                yield from _after_array(text[begin + 1 :], blocks)
                return
            try:
                value, end = decode(text, begin)
            except RecursionError:
                yield Lost("JSON nested too deeply")
                return
            except ValueError as error:
                if _is_fault(error, text):
                    yield Lost("malformed JSON")
                    return
                break
            end = _skip(text, end)
            mark = text[end : end + 1]
            if not mark:
                break
            yield value
            if mark == "]":
                yield from _after_array(text[end + 1 :], blocks)
                return
            if mark != ",":
                yield Lost("malformed JSON")
                return
            at = end
        if len(text) - at > limit:
            yield _too_large(limit)
            return
    yield Lost("malformed JSON")


def _is_fault(error: ValueError, text: str) -> bool:
    """Whether a value is malformed, and not only cut by the end of the window; a literal has up to 9 characters."""
    if not isinstance(error, json.JSONDecodeError):
        return True  # a number of more digits than Python reads
    return error.pos < len(text) - 12 and not error.msg.startswith("Unterminated")


def _after_array(rest: str, blocks: Iterator[str | Lost]) -> Iterator[Lost]:
    """Nothing but white space may follow an array."""
    while not rest.strip(_SPACE):
        following = next(blocks, None)
        if following is None:
            return
        if isinstance(following, Lost):
            yield following
            return
        rest = following
    yield Lost("malformed JSON")


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] in _SPACE and at < len(text):
        at += 1
    return at


def _texts_of(value: _Value, keys: Sequence[str], limit: int, place: str) -> Iterator[Item]:
    """The texts of a value; each item of an array is looked at by itself."""
    if not isinstance(value, list):
        yield from _texts_of_item(value, keys, limit, place)
        return
    for number, item in enumerate(value, start=1):
        yield from _texts_of_item(item, keys, limit, ", ".join(filter(None, (place, f"item {number}"))))


def _texts_of_item(value: _Value, keys: Sequence[str], limit: int, place: str) -> Iterator[Item]:
    """The texts of a value that is no list of records, cut where they are too long; none at all is a loss."""
    found = False
    for text in _texts(value, keys):
        found = True
        yield from cut(_as_bytes(text), limit)
    if not found:
        yield Lost("no text key", place)


def _texts(value: _Value, keys: Sequence[str]) -> Iterator[str]:
    """The text of every object in a JSON value, however nested; and of a bare string."""
    if isinstance(value, str):
        yield value
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            text = first_text(value, keys)
            if text is not None:
                yield text
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        waiting.extend(reversed([child for child in inner if isinstance(child, dict | list)]))


def _as_bytes(text: str) -> bytes:
    """UTF-8; what was no UTF-8 becomes what it was, and a lone surrogate (legal JSON, no text) invalid UTF-8."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")

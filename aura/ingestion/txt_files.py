"""Text files as streams: a file of any size, in the memory of a few blocks and of one document."""

import codecs
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from aura.ingestion.document import Continued, Item, Lost, cut, cut_place

BLOCK_BYTES = 4_000_000
_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
BLANK_LINES = re.compile(rb"(?:\r?\n[ \t]*){2,}")


def txt_documents(stream: Any, how: Literal["file", "blank_line", "line"], limit: int) -> Iterator[Item]:  # noqa: ANN401
    """Yield the documents of a text file; one of more than `limit` bytes is cut. White space alone is no document."""
    kind = bytes
    for part in parts(stream, _SPLIT[how], limit):
        if isinstance(part, Lost):
            yield part
        elif not part.ends:
            yield kind(part.data)
            kind = Continued
        else:
            if part.data.strip():
                yield from cut(part.data, limit, kind)
            kind = bytes


def whole_file(data: bytes, limit: int) -> Item | None:
    """What `txt_documents` gives of a file that is one document, where that takes no decoding and no cut; else None."""
    if len(data) > limit or data.startswith(_MARKS):
        return None
    return data if data and not data.isspace() else Lost("empty")


@dataclass(frozen=True)
class Part:
    """A part of a file, or a piece of one that is too long to be held, and whether the part ends with it."""

    data: bytes
    ends: bool


def parts(stream: Any, split: Callable[[bytes], list[bytes]], limit: int) -> Iterator[Part | Lost]:  # noqa: ANN401
    """Yield the parts that `split` takes a file into; one that goes on for more than `limit` bytes comes in pieces."""
    waiting = b""
    for block in utf8_blocks(stream):
        if isinstance(block, Lost):
            yield block
            return
        *whole, waiting = split(waiting + block)
        for part in whole:
            yield Part(part, ends=True)
        while len(waiting) > limit:
            end = cut_place(waiting, 0, limit)
            yield Part(waiting[:end], ends=False)
            waiting = waiting[end:]
    yield Part(waiting, ends=True)


def utf8_blocks(stream: Any) -> Iterator[Item]:  # noqa: ANN401 - anything with `read`; pyarrow has no types
    """Yield a file's bytes as UTF-8 without byte-order mark; UTF-16, told by its mark, is turned into it."""
    block = read_block(stream)
    if not block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        block = block.removeprefix(codecs.BOM_UTF8)
        while block:
            yield block
            block = read_block(stream)
        return
    decoder = codecs.getincrementaldecoder("utf-16")()
    try:
        while block:
            yield decoder.decode(block).encode()
            block = read_block(stream)
        yield decoder.decode(b"", final=True).encode()
    except UnicodeDecodeError:
        yield Lost("invalid UTF-16")


def read_block(stream: Any) -> bytes:  # noqa: ANN401 - as in utf8_blocks
    """The next `BLOCK_BYTES`, or what is left of the file: where blocks end must not depend on how it is stored."""
    block: bytes = stream.read(BLOCK_BYTES)
    while 0 < len(block) < BLOCK_BYTES and (more := stream.read(BLOCK_BYTES - len(block))):
        block += more
    return block


def split_lines(data: bytes) -> list[bytes]:
    r"""Lines without their ends, `\n` or `\r\n` alone; the last is the one that has not ended yet, perhaps empty."""
    *whole, rest = data.split(b"\n")
    return [*([line.removesuffix(b"\r") for line in whole] if b"\r" in data else whole), rest]


_SPLIT: dict[str, Callable[[bytes], list[bytes]]] = {
    "file": lambda data: [data],
    "blank_line": BLANK_LINES.split,
    "line": split_lines,
}

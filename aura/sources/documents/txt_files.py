"""Text files as streams: a file of any size, in the memory of a few blocks and of one document."""

import codecs
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from aura.sources.documents.document import Continued, Item, Lost, cut, cut_place
from aura.sources.documents.encodings import BLOCK_BYTES, MARKS, Decoded, encoding_of

_MARKS = tuple(MARKS)
# Every line break of Unicode as UTF-8, and the four separators of ASCII, which cleaning makes line breaks, too.
_BREAK = rb"(?:\r\n?|[\n\x0b\x0c\x1c-\x1f]|\xc2\x85|\xe2\x80[\xa8\xa9])"
_SPACE = rb"(?:[ \t]|\xc2\xa0|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xaf]|\xe2\x81\x9f|\xe3\x80\x80)"
_FIRST = rb"(?=[\n\r\x0b\x0c\x1c-\x1f\xc2\xe2])"  # what a break begins with: most of a text is passed over quickly
_LINE_END = re.compile(rb"\r\n?|\n")
_BLANK_LINES = re.compile(_FIRST + _BREAK + _SPACE + rb"*+(?:" + _BREAK + _SPACE + rb"*+)++")
_WHITE = re.compile(rb"(?:" + _BREAK + rb"|" + _SPACE + rb")*+")
_UNDECIDED = 3  # bytes before the end of a block that may be the start of a break or space, or of its second half


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
            data = part.data.removeprefix(b"\n\n") if how == "blank_line" else part.data
            if not _is_white(data):
                yield from cut(data, limit, kind)
            kind = bytes


def whole_file(data: bytes, limit: int) -> Item | None:
    """Return the document of a file that is one document and needs no decoding and no cut; None of any other file."""
    if len(data) > min(limit, BLOCK_BYTES) or data.startswith(_MARKS) or b"\0" in data:
        return None
    return Lost("empty") if _is_white(data) else data


@dataclass
class Range:
    """Bytes of a file without a mark that is UTF-8 for sure, from the start of a line to the end of one."""

    stream: Any
    left: int
    line: int = 0  # lines of the file before it
    ends_inside: bool = False  # set by a reader that has not done with a record at its end

    def read(self, size: int) -> bytes:
        """Read up to so many bytes; empty at the end."""
        data: bytes = self.stream.read(min(size, self.left))
        self.left -= len(data)
        return data


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
    """Yield a file's bytes as UTF-8 without byte-order mark; UTF-16 and UTF-32 are turned into it.

    A file whose first block speaks against every encoding that is read, is lost as a whole.
    """
    block = read_block(stream)
    if isinstance(stream, Range):
        while block:
            yield block
            block = read_block(stream)
        return
    encoding = "utf-8" if isinstance(stream, Decoded) else encoding_of(block)
    if isinstance(encoding, Lost):
        yield encoding
        return
    if encoding == "utf-8":
        block = block.removeprefix(codecs.BOM_UTF8)
        while block:
            yield block
            block = read_block(stream)
        return
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        while block:
            yield decoder.decode(block).encode()
            block = read_block(stream)
        yield decoder.decode(b"", final=True).encode()
    except UnicodeDecodeError:
        yield Lost(f"invalid UTF-{encoding[4:6]}")


def read_block(stream: Any) -> bytes:  # noqa: ANN401 - as in utf8_blocks
    """The next `BLOCK_BYTES`, or what is left of the file: where blocks end must not depend on how it is stored."""
    block: bytes = stream.read(BLOCK_BYTES)
    if not 0 < len(block) < BLOCK_BYTES:
        return block
    pieces, missing = [block], BLOCK_BYTES - len(block)
    while missing and (more := stream.read(missing)):
        pieces.append(more)
        missing -= len(more)
    return b"".join(pieces)


def _split_text_lines(data: bytes) -> list[bytes]:
    r"""Lines of text, which end at `\n`, `\r\n` or, as in files of old systems, `\r`; the last has not ended yet.

    The other line breaks of Unicode stand inside of a line, as everywhere where data is read by lines.
    """
    return _LINE_END.split(data) if b"\r" in data else data.split(b"\n")


def _split_paragraphs(data: bytes) -> list[bytes]:
    """Yield the text between blank lines; the last has not ended yet, and begins with them if they may still go on."""
    found, start = [], 0
    for blank in _BLANK_LINES.finditer(data):
        found.append(data[start : blank.start()])
        start = blank.end()
        if start > len(data) - _UNDECIDED:
            return [*found, b"\n\n" + data[start:]]
    return [*found, data[start:]]


def _is_white(data: bytes) -> bool:
    if b" " < data[:1] < b"\x80":  # most texts begin so
        return False
    return not data or data.isspace() or (white.end() == len(data) if (white := _WHITE.match(data)) else False)


_SPLIT: dict[str, Callable[[bytes], list[bytes]]] = {
    "file": lambda data: [data],
    "blank_line": _split_paragraphs,
    "line": _split_text_lines,
}

"""Encodings of text: told by evidence (marks, NULs, escape sequences, control characters), or named by the source.

Text is UTF-8 unless something speaks against it. Text that is none of this, and would pass as ASCII, is lost with a
reason that names what it is: a corpus must not fill with escape sequences and the strings of binary files. Evidence is
sought in the first block of a file, and again in each document.
"""

import codecs
import re
from collections import Counter
from typing import Any

from aura.core import unicode
from aura.sources.documents.document import Lost

BLOCK_BYTES = 4_000_000
# UTF-32 first: its little-endian mark begins with that of UTF-16.
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
INVALID = "\udcff".encode("utf-8", "surrogatepass")  # stands in UTF-8 for bytes that a named encoding does not have
_ERRORS = "aura.invalid"
_SAMPLE = 1 << 16  # bytes in which the pattern of UTF-16 and UTF-32 is sought

# What `file` takes for data: neither white space nor what terminals and printers obey (bell, backspace, escape).
_NO_TEXT = bytes([*range(7), *range(0x0E, 0x1B), 0x7F])
_NO_TEXT_RUN = re.compile(rb"([\x00-\x06\x0e-\x1a\x7f])\1*+")
_STRAY, _DENSE = 3, 50  # so many runs are dirt in any text; above, one in so many bytes makes a file binary
_TAR = slice(257, 262)

_ISO_2022 = re.compile(rb"\x1b\$(?:[@AB]|([()*+])[ -/]?([@-~]))")
_HZ = re.compile(rb"~\{(?:[\x21-\x57][\x21-\x7e])+~\}")
_NOT_ASCII = re.compile("[^\\x00-\\x7f]")
_UTF7_START = re.compile(rb"\+(?:-|[A-Za-z0-9+/]{3})")
# Of 65,536 UTF-16 units, those of these scripts are so few (in bits) that chance does not give them.
_SCRIPT_BITS = ((0xA0, 0x17F, 8), (0x370, 0x5FF, 8), (0x600, 0x6FF, 8), (0x900, 0x1FFF, 4), (0x2010, 0x22FF, 6),
                (0x3000, 0x30FF, 8), (0x4E00, 0x9FFF, 1.6), (0xAC00, 0xD7A3, 2.5), (0xFF00, 0xFFEF, 8),
                (0x10000, 0x10FFFF, 10))  # fmt: skip
_CERTAIN = 8  # bits


def encoding_of(start: bytes) -> str | Lost:
    """The codec of a text that begins with `start` (all of a short one), or why it is no text that can be read."""
    for mark, codec in MARKS.items():
        if start.startswith(mark):
            return codec
    if b"\0" in start and (codec := _wide(start)):
        return codec
    return evidence(start) or "utf-8"


def evidence(text: bytes, encoding: str | None = None) -> Lost | None:
    """Why bytes without a mark are no UTF-8 text, though they may pass as it; `encoding` is what a source names."""
    return seven_bit(text, encoding) or (Lost("binary") if is_binary(text) else None)


def seven_bit(text: bytes, encoding: str | None = None) -> Lost | None:
    """The loss of a text in an encoding whose bytes stay below 0x80, told by its escape sequences."""
    return Lost(f"{name}, not UTF-8") if encoding is None and (name := _seven_bit(text)) else None


def is_binary(data: bytes) -> bool:
    """Return whether control characters, a run of the same one counted once, are more than stray dirt in a text."""
    if len(data.translate(None, _NO_TEXT)) == len(data):
        return False
    if data[_TAR] == b"ustar":
        return True
    runs = sum(1 for _ in _NO_TEXT_RUN.finditer(data))
    return runs > _STRAY and runs * _DENSE > len(data)


def _wide(start: bytes) -> str:
    """UTF-16 or UTF-32 without a mark, told by where the NULs and the frequent bytes stand; empty if it is neither."""
    even, odd = _concentration(start[:_SAMPLE:2]), _concentration(start[1:_SAMPLE:2])
    if _is_utf8(start) and not is_binary(start) and not _has_one_row(start, even, odd):
        return ""
    sample = start[:_SAMPLE]
    sample = sample[: len(sample) // 4 * 4] if len(sample) > 3 else sample
    for codec in ("utf-32-le", "utf-32-be"):
        if len(start) % 4 == 0 and _reads_as_text(sample, codec):
            return codec
    # Texts use few of the 256 rows of Unicode, but most places in a row: the high byte repeats more than the low one.
    if odd > 2 * even and _reads_as_text(sample, "utf-16-le"):
        return "utf-16-le"
    if even > 2 * odd and _reads_as_text(sample, "utf-16-be"):
        return "utf-16-be"
    return ""


def _has_one_row(start: bytes, even: float, odd: float) -> bool:
    """Return whether every second byte of a text that passes as UTF-8, but for a NUL, numbers one row of Unicode."""
    row, _ = Counter(start[int(odd > even) : _SAMPLE : 2]).most_common(1)[0]
    return max(even, odd) > 4 * min(even, odd) and (row < ord(" ") or row == ord("0"))


def _is_utf8(start: bytes) -> bool:
    try:
        start.decode()
    except UnicodeDecodeError as error:
        return error.start > len(start) - 4 and error.reason == "unexpected end of data"
    return True


def _concentration(column: bytes) -> float:
    """Return the probability that two bytes of a column are the same."""
    return sum(count * count for count in Counter(column).values()) / max(len(column), 1) ** 2


def _reads_as_text(sample: bytes, codec: str) -> bool:
    try:
        text = codecs.getincrementaldecoder(codec)().decode(sample)
    except UnicodeDecodeError:
        return False
    strange = sum(count for char, count in Counter(text).items() if _is_strange(char))
    return bool(text) and strange * _DENSE <= len(text)


def _is_strange(char: str) -> bool:
    category = unicode.category(char)
    return (category in ("Cc", "Co", "Cs") and not char.isspace()) or (category == "Cn" and char < "\U00010000")


def _seven_bit(text: bytes) -> str:
    if b"\x1b" in text and (found := _ISO_2022.search(text)):
        place, final = found.groups()
        return "ISO-2022-KR" if final == b"C" else "ISO-2022-CN" if place and final in b"AEGH" else "ISO-2022-JP"
    if b"~" in text and b"~{" in text and text.isascii() and _HZ.search(text) and _decodes(text, "hz"):
        return "HZ"
    plus = text.find(b"+")
    if plus >= 0 and _UTF7_START.match(text, plus) and text.isascii() and _is_utf7(text):
        return "UTF-7"
    return ""


def _decodes(text: bytes, codec: str) -> str:
    try:
        return text.decode(codec)
    except UnicodeDecodeError as error:  # the last block may end within a sequence
        return text[: error.start].decode(codec) if error.end >= len(text) >= BLOCK_BYTES else ""


def _is_utf7(text: bytes) -> bool:
    """Return whether each `+` begins a valid sequence, and together they give characters that chance would not give."""
    bits = 0.0
    for char, count in Counter(_NOT_ASCII.findall(_decodes(text, "utf-7"))).items():
        if unicode.category(char) in ("Cc", "Cn", "Co", "Cs"):
            return False
        bits += count * next((bits for first, last, bits in _SCRIPT_BITS if first <= ord(char) <= last), 0)
    return bits >= _CERTAIN


class Decoded:
    """A stream in a named encoding, read as UTF-8; what the encoding does not have becomes `INVALID`.

    A file that begins with a Unicode mark is read by its mark. Memory holds one block.
    """

    def __init__(self, stream: Any, encoding: str) -> None:  # noqa: ANN401 - anything with `read`
        self._stream, self._encoding = stream, encoding
        self._decoder: codecs.IncrementalDecoder | None = None
        self._ended = False

    def read(self, size: int = BLOCK_BYTES) -> bytes:
        """The text of about the next `size` bytes, at least one byte of it; empty at the end."""
        text = b""
        while not text and not self._ended:
            block: bytes = self._stream.read(size)
            self._ended = not block
            start = self._decoder is None
            if self._decoder is None:
                while len(block) < len(codecs.BOM_UTF32_LE) and (more := self._stream.read(size)):
                    block += more
                self._decoder = codecs.getincrementaldecoder(self._codec(block))(_ERRORS)
            decoded = self._decoder.decode(block, final=self._ended)
            text = decoded.removeprefix("\ufeff" if start else "").encode("utf-8", "surrogatepass")
        return text

    def _codec(self, start: bytes) -> str:
        """The codec of a file that begins so: in UTF-16, a mark and a NUL are no mark of UTF-32."""
        found = [codec for mark, codec in MARKS.items() if start.startswith(mark)]
        named = codecs.lookup(self._encoding).name
        return named if named in found or not found else found[0]


def _mark_invalid(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return INVALID.decode("utf-8", "surrogatepass"), error.end


codecs.register_error(_ERRORS, _mark_invalid)

"""Cleaning: from a document's raw bytes to its text, by rules that look at that document alone."""

import re
from typing import Literal

from aura.ingestion.document import Lost
from aura.ingestion.encodings import INVALID, evidence, seven_bit

# White space that is no tab, newline or carriage return: each becomes a newline, so that it never glues two words.
_ASCII_BREAKS = bytes.maketrans(b"\x0b\x0c\x1c\x1d\x1e\x1f", b"\n" * 6)
_BREAK = re.compile("[\x0b\x0c\x1c-\x1f\x85\u2028\u2029]")
# The other control characters carry no text and upset many tools. More than a few are evidence (`encodings`).
_ASCII_CONTROL = bytes([*range(0x09), *range(0x0E, 0x1C), 0x7F])
_CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")
_UNUSUAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
# What is meant for a terminal or a printer: colours, window titles, and a character struck over the one before.
_FORMATTING = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)|[\x20-\x7e]\x08(?=.)")


def clean(
    raw: bytes, invalid_text: Literal["drop", "replace"], min_chars: int, encoding: str | None = None
) -> bytes | Lost:
    """A document as UTF-8 without control characters and outer white space; or why it is dropped.

    `encoding` is the one that its source names, if any; the document itself has been turned into UTF-8.
    """
    if raw.isascii():  # most text is, and then bytes are characters
        text = raw.translate(_ASCII_BREAKS, _ASCII_CONTROL)
        is_clean = len(text) == len(raw)
        if found := seven_bit(raw, encoding) if is_clean else evidence(raw, encoding):
            return found
        if not is_clean and (b"\x1b" in raw or b"\x08" in raw):
            text = _FORMATTING.sub(b"", raw).translate(_ASCII_BREAKS, _ASCII_CONTROL)
        text = text.strip()
        return _long_enough(text, len(text), min_chars)
    if encoding and invalid_text == "replace":
        raw = raw.replace(INVALID, "\ufffd".encode())
    try:
        decoded = raw.decode("utf-8", errors="strict" if invalid_text == "drop" else "replace")
    except UnicodeDecodeError as error:
        return evidence(raw, encoding) or Lost(f"invalid {encoding or 'UTF-8'}", f"byte {error.start} of its text")
    if _UNUSUAL.search(decoded):
        if found := evidence(raw, encoding):
            return found
        if "\x1b" in decoded or "\x08" in decoded:
            decoded = _FORMATTING.sub(b"", raw).decode("utf-8", errors="replace")
        decoded = _CONTROL.sub("", _BREAK.sub("\n", decoded))
    elif "\u2028" in decoded or "\u2029" in decoded:  # ten times as fast as to look for them with the others
        decoded = _BREAK.sub("\n", decoded)
    decoded = decoded.strip()
    return _long_enough(decoded.encode(), len(decoded), min_chars)


def _long_enough(text: bytes, chars: int, min_chars: int) -> bytes | Lost:
    if not text:
        return Lost("empty")
    return text if chars >= min_chars else Lost("too short")

"""Cleaning: from a document's raw bytes to its text, by rules that look at that document alone."""

import re
from typing import Literal

from aura.ingestion.document import Lost

# Control characters other than tab, newline and carriage return; they carry no text and upset many tools.
_ASCII_CONTROL = bytes([*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F])
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]")


def clean(raw: bytes, invalid_text: Literal["drop", "replace"], min_chars: int) -> bytes | Lost:
    """A document as UTF-8 without control characters and outer white space; or why it is dropped."""
    if raw.isascii():  # most text is, and then bytes are characters
        text = raw.translate(None, _ASCII_CONTROL).strip()
        return _long_enough(text, len(text), min_chars)
    try:
        decoded = raw.decode("utf-8", errors="strict" if invalid_text == "drop" else "replace")
    except UnicodeDecodeError as error:
        return Lost("invalid UTF-8", f"byte {error.start} of its text")
    decoded = _CONTROL.sub("", decoded).strip()
    return _long_enough(decoded.encode(), len(decoded), min_chars)


def _long_enough(text: bytes, chars: int, min_chars: int) -> bytes | Lost:
    if not text:
        return Lost("empty")
    return text if chars >= min_chars else Lost("too short")

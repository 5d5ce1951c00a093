"""Cleaning: from a document's raw bytes to its text, by rules that look at that document alone."""

import re
from typing import Literal

from aura.ingestion.document import Lost

# Control characters other than tab, newline and carriage return; they carry no text and upset many tools.
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]")


def clean(raw: bytes, invalid_text: Literal["drop", "replace"], min_chars: int) -> str | Lost:
    """Decode a document, remove control characters and outer white space; or say why it is dropped."""
    try:
        text = raw.decode("utf-8", errors="strict" if invalid_text == "drop" else "replace")
    except UnicodeDecodeError as error:
        return Lost("invalid UTF-8", f"byte {error.start} of its text")
    text = CONTROL.sub("", text).strip()
    if not text:
        return Lost("empty")
    return text if len(text) >= min_chars else Lost("too short")

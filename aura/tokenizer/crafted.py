"""Bounds on tokenizer files that somebody else wrote, checked before a library in C++ or Rust sees the file.

A crafted file may name an id of 2^31, a rule that doubles a text forty times, or a table with wrong lengths. Libraries
then fill the memory or abort the process, which nothing in Python can catch. Each bound is far above any real file.
"""

import base64
import binascii
import math
from collections.abc import Iterable, Iterator
from typing import Any

from aura.core.errors import UserError

MOST_IDS = 2_000_000  # the largest vocabulary in use has 901,629
MOST_HOLES = 100_000  # ids without a piece, or of special tokens before all others; tekken has 1,000
MOST_ADDED = 100_000  # added tokens; 1,000,000 take 16 s and 1.6 GB
LONGEST = 10_000  # characters of an added token
GROWTH = 1000  # times that rules may make a text longer; NFKC has 18
MOST_STEPS = 64  # of a normalizer or decoder


def require_bounded(content: dict[str, Any]) -> None:
    """Refuse a tokenizer.json beyond the bounds with a `UserError`; a part of another kind raises what Python does."""
    added = content.get("added_tokens") or []
    model = content["model"]
    vocabulary = model.get("vocab") or {}
    if len(added) > MOST_ADDED or any(len(entry["content"]) > LONGEST for entry in added):
        raise UserError(f"expected at most {MOST_ADDED:,} added tokens of at most {LONGEST:,} characters")
    listed = isinstance(vocabulary, list)
    largest = len(vocabulary) - 1 if listed else max(vocabulary.values(), default=-1)
    largest = max(largest, max((entry["id"] for entry in added), default=-1))
    count = len(vocabulary) + len(added)
    if not listed and len(set(vocabulary.values())) != len(vocabulary):
        raise UserError("expected pieces with ids that all differ, got two pieces of one id")
    if not 0 <= largest < min(MOST_IDS, count + MOST_HOLES):
        raise UserError(f"expected ids below {MOST_IDS:,} with few left out, got {count:,} up to {largest:.20g}")
    if model.get("dropout"):
        raise UserError(f"its merges are drawn by chance (dropout {model['dropout']}), so that ids differ each time")
    for part in ("normalizer", "decoder"):
        _require_little_growth(part, [*_steps(content.get(part))])


def require_few_pieces(model: bytes) -> None:
    """Refuse a SentencePiece model of more than `MOST_IDS` pieces: parsed, one of two bytes takes a hundred."""
    place = pieces = 0
    while place < len(model):
        tag, place = _varint(model, place)
        size = 0
        if tag & 7 == 2:  # bytes with their length before them
            size, place = _varint(model, place)
        elif tag & 7 == 0:
            _, place = _varint(model, place)
        else:
            size = {1: 8, 5: 4}.get(tag & 7, len(model))
        place += size
        pieces += tag >> 3 == 1
        if pieces > MOST_IDS:
            raise UserError(f"expected at most {MOST_IDS:,} pieces, got more")


def require_bounded_charsmap(charsmap: bytes) -> None:
    """Refuse a table of a normalisation whose lengths are wrong, or that makes a character far longer."""
    if not charsmap:
        return
    size = int.from_bytes(charsmap[:4], "little")
    if len(charsmap) < 8 or size < 4 or size % 4 or size > len(charsmap) - 4:
        raise UserError(f"its normalisation (precompiled_charsmap) states {size:,} bytes, and has {len(charsmap):,}")
    longest = max(map(len, charsmap[4 + size :].split(b"\0")))
    if longest > GROWTH:
        raise UserError(f"its normalisation (precompiled_charsmap) makes a character {longest:,} bytes long")


def require_finite(scores: Iterable[float]) -> None:
    """Refuse scores that are no numbers, which no order holds for."""
    for token, score in enumerate(scores):
        if not math.isfinite(score):
            raise UserError(f"expected a number for the score of id {token}, got {score}")


def _varint(content: bytes, place: int) -> tuple[int, int]:
    """A number of a protocol buffer, and the place after it; what is cut off ends there."""
    value = shift = 0
    while place < len(content) and shift < 70:
        byte = content[place]
        place += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            break
    return value, place


def _require_little_growth(part: str, steps: list[dict[str, Any]]) -> None:
    growth = 1.0
    for step in steps:
        if step.get("type") == "Precompiled":
            require_bounded_charsmap(_decoded(step["precompiled_charsmap"]))
        elif step.get("type") == "Replace":
            pattern = step["pattern"].get("String")
            content = len(step["content"])
            growth *= max(content / len(pattern) if pattern else content + 1, 1)
        elif step.get("type") == "Prepend":
            growth *= len(step["prepend"]) + 1
    if growth > GROWTH:
        raise UserError(f"its {part} makes a text up to {growth:.3g} times as long; at most {GROWTH:,} are allowed")


def _decoded(charsmap: str) -> bytes:
    try:
        content = base64.b64decode(charsmap, validate=True)
    except (binascii.Error, ValueError):
        content = b""
    if not content:
        raise UserError("its normalisation (precompiled_charsmap) is no base64")
    return content


def _steps(rule: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - of JSON
    """Yield the rules of which a normalizer or decoder is made."""
    waiting, found = [rule] if rule else [], 0
    while waiting:
        step = waiting.pop()
        found += 1
        if found > MOST_STEPS:
            raise UserError(f"expected at most {MOST_STEPS} rules for a text, got more")
        inner = step.get("normalizers") or step.get("decoders")
        if inner:
            waiting += inner
        else:
            yield step

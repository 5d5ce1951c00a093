"""The contract of a model file, checked in Python before SentencePiece's C++ sees the file.

A .model is a protocol buffer, and a truncated one may still parse, as fewer pieces: hence every part is asked
for. A foreign one (other symbols, another normalisation) works in SentencePiece and breaks what later stages
rely on, and crafted ones have crashed its C++ (CVE-2026-1260): both are refused, with the reason.
"""

import enum
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2 as model_pb2

from aura.core import checksums
from aura.core.errors import UserError
from aura.tokenizer.symbols import BASIC, SPACE

SCORE_STEPS = 64  # unigram scores are multiples of 1/64; 1/256 and finer left ties in very long lines
_TYPES = model_pb2.ModelProto.SentencePiece
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


class Kind(enum.Enum):
    """The meaning of an id."""

    SPECIAL = "special"  # never in text: <eos>, <USER>, a reserved slot
    USER = "user"  # a user symbol, always kept whole
    BYTE = "byte"  # one byte of a character that has no piece
    LEARNT = "learnt"


class Piece(NamedTuple):
    """One entry of the vocabulary."""

    text: str
    kind: Kind


_KINDS = {
    _TYPES.NORMAL: Kind.LEARNT,
    _TYPES.UNKNOWN: Kind.SPECIAL,
    _TYPES.CONTROL: Kind.SPECIAL,
    _TYPES.USER_DEFINED: Kind.USER,
    _TYPES.BYTE: Kind.BYTE,
}


def read(path: Path) -> bytes:
    """The content of a model file; a missing one is a `UserError`."""
    try:
        return path.read_bytes()
    except IsADirectoryError:
        raise UserError(
            f"expected a file spiece.model, got the folder {path}. aura.load_tokenizer takes both"
        ) from None
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"the tokenizer {path} is missing. It is made by, in the project's folder: dvc repro train_tokenizer"
        ) from None


def checked_pieces(content: bytes, name: str) -> list[Piece]:
    """The vocabulary of a model file; bytes that break its contract are a `UserError` that calls them `name`."""
    try:
        model = model_pb2.ModelProto.FromString(content)
    except DecodeError:
        raise refusal(name, "a damaged or other file", expected="a whole SentencePiece model") from None
    texts, types, scores = ([getattr(entry, part) for entry in model.pieces] for part in ("piece", "type", "score"))
    for reason in _faults(model, _piece_faults(texts, types, scores)):
        raise refusal(name, reason)
    return [*map(Piece, texts, map(_KINDS.__getitem__, types))]


def refusal(name: str, got: str, expected: str = "a tokenizer made by aura") -> UserError:
    """The error for a model file that is something else; `got` tells what."""
    return UserError(f"{name}: expected {expected}, got {got}. {checksums.remedy('dvc repro train_tokenizer')}")


def _faults(model: Any, of_pieces: Iterator[str]) -> Iterator[str]:  # noqa: ANN401 - a ModelProto
    """Yield what is wrong with a model, worded to follow "got"; `of_pieces` are the faults of its pieces."""
    parts = ("trainer_spec", "normalizer_spec")
    missing = [part for part in parts if not model.HasField(part)]
    if missing:
        yield f"one without its {missing[0]} (the file may be cut off)"
    if model.trainer_spec.vocab_size != len(model.pieces):
        yield f"one of {len(model.pieces)} pieces that claims {model.trainer_spec.vocab_size}"
    yield from of_pieces
    if model.trainer_spec.model_type not in (model_pb2.TrainerSpec.UNIGRAM, model_pb2.TrainerSpec.BPE):
        yield "a model that is neither unigram nor BPE"
    if not model.trainer_spec.byte_fallback or model.trainer_spec.treat_whitespace_as_suffix:
        yield "one trained with other settings (byte_fallback, treat_whitespace_as_suffix)"
    spec = model.normalizer_spec
    if spec.precompiled_charsmap or model.denormalizer_spec.precompiled_charsmap:
        yield f"one that changes characters (the normalisation {spec.name!r} instead of identity), so that text is lost"
    if spec.add_dummy_prefix or spec.remove_extra_whitespaces or not spec.escape_whitespaces:
        yield "one that adds or removes spaces"


def _piece_faults(texts: list[str], types: list[int], scores: list[float]) -> Iterator[str]:
    """`_faults` of the pieces, by lists: to read a part of an entry takes 0.3 µs, and there may be 250,000."""
    known = set(texts)
    if "" in known:
        yield "one with an empty piece"
    if len(known) != len(texts):
        yield f"one that repeats the piece {Counter(texts).most_common(1)[0][0]!r}"
    if set(map(type, texts)) - {str} or not all(map(math.isfinite, scores)):
        yield "one with pieces that are no text, or scores that are no number"
    if not _KINDS.keys() >= set(types):
        yield "one with pieces of an unknown type"
    if tuple(texts[: len(BASIC)]) != BASIC:
        yield f"one whose first pieces are not {' '.join(BASIC)}"
    if types[: len(BASIC)] != [_TYPES.CONTROL] * 3 + [_TYPES.UNKNOWN]:
        yield f"one where text can make {' '.join(BASIC)}"
    if types.count(_TYPES.UNKNOWN) > 1:
        yield "one with more unknown tokens than <unk>"
    if [text for text, kind in zip(texts, types, strict=True) if kind == _TYPES.BYTE] != _BYTES or SPACE not in known:
        yield "one without byte fallback: there must be a piece for each byte, and for the space"

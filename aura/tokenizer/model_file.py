"""The contract of a model file, checked in Python before SentencePiece's C++ sees the file.

A .model is a protocol buffer, and a truncated one may still parse, as fewer pieces: hence every part is asked
for. A foreign one (other symbols, another normalisation) works in SentencePiece and breaks what later stages
rely on, and crafted ones have crashed its C++ (CVE-2026-1260): both are refused, with the reason.
"""

import enum
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2 as model_pb2

from aura.core import checksums
from aura.core.errors import UserError
from aura.tokenizer.symbols import BASIC, SPACE

Ids = npt.NDArray[np.int32]

SCORE_STEPS = 64  # unigram scores are multiples of 1/64; 1/256 and finer left ties in very long lines
_TYPES = model_pb2.ModelProto.SentencePiece
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


class Kind(enum.Enum):
    """The meaning of an id."""

    SPECIAL = "special"  # never in text: <eos>, <USER>, a reserved slot
    USER = "user"  # a user symbol, always kept whole
    BYTE = "byte"  # one byte of a character that has no piece
    LEARNT = "learnt"


@dataclass(frozen=True)
class Piece:
    """One entry of the vocabulary; `byte_length` is the size of the UTF-8 text it stands for."""

    text: str
    kind: Kind
    byte_length: int


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
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"the tokenizer {path} is missing. It is made by: dvc repro train_tokenizer") from None


def checked_pieces(content: bytes, name: str) -> list[Piece]:
    """The vocabulary of a model file; bytes that break its contract are a `UserError` that calls them `name`."""
    try:
        model = model_pb2.ModelProto.FromString(content)
    except DecodeError:
        raise refusal(name, "a damaged or other file", expected="a whole SentencePiece model") from None
    for reason in _faults(model):
        raise refusal(name, reason)
    return [_piece(entry) for entry in model.pieces]


def refusal(name: str, got: str, expected: str = "a tokenizer made by aura") -> UserError:
    """The error for a model file that is something else; `got` tells what."""
    return UserError(f"{name}: expected {expected}, got {got}. {checksums.remedy('dvc repro train_tokenizer')}")


def _piece(entry: Any) -> Piece:  # noqa: ANN401 - a ModelProto.SentencePiece
    kind = _KINDS[entry.type]
    sizes = {Kind.SPECIAL: 0, Kind.BYTE: 1}
    return Piece(entry.piece, kind, sizes.get(kind, len(entry.piece.replace(SPACE, " ").encode())))


def _faults(model: Any) -> Iterator[str]:  # noqa: ANN401 - a ModelProto
    """Yield what is wrong with a model, worded to follow "got"."""
    parts = ("trainer_spec", "normalizer_spec")
    missing = [part for part in parts if not model.HasField(part)]
    if missing:
        yield f"one without its {missing[0]} (the file may be cut off)"
    if model.trainer_spec.vocab_size != len(model.pieces):
        yield f"one of {len(model.pieces)} pieces that claims {model.trainer_spec.vocab_size}"
    yield from _piece_faults(model.pieces)
    if model.trainer_spec.model_type not in (model_pb2.TrainerSpec.UNIGRAM, model_pb2.TrainerSpec.BPE):
        yield "a model that is neither unigram nor BPE"
    if not model.trainer_spec.byte_fallback or model.trainer_spec.treat_whitespace_as_suffix:
        yield "one trained with other settings (byte_fallback, treat_whitespace_as_suffix)"
    spec = model.normalizer_spec
    if spec.precompiled_charsmap or model.denormalizer_spec.precompiled_charsmap:
        yield f"one that changes characters (the normalisation {spec.name!r} instead of identity), so that text is lost"
    if spec.add_dummy_prefix or spec.remove_extra_whitespaces or not spec.escape_whitespaces:
        yield "one that adds or removes spaces"


def _piece_faults(pieces: Any) -> Iterator[str]:  # noqa: ANN401 - ModelProto.SentencePiece, repeated
    kinds = {entry.piece: _KINDS.get(entry.type) for entry in pieces}
    if "" in kinds:
        yield "one with an empty piece"
    if len(kinds) != len(pieces):
        repeated = Counter(entry.piece for entry in pieces).most_common(1)[0][0]
        yield f"one that repeats the piece {repeated!r}"
    if not all(isinstance(entry.piece, str) and math.isfinite(entry.score) for entry in pieces):
        yield "one with pieces that are no text, or scores that are no number"
    if None in kinds.values():
        yield "one with pieces of an unknown type"
    if tuple(entry.piece for entry in pieces[: len(BASIC)]) != BASIC:
        yield f"one whose first pieces are not {' '.join(BASIC)}"
    if [entry.type for entry in pieces if entry.piece in BASIC] != [_TYPES.CONTROL] * 3 + [_TYPES.UNKNOWN]:
        yield f"one where text can make {' '.join(BASIC)}"
    if [entry.piece for entry in pieces if entry.type == _TYPES.UNKNOWN] != [BASIC[-1]]:
        yield "one with more unknown tokens than <unk>"
    if [entry.piece for entry in pieces if entry.type == _TYPES.BYTE] != _BYTES or SPACE not in kinds:
        yield "one without byte fallback: there must be a piece for each byte, and for the space"

"""tokenizer.json and tokenizer_config.json of a SentencePiece model that others trained, with the model's own ids.

`aura.tokenizer.hf_export` writes those of our own models. Here normalisation and the space before a text are kept. The
differences from a usual conversion make ids equal where that gives others:

- Runs of spaces have one score in SentencePiece, which then takes the leftmost pair: a run grows from its left, space
  by space. Here a longer run ranks before the shorter ones, so that it grows in this way (`_space_merges`).
- User symbols are cut out of the text and taken as whole pieces. As added tokens they would get a space of their own.
- All ways to merge a piece are listed at the piece's rank, because SentencePiece knows merges by their text.

Equality is not taken for granted: `written` encodes texts with both libraries, and refuses a file that differs.
"""

import base64
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as model_pb2

from aura.core.errors import UserError
from aura.tokenizer import indented_json
from aura.tokenizer.symbols import SPACE

_TYPES = model_pb2.ModelProto.SentencePiece
_SPECIAL = (_TYPES.CONTROL, _TYPES.UNKNOWN)
_WORDS = f"{SPACE}*[^{SPACE}]+|{SPACE}+"
_AT_ONCE = 1000  # texts that are compared at a time


class NoExactJson(UserError):
    """A tokenizer.json with equal ids cannot be written."""


def written(content: bytes, texts: Sequence[str]) -> dict[str, bytes]:
    """The files by their names.

    Arguments:
        content: the bytes of a SentencePiece model, BPE or unigram.
        texts: those on which both libraries must agree.

    Raises:
        NoExactJson: a part of the model that tokenizers has no word for, or a text with other ids.
    """
    model = model_pb2.ModelProto.FromString(content)
    tokenizer = (indented_json.dumps(_tokenizer(model)) + "\n").encode()
    _compare(content, tokenizer, texts)
    config = (indented_json.dumps(_config(model)) + "\n").encode()
    return {"tokenizer.json": tokenizer, "tokenizer_config.json": config}


def notices(content: bytes) -> list[str]:
    """Sentences about what `written` cannot promise for all texts, beside those that it compares."""
    model = model_pb2.ModelProto.FromString(content)
    found = []
    if model.normalizer_spec.precompiled_charsmap:
        found.append(
            "tokenizer.json: tokenizers normalises some rare sequences of characters in its own way, such as accents "
            "on characters that bear none. Ids are equal on the texts that were compared."
        )
    if model.trainer_spec.model_type == model_pb2.TrainerSpec.UNIGRAM:
        found.append(
            "tokenizer.json: SentencePiece adds scores in 32 bits, tokenizers in 64. In a line of some 1,000 tokens or "
            "more, two segmentations that are almost equally good may be told apart in two ways."
        )
    return found


def _compare(content: bytes, written: bytes, texts: Sequence[str]) -> None:
    import tokenizers

    processor = sentencepiece.SentencePieceProcessor()
    processor.LoadFromSerializedProto(content)
    loaded = tokenizers.Tokenizer.from_buffer(written)
    loaded.encode_special_tokens = True
    for start in range(0, len(texts), _AT_ONCE):
        part = list(texts[start : start + _AT_ONCE])
        encoded = loaded.encode_batch(part, add_special_tokens=False)
        for text, ids, theirs in zip(part, processor.Encode(part), encoded, strict=True):
            if ids != theirs.ids:
                raise NoExactJson(f"no tokenizer.json is written: its ids for {text[:40]!r} would be others")


def _tokenizer(model: Any) -> dict[str, Any]:  # noqa: ANN401 - a ModelProto
    is_bpe = model.trainer_spec.model_type == model_pb2.TrainerSpec.BPE
    symbols = [entry.piece for entry in model.pieces if entry.type == _TYPES.USER_DEFINED]
    if any(entry.type == _TYPES.UNUSED for entry in model.pieces) or not model.normalizer_spec.escape_whitespaces:
        raise NoExactJson("no tokenizer.json is written: the model has unused pieces, or keeps spaces as they are")
    if symbols and not is_bpe:
        raise NoExactJson("no tokenizer.json is written: the model is unigram and has user symbols")
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": list(_special_tokens(model)),
        "normalizer": _normalizer(model.normalizer_spec),
        "pre_tokenizer": _pre_tokenizer(model, symbols, is_bpe=is_bpe),
        "post_processor": None,
        "decoder": _decoder(model.normalizer_spec),
        "model": _bpe(model, has_symbols=bool(symbols)) if is_bpe else _unigram(model),
    }


def _config(model: Any) -> dict[str, Any]:  # noqa: ANN401 - a ModelProto
    spec = model.trainer_spec
    names = {entry.piece for entry in model.pieces if entry.type in _SPECIAL}
    roles = {"bos_token": spec.bos_piece, "eos_token": spec.eos_piece, "unk_token": spec.unk_piece}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **{role: name for role, name in roles.items() if name in names},
        **({"pad_token": spec.pad_piece} if spec.pad_piece in names else {}),
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
    }


def _special_tokens(model: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - a ModelProto
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    for place, entry in enumerate(model.pieces):
        if entry.type in _SPECIAL:
            yield {"id": place, "content": entry.piece} | flags


def _normalizer(spec: Any) -> dict[str, Any]:  # noqa: ANN401 - a NormalizerSpec
    steps: list[dict[str, Any]] = []
    if spec.precompiled_charsmap:
        charsmap = base64.b64encode(spec.precompiled_charsmap).decode()
        steps.append({"type": "Precompiled", "precompiled_charsmap": charsmap})
    if spec.remove_extra_whitespaces:
        steps += [_replace({"Regex": "^ +| +$"}, ""), _replace({"Regex": " {2,}"}, " ")]
    if spec.add_dummy_prefix:
        steps.append({"type": "Prepend", "prepend": SPACE})
    return {"type": "Sequence", "normalizers": [*steps, _replace({"String": " "}, SPACE)]}


def _replace(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def _pre_tokenizer(model: Any, symbols: list[str], *, is_bpe: bool) -> dict[str, Any] | None:  # noqa: ANN401
    """Cut out user symbols and words; characters without a piece, too, where unigram gives bytes for them."""
    patterns = []
    if symbols:
        patterns.append("|".join(re.escape(symbol) for symbol in sorted(symbols, key=len, reverse=True)))
    if not any(re.search(f"[^{SPACE}]{SPACE}", entry.piece) for entry in model.pieces if entry.type == _TYPES.NORMAL):
        patterns.append(_WORDS)
    elif symbols:
        raise NoExactJson("no tokenizer.json is written: the model has user symbols, and pieces across words")
    if not is_bpe and model.trainer_spec.byte_fallback:
        patterns.append(_without_piece(model))
    splits = [
        {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
        for pattern in patterns
    ]
    return {"type": "Sequence", "pretokenizers": splits} if splits else None


def _without_piece(model: Any) -> str:  # noqa: ANN401 - a ModelProto
    """A pattern that matches one character that has no piece."""
    alone = sorted(entry.piece for entry in model.pieces if entry.type == _TYPES.NORMAL and len(entry.piece) == 1)
    return f"[^{''.join(re.escape(character) for character in alone)}]"


def _decoder(spec: Any) -> dict[str, Any]:  # noqa: ANN401 - a NormalizerSpec
    steps = [_replace({"String": SPACE}, " "), {"type": "ByteFallback"}, {"type": "Fuse"}]
    if spec.add_dummy_prefix:
        steps.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {"type": "Sequence", "decoders": steps}


def _bpe(model: Any, *, has_symbols: bool) -> dict[str, Any]:  # noqa: ANN401 - a ModelProto
    learnt = {entry.piece: entry.score for entry in model.pieces if entry.type == _TYPES.NORMAL}
    if lacking := {character for piece in learnt for character in piece} - learnt.keys():
        raise NoExactJson(f"no tokenizer.json is written: the model merges {min(lacking)!r}, which is no piece of it")
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": model.trainer_spec.unk_piece,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": not model.trainer_spec.byte_fallback,
        "byte_fallback": bool(model.trainer_spec.byte_fallback),
        "ignore_merges": has_symbols,  # a user symbol, cut out, is a piece without merges
        "vocab": {entry.piece: place for place, entry in enumerate(model.pieces)},
        "merges": list(_merges(learnt)),
    }


def _merges(learnt: dict[str, float]) -> Iterator[list[str]]:
    """The merges in the order of their ranks; several pieces of one score are `NoExactJson`, but for runs of spaces."""
    ordered = sorted((piece for piece in learnt if len(piece) > 1), key=learnt.__getitem__, reverse=True)
    for _, group in groupby(ordered, key=learnt.__getitem__):
        pieces = [*group]
        if len(pieces) == 1:
            [piece] = pieces
            halves = ((piece[:place], piece[place:]) for place in range(1, len(piece)))
            yield from ([first, second] for first, second in halves if first in learnt and second in learnt)
        elif {*"".join(pieces)} == {SPACE}:
            yield from ([SPACE * first, SPACE * second] for first, second in _space_merges([*map(len, pieces)]))
        else:
            raise NoExactJson(f"no tokenizer.json is written: {pieces[0]!r} and {pieces[1]!r} have one score")


def _space_merges(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The merges of runs of spaces that have one score: of each, the lengths of its two parts.

    A run takes one space after the other. Where a length is lacking, it waits until the next run is long enough to
    join it, which comes first, as it is the leftmost.
    """
    known = {1, *lengths}
    for waiting in sorted(known - {length - 1 for length in known} - {1}, reverse=True):
        yield from ((waiting, more) for more in sorted(known - {1}) if waiting + more in known)
    for length in sorted(lengths, reverse=True):
        if length - 1 in known:
            yield length - 1, 1


def _unigram(model: Any) -> dict[str, Any]:  # noqa: ANN401 - a ModelProto
    scores = [entry.score for entry in model.pieces if entry.type == _TYPES.NORMAL]
    lowest = min(*scores, 0.0)
    unknown = next(place for place, entry in enumerate(model.pieces) if entry.type == _TYPES.UNKNOWN)
    return {
        "type": "Unigram",
        "unk_id": unknown,
        "vocab": [
            # special tokens and bytes below their names as text
            [entry.piece, entry.score if entry.type == _TYPES.NORMAL else len(entry.piece) * lowest - 1]
            for entry in model.pieces
        ],
        "byte_fallback": bool(model.trainer_spec.byte_fallback),
    }

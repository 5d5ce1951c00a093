"""tokenizer.json for a BPE model of SentencePiece that somebody else trained, with SentencePiece's own ids.

`hf_export` does this for our own models, whose settings are fixed. Here any setting may hold, so each one is written
down exactly or refused with the reason. The trade-off: fewer models convert, and none converts nearly.

SentencePiece joins the neighbours whose union is the piece of the highest score, and of equal scores the leftmost.
`tokenizers` joins the pair of the lowest rank in a list: see `aura.tokenizer.merges`. Pairs of one score are in an
order that keeps the leftmost first: where the texts L+S and S+R both have this score, the pair (L, S) comes before
(S, R). Where such demands make a circle, no list is exact, and the model is refused.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from typing import Any

from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2 as model_pb2

from aura.core.errors import UserError
from aura.tokenizer import indented_json, merges
from aura.tokenizer.symbols import SPACE

MOST_DEMANDS = 2_000_000  # on the order of pairs of one score, 500 bytes each
ALL = 1_000_000  # spaces at the start of a text
_TYPES = model_pb2.ModelProto.SentencePiece
_SPECIAL = (_TYPES.CONTROL, _TYPES.UNKNOWN)
_CROSSES = re.compile(f"[^{SPACE}]{SPACE}")  # a piece that goes on after the end of a word

Pair = tuple[str, str]


def tokenizer_json(model: bytes) -> bytes:
    """The tokenizer.json that gives the ids of a SentencePiece BPE model; also its special tokens, never out of text.

    As in every tokenizer.json, special tokens in text become ids unless the caller passes `split_special_tokens=True`
    (transformers) or sets `encode_special_tokens` (tokenizers). No <s> is put before a text.

    Raises:
        UserError: the bytes are no BPE model, or one that no tokenizer.json can equal; the message has the reason.
    """
    parsed = _parsed(model)
    reason = next(_reasons(parsed), None)
    if reason:
        raise UserError(f"no tokenizer.json can give the ids of this model: {reason}")
    return (indented_json.dumps(_tokenizer(parsed, _ordered_merges(parsed))) + "\n").encode()


def _parsed(model: bytes) -> Any:  # noqa: ANN401 - a ModelProto
    try:
        parsed: Any = model_pb2.ModelProto.FromString(model)
    except DecodeError:
        raise UserError("expected a SentencePiece model, got a damaged or other file") from None
    return parsed


def _reasons(model: Any) -> Iterator[str]:  # noqa: ANN401 - a ModelProto
    """Yield why `tokenizers` cannot give a model's ids."""
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    if trainer.model_type == model_pb2.TrainerSpec.UNIGRAM:
        yield (
            "it is unigram, for which SentencePiece adds scores in 32 bits and tokenizers in 64, so that near ties end "
            "otherwise in long texts"
        )
    elif trainer.model_type != model_pb2.TrainerSpec.BPE:
        yield "it is neither BPE nor unigram"
    if normalizer.precompiled_charsmap:
        yield (
            f"its normalisation ({normalizer.name or 'without a name'}) is applied to the longest match by "
            "SentencePiece and to grapheme clusters by tokenizers"
        )
    if trainer.treat_whitespace_as_suffix or not normalizer.escape_whitespaces:
        yield "it has a setting that tokenizers lacks (treat_whitespace_as_suffix, or escape_whitespaces off)"
    yield from _reasons_in_pieces(model)


def _reasons_in_pieces(model: Any) -> Iterator[str]:  # noqa: ANN401 - a ModelProto
    alone = {entry.piece for entry in model.pieces if entry.type in (_TYPES.NORMAL, _TYPES.USER_DEFINED)}
    for token, entry in enumerate(model.pieces):
        name = f"the piece {entry.piece!r:.80} of id {token}"
        if not math.isfinite(entry.score):
            yield f"{name} has the score {entry.score}"
        if entry.type == _TYPES.UNUSED:
            yield f"{name} is unused: SentencePiece takes it apart again, which tokenizers cannot"
        elif entry.type == _TYPES.USER_DEFINED and len(entry.piece) > 1:
            if model.normalizer_spec.add_dummy_prefix:
                yield (
                    f"{name} is a user-defined symbol, and a space is put before each text: tokenizers does not put "
                    "one before a text that begins with such a symbol"
                )
            if model.normalizer_spec.remove_extra_whitespaces and SPACE in entry.piece:
                yield f"{name} is a user-defined symbol with a space, and spaces are removed, also from the symbol"
            if " " in entry.piece:
                yield f"{name} is a user-defined symbol with a space, which SentencePiece never finds"
        elif entry.type in _SPECIAL and len(entry.piece) == 1:
            yield f"{name} is a special token of one character, which tokenizers would make out of text"
        elif entry.type == _TYPES.NORMAL and len(entry.piece) > 1 and not alone.issuperset(entry.piece):
            yield f"{name} has a character that is no piece: SentencePiece can join it, tokenizers cannot"


def _tokenizer(model: Any, ordered: list[Pair]) -> dict[str, Any]:  # noqa: ANN401 - a ModelProto
    [unk] = [entry.piece for entry in model.pieces if entry.type == _TYPES.UNKNOWN]
    byte_fallback = bool(model.trainer_spec.byte_fallback)
    by_words = byte_fallback and not any(
        _CROSSES.search(entry.piece) for entry in model.pieces if entry.type not in _SPECIAL
    )  # exact then, and words are remembered; unknown characters would be fused beyond words
    words = {"type": "Split", "pattern": {"Regex": f"{SPACE}*[^{SPACE}]+|{SPACE}+"}, "behavior": "Isolated"}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": list(_added_tokens(model)),
        "normalizer": {"type": "Sequence", "normalizers": list(_normalizers(model.normalizer_spec))},
        "pre_tokenizer": words | {"invert": False} if by_words else None,
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": list(_decoders(model.normalizer_spec, byte_fallback))},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": unk,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": byte_fallback,
            "ignore_merges": False,
            "vocab": {entry.piece: token for token, entry in enumerate(model.pieces)},
            "merges": [*map(list, ordered)],
        },
    }


def _added_tokens(model: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - a ModelProto
    """Special tokens, and user-defined symbols, which are found in the normalised text as in SentencePiece."""
    for token, entry in enumerate(model.pieces):
        special = entry.type in _SPECIAL
        if special or (entry.type == _TYPES.USER_DEFINED and len(entry.piece) > 1):
            flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": not special}
            yield {"id": token, "content": entry.piece} | flags | {"special": special}


def _normalizers(spec: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - a NormalizerSpec
    """Yield the rules by which SentencePiece changes a text before it looks for pieces, in its order."""

    def replace(pattern: dict[str, str], content: str) -> dict[str, Any]:
        return {"type": "Replace", "pattern": pattern, "content": content}

    if spec.remove_extra_whitespaces:
        yield replace({"Regex": r"\A +"}, "")
        yield replace({"Regex": "  +"}, " ")
    if spec.add_dummy_prefix:
        yield {"type": "Prepend", "prepend": SPACE}
    yield replace({"String": " "}, SPACE)
    if spec.remove_extra_whitespaces:  # at the end SentencePiece removes its own spelling of the space, too
        yield replace({"Regex": rf"{SPACE}+\z"}, "")


def _decoders(spec: Any, byte_fallback: bool) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - a NormalizerSpec
    yield {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}
    if byte_fallback:
        yield {"type": "ByteFallback"}
    yield {"type": "Fuse"}
    if spec.add_dummy_prefix or spec.remove_extra_whitespaces:
        yield {"type": "Strip", "content": " ", "start": ALL if spec.remove_extra_whitespaces else 1, "stop": 0}


def _ordered_merges(model: Any) -> list[Pair]:  # noqa: ANN401 - a ModelProto
    """The pair that makes each piece, by the piece's score."""
    ranks = {entry.piece: -entry.score for entry in model.pieces if entry.type == _TYPES.NORMAL}
    by_rank: dict[float, list[Pair]] = defaultdict(list)
    for piece, pair in merges.merges(ranks, ranks).items():
        by_rank[ranks[piece]].append(pair)
    return [pair for rank in sorted(by_rank) for pair in _leftmost_first(by_rank[rank])]


def _leftmost_first(pairs: list[Pair]) -> list[Pair]:
    """Order pairs of one score so that, of two that share their middle, the left one comes first."""
    by_left: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_left[pair[0]].append(pair)
    if sum(len(by_left[right]) for _, right in pairs if right in by_left) > MOST_DEMANDS:
        raise UserError(
            f"no tokenizer.json was made for this model: {len(pairs):,} of its pieces have one score, so that their "
            "order cannot be found. Give the pieces scores that differ"
        )
    sorter: TopologicalSorter[Pair] = TopologicalSorter(dict.fromkeys(pairs, ()))
    for pair in pairs:
        for later in by_left.get(pair[1], ()):
            if later != pair:
                sorter.add(later, pair)
    try:
        return [*sorter.static_order()]
    except CycleError as error:
        first: Pair = error.args[1][0]
        text = "".join(first)
        raise UserError(
            f"no tokenizer.json can give the ids of this model: pieces that overlap {text!r:.60} have its score, and "
            "SentencePiece takes the leftmost of them, wherever that is"
        ) from None

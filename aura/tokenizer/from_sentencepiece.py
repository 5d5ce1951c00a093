"""tokenizer.json for a BPE model of SentencePiece that somebody else trained, with SentencePiece's own ids.

`hf_export` does this for our own models, whose settings are fixed. Here any setting may hold, so each one is written
down exactly or refused with the reason. The trade-off: fewer models convert, and none converts nearly.

SentencePiece joins the neighbours whose union is the piece of the highest score, and of equal scores the leftmost.
`tokenizers` joins the pair of the lowest rank in a list. So the list holds every pair of pieces that makes a piece.
Pairs of one score are in an order that keeps the leftmost first: where the texts L+S and S+R both have this score, the
pair (L, S) comes before the pair (S, R). No order can do this for all pairs of a repetition such as `====`. Pairs
that make longer pieces come first there, which is right for runs of one character. `doubtful_texts` are the texts to
prove it on. Any other circle is refused.
"""

import heapq
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2 as model_pb2

from aura.core.errors import UserError
from aura.tokenizer import indented_json
from aura.tokenizer.symbols import SPACE

MOST_PAIRS = 20_000_000  # pairs of neighbours of one score; a real model of 32,000 pieces has 100,000
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
    if reason := next(_reasons(parsed), None):
        raise UserError(f"no tokenizer.json can give the ids of this model: {reason}")
    merges, _ = _ordered_merges(parsed)
    return (indented_json.dumps(_tokenizer(parsed, merges)) + "\n").encode()


def doubtful_texts(model: bytes) -> list[str]:
    """Texts on which the order of pairs of one score matters and could not be kept for all; prove the ids on these."""
    _, doubtful = _ordered_merges(_parsed(model))
    return doubtful


def _parsed(model: bytes) -> Any:  # noqa: ANN401 - a ModelProto
    try:
        return model_pb2.ModelProto.FromString(model)
    except DecodeError:
        raise UserError("expected a SentencePiece model, got a damaged or other file") from None


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
            if model.normalizer_spec.remove_extra_whitespaces:
                yield f"{name} is a user-defined symbol, and spaces are removed: tokenizers fails on such texts"
            if " " in entry.piece:
                yield f"{name} is a user-defined symbol with a space, which SentencePiece never finds"
        elif entry.type in _SPECIAL and len(entry.piece) == 1:
            yield f"{name} is a special token of one character, which tokenizers would make out of text"
        elif entry.type == _TYPES.NORMAL and len(entry.piece) > 1 and not alone.issuperset(entry.piece):
            yield f"{name} has a character that is no piece: SentencePiece can join it, tokenizers cannot"


def _tokenizer(model: Any, merges: list[Pair]) -> dict[str, Any]:  # noqa: ANN401 - a ModelProto
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
            "merges": [*map(list, merges)],
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
    """What SentencePiece does to a text before it looks for pieces, in its order."""

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


def _ordered_merges(model: Any) -> tuple[list[Pair], list[str]]:  # noqa: ANN401 - a ModelProto
    """All pairs of pieces that make a piece, by its score, and the texts on which their order is in doubt."""
    scores = {entry.piece: entry.score for entry in model.pieces if entry.type == _TYPES.NORMAL}
    by_score: dict[float, list[Pair]] = defaultdict(list)
    for piece, score in scores.items():
        for place in range(1, len(piece)):
            if piece[:place] in scores and piece[place:] in scores:
                by_score[score].append((piece[:place], piece[place:]))
    merges: list[Pair] = []
    doubtful: dict[str, None] = {}
    for score in sorted(by_score, reverse=True):
        ordered, doubts = _leftmost_first(by_score[score])
        merges += ordered
        doubtful |= dict.fromkeys(doubts)
    return merges, [*doubtful]


def _leftmost_first(pairs: list[Pair]) -> tuple[list[Pair], Iterable[str]]:
    """Order pairs of one score so that, of two that share their middle, the left one comes first.

    Where the pairs demand each other's place in a circle, the one that makes the longest piece comes first, and of
    these the one with the longest left part. The texts of the demands that this breaks are returned, too; one that is
    no repetition is a `UserError`.
    """
    pairs = sorted(pairs, key=lambda pair: (-len(pair[0]) - len(pair[1]), -len(pair[0]), pair))
    by_left: dict[str, list[int]] = defaultdict(list)
    for place, (left, _) in enumerate(pairs):
        by_left[left].append(place)
    if sum(len(by_left[right]) for _, right in pairs if right in by_left) > MOST_PAIRS:
        raise UserError(
            f"no tokenizer.json was made for this model: {len(pairs):,} pairs of its pieces have one score, so that "
            "their order cannot be found. Give the pieces scores that differ"
        )
    after = [[later for later in by_left.get(right, ()) if pairs[later] != (left, right)] for left, right in pairs]
    waits = [0] * len(pairs)
    for later in (later for lists in after for later in lists):
        waits[later] += 1
    ready = [place for place, count in enumerate(waits) if not count]
    order: list[int] = []
    done = [False] * len(pairs)
    stuck = iter(range(len(pairs)))
    while len(order) < len(pairs):
        place = heapq.heappop(ready) if ready else next(place for place in stuck if not done[place])
        order.append(place)
        done[place] = True
        for later in after[place]:
            waits[later] -= 1
            if not waits[later] and not done[later]:
                heapq.heappush(ready, later)
    rank = {place: number for number, place in enumerate(order)}
    broken = {
        "".join((*pairs[place], pairs[later][1])): None
        for place, lists in enumerate(after)
        for later in lists
        if rank[later] < rank[place]
    }
    if text := next((text for text in broken if not _is_repetition(text)), None):
        raise UserError(
            f"no tokenizer.json can give the ids of this model: pieces that overlap in {text!r:.60} have one score, "
            "and SentencePiece takes the leftmost of them, wherever that is"
        )
    return [pairs[place] for place in order], broken


def _is_repetition(text: str) -> bool:
    return text in (text * 2)[1:-1]

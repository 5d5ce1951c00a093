"""Training: segment counts and parameters in, the bytes of a SentencePiece model out, the same everywhere.

All that would let bytes differ is fixed: rows come sorted, the number of unigram's threads is a constant (it decides
the order in which floating-point sums are made), and the model's record of paths and threads is cleared.
Unigram scores are rounded to 1/64: sums of them are then exact in 32 bits, so that a word has the same best
segmentation alone as inside a long line; bytes per token stay the same (measured: 3.9696 before and after).
Unigram begins with weighted seeds of our own (`aura/train_tokenizer/seeds.py`), because SentencePiece's ignore counts.

Nothing is lost: no normalisation, no added or removed space, and bytes for characters without a piece.
"""

import math
import re
import tempfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as model_pb2

from aura.core import parallel
from aura.core.errors import UserError
from aura.tokenizer import symbols
from aura.tokenizer.model_file import SCORE_STEPS
from aura.train_tokenizer import counts, rows, seeds
from aura.train_tokenizer.counts import MAX_WORD_CHARS
from aura.train_tokenizer.options import TrainTokenizer
from aura.train_tokenizer.seeds import Seeds
from aura.train_tokenizer.segments import Splitting

SEEDS_PER_PIECE = 4  # unigram begins with so many: of 2, 3 and 4 the best at 32,000 pieces
_TOO_SMALL = re.compile(r"Vocabulary size is smaller than required_chars\. \d+ vs (\d+)")
_NORMAL = model_pb2.ModelProto.SentencePiece.NORMAL
_REMEDY = "Set vocab_size"

# Settings that are no knob: each is needed for the same bytes everywhere, or for exact round trips.
FIXED: dict[str, Any] = {
    "input_format": "tsv",
    "normalization_rule_name": "identity",
    "add_dummy_prefix": False,
    "remove_extra_whitespaces": False,
    "byte_fallback": True,
    "required_chars": symbols.SPACE,  # else a corpus without spaces makes a model that decodes " " to U+2581
    "hard_vocab_limit": False,  # `train_model` compares the size itself, to say which would be possible
    "max_sentence_length": 4 * MAX_WORD_CHARS + 32,  # bytes of one row; the default drops rows above 4192
    "num_threads": 16,  # at most; of unigram always so many
    "shrinking_factor": 0.5,  # of the pieces, each round; 0.75 and 2 sub-iterations take twice as long
    "num_sub_iterations": 1,
    "minloglevel": 2,
    **{f"{name}_id": place for place, name in enumerate(("pad", "bos", "eos", "unk"))},
    **dict(zip(("pad_piece", "bos_piece", "eos_piece", "unk_piece"), symbols.BASIC, strict=True)),
}


class VocabularyTooLarge(UserError):
    """More pieces were asked for than the corpus can give; `largest` are possible."""

    def __init__(self, message: str, largest: int) -> None:
        super().__init__(message)
        self.largest = largest


class VocabularyTooSmall(UserError):
    """Fewer pieces were asked for than symbols, bytes and characters need: `smallest`."""

    def __init__(self, message: str, smallest: int) -> None:
        super().__init__(message)
        self.smallest = smallest


def symbols_of(options: TrainTokenizer) -> symbols.Symbols:
    """The fixed symbols that `options` ask for."""
    return symbols.symbols(
        special_tokens=options.special_tokens,
        reserved_tokens=options.reserved_tokens,
        user_symbols=options.user_symbols,
        extra_special_tokens=options.extra_special_tokens,
    )


def splitting_of(options: TrainTokenizer) -> Splitting:
    """Return the part of `options` that decides the cuts of words before training."""
    return Splitting(options.split_digits, options.split_by_script, options.split_by_number, symbols_of(options).user)


def train_model(segments: pa.Table, options: TrainTokenizer, size: int, begin_with: Seeds | None = None) -> bytes:
    """Train a tokenizer of exactly `size` pieces on counted segments (`counts.SCHEMA`); returns the serialised model.

    Unigram begins with the pieces and counts `begin_with`, by default with the best substrings. A size that the corpus
    does not allow is a `UserError` that names the largest (`VocabularyTooLarge`) or smallest (`VocabularyTooSmall`)
    possible one.
    """
    if not len(segments):
        raise UserError("expected text to learn from, found no words in the training documents. Add documents.")
    segments = counts.in_order(segments)
    model = _train(segments, options, size, begin_with)
    if len(model.pieces) < size:
        largest = _largest_size(segments, options, len(model.pieces), begin_with)
        raise VocabularyTooLarge(
            f"vocab_size is {size:,}, but the largest possible for this corpus of {len(segments):,} distinct parts of "
            f"words is {largest:,}. {_REMEDY} to at most {largest}, or add text.",
            largest,
        )
    return _clean(model)


def seeds_of(model: bytes) -> Seeds:
    """The learnt pieces of a unigram model as seeds of a smaller one, so weighted that it begins with their scores."""
    pieces = [piece for piece in model_pb2.ModelProto.FromString(model).pieces if piece.type == _NORMAL]
    # SentencePiece begins with count times characters; 1e12 keeps nine digits of the rarest piece's share.
    weighted = [(piece.piece, math.ceil(1e12 * math.exp(piece.score) / len(piece.piece))) for piece in pieces]
    return sorted(weighted, key=lambda row: (-row[1] * len(row[0]), row[0]))


def _train(segments: pa.Table, options: TrainTokenizer, size: int, begin_with: Seeds | None) -> Any:  # noqa: ANN401
    """Train up to `size` pieces; returns a ModelProto in which each character of a learnt piece has one of its own.

    SentencePiece breaks that rule for characters beyond `character_coverage` in words that occur often enough. Bytes
    for them are then not what other programs give, which look for a character without a piece before longer pieces.
    """
    if options.model_type == "bpe":
        return _train_bpe(segments, options, size)
    begin_with = begin_with or seeds.seeds(segments, SEEDS_PER_PIECE * size, options.max_piece_chars)
    if _may_be_cut(options):
        segments = rows.cut_between_seeds(segments, [seed.replace(symbols.SPACE, " ") for seed, _ in begin_with])
    while True:
        model = _train_once(segments, options, size, begin_with)
        alone = {entry.piece for entry in model.pieces if len(entry.piece) == 1}
        lacking = {character for entry in model.pieces if entry.type == _NORMAL for character in entry.piece} - alone
        if not lacking:
            return model
        begin_with = [seed for seed in begin_with if lacking.isdisjoint(seed[0])]


def _train_bpe(segments: pa.Table, options: TrainTokenizer, size: int) -> Any:  # noqa: ANN401 - a ModelProto
    """Train on segments cut at rare pairs, in half the time, if that changes no piece; otherwise on whole ones."""
    longest = options.max_piece_chars
    least = rows.least_count(segments, size, longest) if _may_be_cut(options) else 0
    if least > 1:
        cut = rows.cut_at_rare_pairs(segments, least)
        model = _train_once(cut, options, size, [])
        pieces = {entry.piece.replace(symbols.SPACE, " ") for entry in model.pieces if entry.type == _NORMAL}
        if rows.is_proven(cut, least, pieces, longest):
            return model
    return _train_once(segments, options, size, [])


def _may_be_cut(options: TrainTokenizer) -> bool:
    """Return whether a cut lies in no special token's name, which SentencePiece takes out of the text."""
    return options.split_by_script  # the name's letters and its < are segments of their own


def _train_once(segments: pa.Table, options: TrainTokenizer, size: int, begin_with: Seeds) -> Any:  # noqa: ANN401
    """Train up to `size` pieces, unigram beginning with some; returns a ModelProto."""
    written = BytesIO()
    fixed_symbols = symbols_of(options)
    settings = FIXED | {
        "sentence_iterator": _lines(segments),
        "model_writer": written,
        "model_type": options.model_type,
        "vocab_size": size,
        "character_coverage": options.character_coverage,
        "max_sentencepiece_length": options.max_piece_chars,
        "split_digits": options.split_digits,
        "split_by_unicode_script": options.split_by_script,
        "split_by_number": options.split_by_number,
        "allow_whitespace_only_pieces": options.whitespace_pieces,
        "control_symbols": list(fixed_symbols.control),
        "user_defined_symbols": list(fixed_symbols.user),
    }
    with tempfile.TemporaryDirectory(prefix="aura-") as folder:
        if options.model_type == "unigram":
            path = Path(folder, "seeds.tsv")  # SentencePiece reads them from a file only
            path.write_text(seeds.tsv(begin_with), encoding="utf-8")
            settings |= {"seed_sentencepieces_file": str(path), "seed_sentencepiece_size": max(len(begin_with), 1000)}
        else:
            settings |= {"num_threads": min(FIXED["num_threads"], parallel.cores())}  # sums of integers
            settings |= {"split_by_whitespace": _has_mixed_spaces(segments)}
        parallel.require_threads(settings["num_threads"])
        try:
            sentencepiece.SentencePieceTrainer.train(**settings)
        except RuntimeError as error:
            raise _explained(error, len(segments), size) from None
    return model_pb2.ModelProto.FromString(written.getvalue())


def _has_mixed_spaces(segments: pa.Table) -> bool:
    """Return whether some segment has several spaces and then something else, as an indented line begins.

    Without one, BPE learns the same if SentencePiece does not look for spaces once more, in a sixth less time. With
    one, it would learn pieces that begin with several spaces and go on.
    """
    several = segments["text"].filter(pc.match_substring(segments["text"], "  "))
    return bool(pc.any(pc.match_substring_regex(several, " [^ ]")).as_py())


def _lines(segments: pa.Table) -> Iterator[str]:
    """`segment<TAB>count`: SentencePiece's tsv input."""
    for batch in segments.to_batches(max_chunksize=65_536):
        for text, count in zip(batch["text"].to_pylist(), batch["count"].to_pylist(), strict=True):
            yield f"{text}\t{count}"


def _explained(error: RuntimeError, distinct: int, size: int) -> UserError:
    too_small = _TOO_SMALL.search(str(error))
    if not too_small:
        return UserError(
            f"SentencePiece could not learn pieces from {distinct:,} distinct parts of words: {error}. "
            "Add text, or take user symbols out that leave nothing of it."
        )
    return VocabularyTooSmall(
        f"vocab_size is {size:,}, but the special tokens, 256 byte pieces and characters of this corpus "
        f"need {int(too_small[1]):,}. {_REMEDY} to at least {too_small[1]}, or lower character_coverage.",
        int(too_small[1]),
    )


def _largest_size(segments: pa.Table, options: TrainTokenizer, size: int, begin_with: Seeds | None) -> int:
    """The first size from `size` down that training reaches: unigram prunes more when asked for less."""
    while (reached := len(_train(segments, options, size, begin_with).pieces)) < size:
        size = reached
    return size


def _clean(model: Any) -> bytes:  # noqa: ANN401 - a ModelProto
    """Round unigram scores, drop what tells of the machine, and serialise in one way only."""
    if model.trainer_spec.model_type == model_pb2.TrainerSpec.UNIGRAM:
        for piece in model.pieces:
            if piece.type == _NORMAL:
                piece.score = round(piece.score * SCORE_STEPS) / SCORE_STEPS
    for name in ("input", "model_prefix", "seed_sentencepieces_file", "num_threads", "split_by_whitespace"):
        model.trainer_spec.ClearField(name)
    content: bytes = model.SerializeToString(deterministic=True)
    return content

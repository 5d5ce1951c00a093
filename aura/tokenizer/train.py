"""Training: word counts and parameters in, the bytes of a SentencePiece model out, the same everywhere.

What would let bytes differ is fixed: words come sorted, the number of threads is a constant (it decides the
order in which floating-point sums are made), and the model's record of paths and threads is cleared.
Unigram scores are rounded to 1/64: sums of them are then exact in 32 bits, so that a word has the same best
segmentation alone as inside a long line; bytes per token stay the same (measured: 3.9696 before and after).
Learning from counts costs unigram up to 1 % of bytes per token against learning from running text.

Nothing is lost: no normalisation, no added or removed space, and bytes for characters without a piece.
"""

import re
from io import BytesIO
from typing import Any

import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as model_pb2

from aura.errors import UserError
from aura.params import TrainTokenizer
from aura.tokenizer import symbols
from aura.tokenizer.counts import MAX_WORD_CHARS, WordCounts
from aura.tokenizer.model_file import SCORE_STEPS

_TOO_SMALL = re.compile(r"Vocabulary size is smaller than required_chars\. \d+ vs (\d+)")
_MEND = "Set vocab_size (train_tokenizer in params.yaml, or --vocab_size)"

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
    "num_threads": 16,
    "minloglevel": 2,
    **{f"{name}_id": place for place, name in enumerate(("pad", "bos", "eos", "unk"))},
    **dict(zip(("pad_piece", "bos_piece", "eos_piece", "unk_piece"), symbols.BASIC, strict=True)),
}


class VocabularyTooLarge(UserError):
    """More pieces were asked for than the corpus can give; `largest` are possible."""

    def __init__(self, message: str, largest: int) -> None:
        super().__init__(message)
        self.largest = largest


def symbols_of(options: TrainTokenizer) -> symbols.Symbols:
    """The fixed symbols that `options` ask for."""
    return symbols.symbols(
        special_tokens=options.special_tokens,
        reserved_tokens=options.reserved_tokens,
        user_symbols=options.user_symbols,
    )


def train_model(counts: WordCounts, options: TrainTokenizer) -> bytes:
    """Train a tokenizer of exactly `options.vocab_size` pieces and return its serialised model.

    A size that the corpus does not allow is a `UserError` that names the largest (`VocabularyTooLarge`) or smallest
    possible one.
    """
    if not counts.words:
        raise UserError("expected text to learn from, found no words in the training documents. Add documents.")
    model = _train(counts, options, options.vocab_size)
    if len(model.pieces) < options.vocab_size:
        largest = _largest_size(counts, options, len(model.pieces))
        raise VocabularyTooLarge(
            f"vocab_size is {options.vocab_size:,}, but the largest possible for this corpus of "
            f"{len(counts.words):,} distinct words is {largest:,}. {_MEND} to at most {largest}, or add text.",
            largest,
        )
    return _clean(model)


def vocabulary(model: bytes) -> str:
    """The text of spiece.vocab: `piece<TAB>score`, one line per piece in the order of ids.

    Backslashes, line breaks and tabs inside pieces are written as in Python (`\\n`), so a line stays a line.
    """
    pieces = model_pb2.ModelProto.FromString(model).pieces
    return "".join(f"{_escaped(piece.piece)}\t{piece.score:.10g}\n" for piece in pieces)


def _train(counts: WordCounts, options: TrainTokenizer, size: int) -> Any:  # noqa: ANN401 - a ModelProto
    written = BytesIO()
    fixed_symbols = symbols_of(options)
    settings = FIXED | {
        "sentence_iterator": iter(counts.rows()),
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
    try:
        sentencepiece.SentencePieceTrainer.train(**settings)
    except RuntimeError as error:
        too_small = _TOO_SMALL.search(str(error))
        if not too_small:
            raise UserError(
                f"SentencePiece could not learn pieces from {len(counts.words):,} distinct words: {error}. "
                "Add text, or take user symbols out that leave nothing of it."
            ) from None
        raise UserError(
            f"vocab_size is {size:,}, but the special tokens, 256 byte pieces and characters of this corpus "
            f"need {int(too_small[1]):,}. {_MEND} to at least {too_small[1]}, or lower character_coverage."
        ) from None
    return model_pb2.ModelProto.FromString(written.getvalue())


def _largest_size(counts: WordCounts, options: TrainTokenizer, size: int) -> int:
    """The first size from `size` down that training reaches: unigram prunes more when asked for less."""
    while (reached := len(_train(counts, options, size).pieces)) < size:
        size = reached
    return size


def _clean(model: Any) -> bytes:  # noqa: ANN401 - a ModelProto
    """Round unigram scores, drop what tells of the machine, and serialise in one way only."""
    if model.trainer_spec.model_type == model_pb2.TrainerSpec.UNIGRAM:
        for piece in model.pieces:
            if piece.type == model_pb2.ModelProto.SentencePiece.NORMAL:
                piece.score = round(piece.score * SCORE_STEPS) / SCORE_STEPS
    for name in ("input", "model_prefix", "seed_sentencepieces_file", "num_threads"):
        model.trainer_spec.ClearField(name)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _escaped(piece: str) -> str:
    for character, written in (("\\", "\\\\"), ("\n", "\\n"), ("\t", "\\t"), ("\r", "\\r")):
        piece = piece.replace(character, written)
    return piece

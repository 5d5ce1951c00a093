"""More pieces for a SentencePiece model, BPE or unigram, without another id for what it had.

BPE takes the adjacent pair whose merged text has the highest score. New pieces score below all of the base, in the
order learnt: the base's own merges run first, as ever, and go on from there. So text in which no two adjacent tokens
of the base spell a new piece keeps its ids: that is a proof, not a measurement.

Unigram takes the segmentation with the highest sum of scores. A new piece scores a little more than the best that was
there to spell it, `ABOVE` for the last learnt and twice that for the first. So it replaces this spelling, and a text's
other segmentations keep their order. The first wins over a later one that overlaps it: with one distance for all,
there would be ties, which two libraries break in two ways. Segmentations that were nearly as good as the best may win
now: measured, and bounded, by `aura.train_tokenizer.extension`.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np
import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as model_pb2

from aura.core.errors import UserError
from aura.tokenizer.model_file import SCORE_STEPS
from aura.tokenizer.symbols import SPACE

LARGEST = 1e30  # of scores; 32 bits hold some above
ABOVE = 1 / 8  # of a score, which is a natural logarithm
_TYPES = model_pb2.ModelProto.SentencePiece
_KINDS = {model_pb2.TrainerSpec.BPE: "BPE", model_pb2.TrainerSpec.UNIGRAM: "unigram"}


class SentencePieceBase:
    """A SentencePiece model to extend.

    Arguments:
        content: the bytes of the file.
        name: what errors call it.

    Raises:
        UserError: a model that is neither BPE nor unigram, puts spaces behind words, or has scores that are no numbers.
    """

    file = "tokenizer.model"

    def __init__(self, content: bytes, name: str) -> None:
        self._model = model_pb2.ModelProto.FromString(content)
        kind = _KINDS.get(self._model.trainer_spec.model_type)
        if kind is None or self._model.trainer_spec.treat_whitespace_as_suffix:
            got = "one that puts spaces behind words" if kind else "another kind of model (words or characters)"
            raise UserError(f"{name}: expected BPE or unigram with spaces before words to extend, got {got}")
        self._is_bpe = kind == "BPE"
        self._scores = {
            entry.piece: entry.score for entry in self._model.pieces if entry.type in (_TYPES.NORMAL, _TYPES.UNUSED)
        }
        if not all(abs(score) < LARGEST for score in self._scores.values()):
            raise UserError(
                f"{name}: expected scores of pieces between ±{LARGEST:g}, got others. Nothing fits below them"
            )
        self.vocabulary = {entry.piece for entry in self._model.pieces}
        self.vocab_size = len(self._model.pieces)
        self.ranks = {piece: -score for piece, score in self._scores.items()} if self._is_bpe else {}
        self._bytes = {entry.piece for entry in self._model.pieces if entry.type == _TYPES.BYTE}
        self._alone = _without_prefix(self._model)

    def units(self, texts: Sequence[str]) -> list[list[str]]:
        """Each text as pieces; a character that has none is itself. A text is taken as if more stood before it."""
        return [self._units(pieces) for pieces in self._alone.Encode([*texts], out_type=str)]

    def spelt(self, pieces: Sequence[str]) -> list[list[int]]:
        """The ids of the base that spell each piece."""
        ids: list[list[int]] = self._alone.Encode([*pieces])
        return ids

    def cost(self, unit: str) -> int:
        """Tokens that a unit is: 1, or the bytes of a character that has no piece.

        A base without byte pieces loses the character; it counts as if it had them.
        """
        return 1 if unit in self._scores or unit in self.vocabulary else len(unit.encode())

    def text(self, piece: str) -> str:
        """The text of a piece, a space before a word as a space."""
        return piece.replace(SPACE, " ")

    def extended(self, pieces: Sequence[str]) -> bytes:
        """The bytes of the model with more pieces, which get the next ids in their order."""
        model = model_pb2.ModelProto()
        model.CopyFrom(self._model)
        scores = self._lower_scores(len(pieces)) if self._is_bpe else self._unigram_scores(pieces)
        for piece, score in zip(pieces, scores, strict=True):
            model.pieces.add(piece=piece, score=score, type=_TYPES.NORMAL)
        model.trainer_spec.vocab_size = len(model.pieces)
        content: bytes = model.SerializeToString(deterministic=True)
        return content

    def _units(self, pieces: Iterable[str]) -> list[str]:
        units: list[str] = []
        held = b""
        for piece in pieces:
            if piece in self._bytes:
                held += bytes([int(piece[3:5], 16)])
                continue
            units += held.decode()
            held = b""
            units += [piece] if piece in self.vocabulary else piece  # unknown characters may come together
        return [*units, *held.decode()]

    def _lower_scores(self, number: int) -> list[float]:
        """Scores that 32 bits tell apart, below all that the base has, each below the one before."""
        lowest = min(self._scores.values(), default=0.0)
        step = max(1.0, 2 * float(np.spacing(np.float32(abs(lowest)))))
        while lowest - step * number == lowest or 2 * float(np.spacing(np.float32(abs(lowest - step * number)))) > step:
            step *= 2
        return [float(np.float32(lowest - step * place)) for place in range(1, number + 1)]

    def _unigram_scores(self, pieces: Sequence[str]) -> list[float]:
        """The score of each piece: a little more than that of its best spelling by the pieces before it."""
        known = dict(self._scores)
        exact = all((score * SCORE_STEPS).is_integer() for score in known.values())  # sums of ours are, and stay so
        lowest = min(known.values(), default=0.0)
        longest = max(map(len, chain(known, pieces)), default=1)
        scores = []
        for place, piece in enumerate(pieces):
            above = ABOVE * (2 - math.log(place + 1) / math.log(len(pieces) + 1))
            above = round(above * SCORE_STEPS) / SCORE_STEPS if exact else above
            best = lowest if len(piece) == 1 else _best(piece, known, longest, lowest) + above
            known[piece] = float(np.float32(best))
            scores.append(known[piece])
        return scores


def _best(text: str, scores: dict[str, float], longest: int, lowest: float) -> float:
    """The highest sum of scores of pieces that spell a text; a character without one has the lowest."""
    best = [0.0]
    for end in range(1, len(text) + 1):
        sums = (
            best[begin] + score
            for begin in range(max(0, end - longest), end)
            if (score := scores.get(text[begin:end])) is not None
        )
        best.append(max(sums, default=best[end - 1] + lowest))
    return best[-1]


def _without_prefix(model: model_pb2.ModelProto) -> sentencepiece.SentencePieceProcessor:
    """The same model for parts of a text: no space is added before them, none is taken away."""
    changed = model_pb2.ModelProto()
    changed.CopyFrom(model)
    changed.normalizer_spec.add_dummy_prefix = False
    changed.normalizer_spec.remove_extra_whitespaces = False
    processor = sentencepiece.SentencePieceProcessor()
    processor.LoadFromSerializedProto(changed.SerializeToString())
    return processor

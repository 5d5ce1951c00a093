"""The elbow of the curve of bytes per token by vocabulary size, measured on the text itself in a second or two.

For text that is too little for the scaling law. A tenth of the words is set aside to judge by. BPE learns its pieces
one after the other, so one training gives the tokenizers of all smaller sizes. The curve of unigram bends at the same
size, and would take five trainings. Larger corpora are thinned to `MOST` words, which bounds the time.
"""

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as model_pb2

from aura.train_tokenizer import train
from aura.train_tokenizer.options import TrainTokenizer

SIZES = (2_048, 4_096, 8_192, 16_384, 32_768)
GAIN = 0.05  # more bytes per token, that a doubling of the vocabulary must give
LEARNABLE = 100  # occurrences of a piece: below, it is hard to learn (Gowda & May 2020, 2020.findings-emnlp.352)
SET_ASIDE = 0.1  # of the words, to judge by
MOST = 4_000_000  # words, of which 4 MB to 20 MB of text have as many
_IRRATIONAL = (0.6180339887498949, 0.7548776662466927)  # multiples of one spread evenly over 0 to 1

Curve = list[tuple[int, float]]  # vocabulary size and bytes per token


def elbow(curve: Curve, text: int) -> tuple[int, str]:
    """Return the last size that is worth its doubling, and the sentence that says so; `text` is its bytes in all.

    The words that judge are of the same documents as those that are learnt from, so the curve of little text rises too
    long. A piece must therefore also occur `LEARNABLE` times, on average.
    """
    taken, told = curve[0][0], "no larger size was measured"
    for (_, less), (size, more) in itertools.pairwise(curve):
        gain, occurrences = more / less - 1, text / more / size
        if gain < GAIN:
            told = f"{size:,} would give only {100 * gain:.1f} % more, below {100 * GAIN:.0f} %"
            break
        if occurrences < LEARNABLE:
            told = f"of {size:,}, each would occur {occurrences:.0f} times on average, below {LEARNABLE}"
            break
        taken = size
    figures = ", ".join(f"{value:.2f} with {size:,}" for size, value in curve)
    return taken, f"measured bytes per token are {figures}; taken: {taken:,}, as {told}"


def measured(segments: pa.Table, options: TrainTokenizer) -> Curve:
    """Bytes per token by vocabulary size, for those of SIZES that the text allows; `segments` are `counts.SCHEMA`."""
    segments = segments.sort_by("text")
    counts = segments["count"].to_numpy()
    kept = _part(counts, min(1.0, MOST / max(int(counts.sum()), 1)), _IRRATIONAL[0])
    judging = _part(kept, SET_ASIDE, _IRRATIONAL[1])
    model = _trained(_with_counts(segments, kept - judging), options.model_copy(update={"model_type": "bpe"}))
    texts = segments["text"].filter(pa.array(judging > 0)).to_pylist()
    weights = judging[judging > 0]
    size_of_text = sum(len(text.encode()) * int(weight) for text, weight in zip(texts, weights, strict=True))
    found = []
    for size, processor in _of_smaller_sizes(model) if model and texts else ():
        tokens = np.array([len(ids) for ids in processor.Encode(texts, return_type="numpy")])
        found.append((size, size_of_text / int((tokens * weights).sum())))
    return found


def _part(counts: npt.NDArray[np.int64], share: float, irrational: float) -> npt.NDArray[np.int64]:
    """That share of each count, rounded up or down so that small counts keep it on average; always the same."""
    spread = np.arange(1, len(counts) + 1) * irrational % 1
    return np.floor(counts * share + spread).astype(np.int64).clip(max=counts)


def _with_counts(segments: pa.Table, counts: npt.NDArray[np.int64]) -> pa.Table:
    return segments.set_column(1, "count", pa.array(counts)).filter(pa.array(counts > 0))


def _trained(segments: pa.Table, options: TrainTokenizer) -> bytes | None:
    """The tokenizer of the largest of SIZES, or of the largest size that the text allows; None if that is none."""
    try:
        return train.train_model(segments, options, SIZES[-1])
    except train.VocabularyTooLarge as error:
        return train.train_model(segments, options, error.largest) if error.largest >= SIZES[0] else None
    except train.VocabularyTooSmall:
        return None


def _of_smaller_sizes(content: bytes) -> Iterator[tuple[int, sentencepiece.SentencePieceProcessor]]:
    """The tokenizers with the first pieces that a BPE model learnt; characters, symbols and bytes stay."""
    model = model_pb2.ModelProto.FromString(content)
    pieces = list(model.pieces)
    learnt = [piece.type == piece.NORMAL and len(piece.piece) > 1 for piece in pieces]
    always = [piece for piece, is_learnt in zip(pieces, learnt, strict=True) if not is_learnt]
    merged = [piece for piece, is_learnt in zip(pieces, learnt, strict=True) if is_learnt]
    for size in SIZES:
        if len(always) < size <= len(pieces):
            smaller = model_pb2.ModelProto.FromString(content)
            del smaller.pieces[:]
            smaller.pieces.extend([*always, *merged[: size - len(always)]])
            yield size, sentencepiece.SentencePieceProcessor(model_proto=smaller.SerializeToString())

"""The pieces that unigram training begins with: the substrings that stand for most text.

SentencePiece finds them in running text with a suffix array (16 bytes a byte), and in counted words ignores what it
should weigh. Here substrings grow by one character at a time: each is its prefix's number and one more character,
numbered as they come, so that a level is a few passes of NumPy over the places still alive. A place dies when its
substring is so rare that no longer one can reach the best `size`: counts only fall as strings grow.
The score is SentencePiece's own, count times characters.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from aura.tokenizer.symbols import SPACE
from aura.train_tokenizer import counts

Places = npt.NDArray[np.integer]  # in the text: 32 bits, or 64 where it has so many characters
Seeds = list[tuple[str, int]]  # pieces as SentencePiece spells them, with their counts


@dataclass(frozen=True)
class _Level:
    """The distinct substrings of one length: where each first occurs, and how often in all."""

    length: int
    first: Places
    weight: npt.NDArray[np.int64]

    @property
    def score(self) -> npt.NDArray[np.int64]:
        return self.weight * self.length


def seeds(segments: pa.Table, size: int, max_chars: int) -> Seeds:
    """The `size` best substrings of 2 to `max_chars` characters and their counts, best first.

    A substring that occurs once, or is always followed by one and the same character, is left out, as in a suffix tree;
    ties go by the text. The result does not depend on the order of `segments`' rows.
    """
    segments = counts.in_order(segments)
    if not len(segments) or max_chars < 2:
        return []
    texts = segments["text"].combine_chunks()
    values, _ = counts.utf8(texts)
    codes = np.frombuffer(values.tobytes().decode().encode("utf-32-le"), np.uint32)
    lengths = pc.utf8_length(texts).to_numpy()
    weights = np.repeat(segments["count"].to_numpy().astype(float), lengths)  # exact below 2**53
    place = np.int32 if len(codes) < 2**31 else np.int64
    ends = np.repeat(np.cumsum(lengths).astype(place), lengths)
    found = _levels(codes, weights, ends, size, max_chars)
    score = np.concatenate([level.score for level in found])
    first = np.concatenate([level.first for level in found])
    length = np.repeat([level.length for level in found], [len(level.first) for level in found])
    weight = np.concatenate([level.weight for level in found])
    # Rows are sorted, so the place of the first occurrence orders ties, and longer strings come first.
    order = np.lexsort((first, -length, -score))[:size]
    text = codes.astype("<u4").tobytes().decode("utf-32-le")
    return [
        (text[place : place + chars].replace(" ", SPACE), count)
        for place, chars, count in zip(
            first[order].tolist(), length[order].tolist(), weight[order].tolist(), strict=True
        )
    ]


def _levels(
    codes: npt.NDArray[np.uint32], weights: npt.NDArray[np.float64], ends: Places, size: int, max_chars: int
) -> list[_Level]:
    """The substrings of each length that may be among the best, those always continued alike left out."""
    alphabet = int(codes.max()) + 1
    alive = np.arange(len(codes), dtype=ends.dtype)
    number = codes.astype(ends.dtype)  # of the substring that begins at each living place
    found: list[_Level] = []
    best = np.empty(0, np.int64)
    previous: _Level | None = None
    for length in range(2, max_chars + 2):
        kept = alive + length <= ends[alive]
        alive, number = alive[kept], number[kept]
        distinct, number, first = _numbered(number.astype(np.int64) * alphabet + codes[alive + (length - 1)])
        total = np.bincount(number, weights=weights[alive]).astype(np.int64)
        level = _Level(length, alive[first], total)
        if previous is not None:
            found.append(_branching(previous, distinct // alphabet, total))
            best = np.concatenate([best, found[-1].score])
            if len(best) > size:
                best = np.partition(best, -size)[-size:]
        threshold = int(best.min()) if len(best) >= size else 0
        hopeful = (total > 1) & (total * max_chars >= threshold)
        living = hopeful[number]
        renumber = (np.cumsum(hopeful) - 1).astype(ends.dtype)
        alive, number = alive[living], renumber[number[living]]
        previous = _Level(length, level.first[hopeful], total[hopeful])
    return found


def _numbered(keys: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], Places, Places]:
    """Distinct keys as they come, the number of each key among them, and where each distinct one comes first."""
    encoded = pa.array(keys).dictionary_encode()
    number = encoded.indices.to_numpy()
    highest = np.maximum.accumulate(number)
    first = np.flatnonzero(np.append(True, highest[1:] != highest[:-1])[: len(keys)])
    return encoded.dictionary.to_numpy(), number, first


def _branching(level: _Level, parent: npt.NDArray[np.int64], total: npt.NDArray[np.int64]) -> _Level:
    """The substrings of `level` that do not go on with one and the same character wherever they occur."""
    longest = np.zeros(len(level.first), np.int64)
    np.maximum.at(longest, parent, total)
    branching = longest < level.weight
    return _Level(level.length, level.first[branching], level.weight[branching])


def tsv(pieces: Seeds) -> str:
    """The content of SentencePiece's seed_sentencepieces_file."""
    return "".join(f"{piece}\t{count}\n" for piece, count in pieces)

"""The rows that training learns from: segments, cut where no piece will lie across. The pieces are the same.

Unigram takes its pieces from the seeds. So a place is cut if no seed holds the two characters beside it: what stands on
one side of it says nothing of the other.

BPE merges the commonest pair of neighbours, again and again, and no pair occurs more often than the one before it. So
if the last one occurs `least` times, no merge joined two characters that meet less often in all the text, and segments
are cut between such characters.

How often the last pair occurs is known only after training. So `least` is a guess, which a row can prove: if two or
three letters are a row and no piece, the row still holds a pair that could be merged. That pair occurs as often as the
row, or more, and the last pair that was merged as often as that. (Two single characters are never left beside each
other once their pair was merged; three letters in two parts are one pair.) Without such a row, training begins again
with whole segments.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from aura.train_tokenizer import counts
from aura.train_tokenizer import segments as cutting
from aura.train_tokenizer.segments import Codes

_RANK = 0.75  # of as many segments as there will be pieces, the last one occurs about as often as the last pair or less
_LETTERS = (  # of one script each
    *("A-Za-z", "\u0410-\u044f", "\u05d0-\u05ea", "\u0915-\u0939", "\uac00-\ud7a3", "\u4e00-\u9fff"),
)
_LONGEST = 3  # characters of a row that proves
_ROW = "^ ?(" + "|".join(f"[{letters}]+" for letters in _LETTERS) + ")$"


def least_count(segments: pa.Table, size: int, max_chars: int) -> int:
    """A guess of how often the last pair occurs that BPE merges for `size` pieces; 0 for no guess."""
    chars = pc.utf8_length(segments["text"]).to_numpy()
    found = segments["count"].to_numpy()[(chars > 1) & (chars <= max_chars)]
    rank = int(_RANK * size)
    return int(np.partition(found, -rank)[-rank]) if 0 < rank <= len(found) else 0


def cut_at_rare_pairs(segments: pa.Table, least: int) -> pa.Table:
    """Rows for BPE, cut between characters that meet less than `least` times; in no order."""
    codes, begins = cutting.characters(segments)
    inside = np.flatnonzero(~begins[1:])  # the first of two neighbours
    pairs = pa.array(_pairs(codes, inside)).dictionary_encode()
    weights = segments["count"].to_numpy()[(np.cumsum(begins) - 1)[inside]]
    rare = np.bincount(pairs.indices.to_numpy(), weights) < least  # sums are exact below 2**53
    return _cut(segments, codes, begins, inside[rare[pairs.indices.to_numpy()]])


def cut_between_seeds(segments: pa.Table, pieces: Sequence[str]) -> pa.Table:
    """Rows for unigram, cut between characters that stand beside each other in none of `pieces`; in no order."""
    codes, begins = cutting.characters(segments)
    inside = np.flatnonzero(~begins[1:])
    held, starts = cutting.characters(pa.table({"text": pa.array(pieces, pa.large_string())}))
    joined = pc.is_in(pa.array(_pairs(codes, inside)), pa.array(_pairs(held, np.flatnonzero(~starts[1:]))))
    return _cut(segments, codes, begins, inside[~joined.to_numpy(zero_copy_only=False)])


def _pairs(codes: Codes, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The character at each place and the one after it, as a number."""
    return codes[places].astype(np.int64) << 32 | codes[places + 1]


def _cut(segments: pa.Table, codes: Codes, begins: npt.NDArray[np.bool_], places: npt.NDArray[np.int64]) -> pa.Table:
    """Cut after some characters, but after a space never: SentencePiece looks for spaces itself."""
    cuts = begins.copy()
    cuts[places[codes[places] != ord(" ")] + 1] = True
    return counts.summed(cutting.parted(segments, begins, cuts))


def is_proven(rows: pa.Table, least: int, pieces: AbstractSet[str], max_chars: int) -> bool:
    """Return whether BPE's pieces, learnt from rows cut at rare pairs, are those of whole segments for certain."""
    common = rows.filter(pc.greater_equal(rows["count"], least))
    short = common.filter(pc.less_equal(pc.utf8_length(common["text"]), min(_LONGEST, max_chars)))
    texts = short["text"].filter(pc.match_substring_regex(short["text"], _ROW)).to_pylist()
    return any(len(text) > 1 and text not in pieces and pieces >= set(text) for text in texts)

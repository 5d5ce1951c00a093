"""The list of merges that a table of ranks or scores stands for.

SentencePiece, tiktoken and tekken keep no merges: any two neighbours whose union is a piece may be joined, the best
rank first and of one rank the leftmost. `tokenizers` needs a list of pairs. One pair for each piece is enough, and is
exact: a piece is made in a text only if nothing joins across its ends before. Its inside then goes the way that it
goes alone, so the last pair is always the same. Pieces that are not made of two others, even alone, get no pair.
"""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import TypeVar

LONGEST = 1000  # characters or bytes of a piece; the work is their square. Real pieces have up to 128
T = TypeVar("T", str, bytes)


def last_pair(piece: T, ranks: Mapping[T, float]) -> tuple[T, T] | None:
    """The two parts that are joined last where `piece` alone is merged; None where it is never made.

    Arguments:
        piece: a text, or bytes.
        ranks: of all pieces that merging can make, the lowest first.
    """
    parts = [piece[place : place + 1] for place in range(len(piece))]
    unions = [ranks.get(left + right) for left, right in pairwise(parts)]
    while len(parts) > 2:
        place = _best(unions)
        if place is None:
            return None
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
        del unions[place]
        for beside in (place - 1, place):
            if 0 <= beside < len(unions):
                unions[beside] = ranks.get(parts[beside] + parts[beside + 1])
    return (parts[0], parts[1]) if len(parts) == 2 and piece in ranks else None


def merges(pieces: Iterable[T], ranks: Mapping[T, float]) -> dict[T, tuple[T, T]]:
    """The pair of each piece that has one, in the order of `pieces`; a piece beyond `LONGEST` gets none."""
    found = ((piece, last_pair(piece, ranks)) for piece in pieces if 1 < len(piece) <= LONGEST)
    return {piece: pair for piece, pair in found if pair}


def _best(unions: list[float | None]) -> int | None:
    """The leftmost place of the lowest rank."""
    best = None
    for place, rank in enumerate(unions):
        if rank is not None and (best is None or rank < unions[best]):  # type: ignore[operator]  # no None there
            best = place
    return best

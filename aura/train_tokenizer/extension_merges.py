"""New pieces for a tokenizer that exists: greedy merges of the tokens that it gives, the one that saves most first.

The words of the new text, as the base encodes them, are where byte-pair encoding goes on (Sennrich et al. 2016,
1508.07909). A candidate is two adjacent tokens, known by the text that they spell together, as SentencePiece and
tiktoken know merges. A character that the base has no piece of is a candidate, too: it saves all its bytes but one.
So each new piece is spelt by pieces that were there before it.

Gains are kept up to date: a merge looks again at the words that hold it, and at no others. The price is memory: some
1.8 kB for each distinct part of a word that has a letter to teach, measured with 40,000 of Greek, Korean and Hindi.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise

LEAST = 2  # tokens that a piece must save in the new text
Units = list[str]  # a word as texts of tokens; a character without a piece is itself


def settled(units: Sequence[str], ranks: Mapping[str, float]) -> Units:
    """Merge adjacent units, the lowest rank first and there the leftmost, until no two of them make a ranked text."""
    merged = [*units]
    while True:
        found = [
            (rank, place)
            for place, pair in enumerate(pairwise(merged))
            if (rank := ranks.get(pair[0] + pair[1])) is not None
        ]
        if not found:
            return merged
        _, place = min(found)
        merged[place : place + 2] = [merged[place] + merged[place + 1]]


class Learner:
    """Words with their counts, and what could be merged in them.

    Arguments:
        words: the distinct words as units.
        counts: how often each of them occurs.
        ranks: pieces that merge wherever two units spell them: those of the base, if it knows merges by their text.
        vocabulary: all names that the base has; no new piece gets one of them.
        cost: tokens that the base needs for a character without a piece.
        allowed: whether a text may be a piece; asked once for each.
    """

    def __init__(
        self,
        words: Sequence[Units],
        counts: Sequence[int],
        *,
        ranks: Mapping[str, float],
        vocabulary: set[str],
        cost: Callable[[str], int],
        allowed: Callable[[str], bool],
    ) -> None:
        self._words, self._counts = [*words], counts
        self._ranks, self._vocabulary = dict(ranks), set(vocabulary)
        self._worst = max(self._ranks.values(), default=0.0)
        self._cost, self._allowed = cost, allowed
        self._verdicts: dict[str, bool] = {}
        self._gains: Counter[str] = Counter()
        self._where: dict[str, list[int]] = {}  # words that hold a candidate, or held it once
        for word, units in enumerate(self._words):
            self._enter(word, {}, self._candidates(units))
        self._heap = [(-gain, piece) for piece, gain in self._gains.items()]
        heapify(self._heap)

    def learn(self, number: int, accept: Callable[[str], bool]) -> list[str]:
        """The next `number` pieces, or fewer if no more save tokens.

        `accept` is asked for the best candidate at its turn; one that it refuses is gone.
        """
        learnt: list[str] = []
        while self._heap and len(learnt) < number:
            negative, piece = heappop(self._heap)
            gain = self._gains.get(piece, 0)
            if gain < LEAST or piece in self._vocabulary:
                continue
            if gain != -negative:
                if gain < -negative:  # otherwise another entry has the gain of now
                    heappush(self._heap, (-gain, piece))
                continue
            if not accept(piece):
                self._verdicts[piece] = False
                del self._gains[piece]
                continue
            self._merge(piece)
            learnt.append(piece)
        return learnt

    def words(self) -> list[Units]:
        """The words as they are now."""
        return self._words

    def _merge(self, piece: str) -> None:
        self._worst += 1
        self._ranks[piece] = self._worst
        holders = {*self._where.pop(piece)}
        before = {word: self._candidates(self._words[word]) for word in holders}
        self._vocabulary.add(piece)
        self._verdicts[piece] = False
        grown: set[str] = set()
        for word in holders:
            self._words[word] = settled(self._words[word], self._ranks)
            after = self._candidates(self._words[word])
            self._enter(word, before[word], after)
            grown.update(after)
        for candidate in grown:
            heappush(self._heap, (-self._gains[candidate], candidate))

    def _candidates(self, units: Units) -> dict[str, int]:
        """The pieces that could be merged in a word, with the tokens that each saves there."""
        found: dict[str, int] = {}
        before = None
        for unit in units:
            if unit not in self._vocabulary:
                if self._is_allowed(unit):
                    found[unit] = found.get(unit, 0) + self._cost(unit) - 1
                before = None
                continue
            if before is not None and self._is_allowed(joined := before + unit):
                found[joined] = found.get(joined, 0) + 1
            before = unit
        return found

    def _is_allowed(self, piece: str) -> bool:
        if (verdict := self._verdicts.get(piece)) is None:
            verdict = self._verdicts[piece] = piece not in self._vocabulary and self._allowed(piece)
        return verdict

    def _enter(self, word: int, before: Mapping[str, int], after: Mapping[str, int]) -> None:
        """Replace the candidates of a word by others."""
        count = self._counts[word]
        for candidate, times in before.items():
            if candidate in self._gains:
                self._gains[candidate] -= times * count
        for candidate, times in after.items():
            self._gains[candidate] += times * count
            if candidate not in before:
                self._where.setdefault(candidate, []).append(word)

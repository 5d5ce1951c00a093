"""How well a tokenizer fits documents it was not trained on, per source and overall.

Only measures with a stated formula; which of them gate the pipeline is said in params.yaml. Token counts
leave <bos> and <eos> out, as they are not text.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import compress

import numpy as np
import numpy.typing as npt

from aura.tokenizer.model_file import Kind
from aura.tokenizer.tokenizer import Ids, Tokenizer

RENYI_ORDER = 2.5  # of the entropy in `renyi_efficiency`; the paper's value


@dataclass
class Tally:
    """What was counted over some documents; all measures are ratios of these."""

    id_counts: npt.NDArray[np.int64]  # (vocab_size,), how often each id occurred
    documents: int = 0
    bytes: int = 0  # UTF-8
    characters: int = 0
    unknown_tokens: int = 0
    byte_tokens: int = 0
    words: Counter[str] = field(default_factory=Counter)  # between Unicode white space, as str.split
    continued_words: int = 0
    round_trip_failures: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(*(getattr(self, name) + getattr(other, name) for name in vars(self)))

    @property
    def tokens(self) -> int:
        """Number of tokens."""
        return int(self.id_counts.sum())

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes / tokens: compression, comparable over vocabularies and languages' spellings alike."""
        return _ratio(self.bytes, self.tokens)

    @property
    def characters_per_token(self) -> float:
        """Unicode code points / tokens."""
        return _ratio(self.characters, self.tokens)

    @property
    def fertility(self) -> float:
        """Tokens / white-space words; 1 would be a token a word (Ács 2019; Rust et al. 2021, 2021.acl-long.243).

        Tokens of line breaks and indentation count too, so code and lists have more than prose.
        """
        return _ratio(self.tokens, self.words.total())

    @property
    def continued_word_share(self) -> float:
        """Share of word occurrences that take two or more tokens after a space (Rust et al. 2021)."""
        return _ratio(self.continued_words, self.words.total())

    @property
    def unknown_share(self) -> float:
        """<unk> tokens / tokens; 0 by construction with byte fallback."""
        return _ratio(self.unknown_tokens, self.tokens)

    @property
    def byte_fallback_share(self) -> float:
        """Byte pieces / tokens: how much of the text is in characters without a piece of their own."""
        return _ratio(self.byte_tokens, self.tokens)


@dataclass
class Measured:
    """The result: a tally per source and of all together, and a failing example if there is any."""

    sources: dict[str, Tally]
    overall: Tally
    failing_example: str | None  # the shortest text found that does not decode to itself


def measure(tokenizer: Tokenizer, batches: Iterable[tuple[Sequence[str], Sequence[str]]], threads: int = 1) -> Measured:
    """Measure over batches of (texts, the source of each); `threads` changes the speed and nothing else."""
    sources: dict[str, Tally] = {}
    failing: list[str] = []
    for texts, names in batches:
        encoded = tokenizer.encode_batch(texts, threads)
        wrong = [tokenizer.decode(ids) != text for text, ids in zip(texts, encoded, strict=True)]
        failing = sorted([*failing, *compress(texts, wrong)], key=len)[:1]
        for name in set(names):
            chosen = [other == name for other in names]
            tally = sources.setdefault(name, Tally(np.zeros(tokenizer.vocab_size, np.int64)))
            _count(tally, list(compress(texts, chosen)), list(compress(encoded, chosen)))
            tally.round_trip_failures += sum(compress(wrong, chosen))
    for tally in sources.values():
        _classify(tokenizer, tally)
    overall = sum(sources.values(), Tally(np.zeros(tokenizer.vocab_size, np.int64)))
    smallest = [
        smallest_failing(text, lambda part: tokenizer.decode(tokenizer.encode(part)) != part) for text in failing
    ]
    return Measured(dict(sorted(sources.items())), overall, smallest[0] if smallest else None)


def unused_share(tokenizer: Tokenizer, id_counts: npt.NDArray[np.int64]) -> float:
    """Learnt pieces that occurred in no document / learnt pieces (cf. Gowda & May 2020, 2020.findings-emnlp.352).

    Special tokens, reserved slots, bytes and user symbols are there for other reasons, and not counted.
    """
    learnt = np.array([kind is Kind.LEARNT for kind in tokenizer.kinds])
    return _ratio(int((id_counts[learnt] == 0).sum()), int(learnt.sum()))


def renyi_efficiency(id_counts: npt.NDArray[np.int64]) -> float:
    """H_a / log V with H_a = log(sum p_i^a) / (1 - a), a = 2.5, over the V ids (Zouhar et al. 2023, 2023.acl-long.284).

    For the record only: it can be raised at will while models get worse (Cognetta et al. 2024, arXiv 2402.14614).
    """
    total = int(id_counts.sum())
    if total == 0:
        return 0.0
    powers = math.fsum((int(count) / total) ** RENYI_ORDER for count in id_counts[id_counts > 0])
    return math.log(powers) / (1 - RENYI_ORDER) / math.log(len(id_counts))


def smallest_failing(text: str, fails: Callable[[str], bool]) -> str:
    """Cut `text` down while it still fails: no part of the result, at the sizes tried, can be taken out."""
    size = len(text) // 2
    while size:
        start = 0
        while start < len(text):
            shorter = text[:start] + text[start + size :]
            if fails(shorter):
                text = shorter
            else:
                start += size
        size //= 2
    return text


def _count(tally: Tally, texts: Sequence[str], encoded: Sequence[Ids]) -> None:
    """Add documents of one source."""
    tally.id_counts += np.bincount(np.concatenate(encoded), minlength=len(tally.id_counts))
    tally.documents += len(texts)
    tally.bytes += sum(len(text.encode()) for text in texts)
    tally.characters += sum(map(len, texts))
    for text in texts:
        tally.words.update(text.split())


def _classify(tokenizer: Tokenizer, tally: Tally) -> None:
    """Fill in the counts that need to know what an id is, or the distinct words."""
    tally.unknown_tokens = int(tally.id_counts[tokenizer.unk_id])
    tally.byte_tokens = int(tally.id_counts[[kind is Kind.BYTE for kind in tokenizer.kinds]].sum())
    distinct = list(tally.words)
    encoded = tokenizer.encode_batch([f" {word}" for word in distinct])
    tally.continued_words = sum(tally.words[word] for word, ids in zip(distinct, encoded, strict=True) if len(ids) > 1)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0

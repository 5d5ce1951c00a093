"""Counts over held-out text, and the measures that are ratios of them.

Only measures with a stated formula; which of them gate the pipeline is said in params.yaml. Token counts
leave <bos> and <eos> out, as they are not text. Any tokenizer can be measured: ours, and those of
aura/tokenizer/foreign.py.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from aura.core import unicode
from aura.tokenizer.id_arrays import Ids
from aura.tokenizer.model_file import Kind

RENYI_ORDER = 2.5  # of the entropy in `renyi_efficiency`; the paper's value

# Kinds of strings that tokenizers treat very differently. Each distinct one is encoded alone, after a space.
PROBES = {
    "url": r"https?://\S+",
    "identifier": f"{unicode.WORD_BEGINS}(?:[A-Za-z]{unicode.WORD}*_{unicode.WORD}+|[a-z]+[A-Z]{unicode.WORD}*)",
    "number": f"{unicode.DIGIT}+(?:[.,]{unicode.DIGIT}+)*",
    "whitespace": r"\s{2,}",
}
_PROBE = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in PROBES.items()))


class Measurable(Protocol):
    """The part of a tokenizer that measuring needs."""

    @property
    def vocab_size(self) -> int:
        """Number of ids."""

    @property
    def kinds(self) -> Sequence[Kind]:
        """The meaning of each id."""

    @property
    def unk_id(self) -> int | None:
        """The id of what cannot be encoded, where there is one."""

    def encode_batch(self, texts: Sequence[str], threads: int = 1) -> list[Ids]:
        """The ids of each text, without special tokens."""

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids."""


@dataclass
class Tally:
    """Counts over some documents; all measures are ratios of these. Tallies add up."""

    id_counts: npt.NDArray[np.int64]  # (vocab_size,), how often each id occurred
    documents: int = 0
    bytes: int = 0  # UTF-8
    characters: int = 0  # Unicode code points
    round_trip_failures: int = 0  # documents that do not decode to themselves
    words: Counter[str] = field(default_factory=Counter)  # between Unicode white space, as str.split
    probes: dict[str, Counter[str]] = field(default_factory=lambda: {name: Counter() for name in PROBES})

    def add(self, other: "Tally") -> None:
        """Take in what `other` counted."""
        self.id_counts += other.id_counts
        for name in ("documents", "bytes", "characters", "round_trip_failures"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.words.update(other.words)
        for name, strings in other.probes.items():
            self.probes[name].update(strings)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for another process: the ids that occurred, which are few in a small text."""
        used = np.flatnonzero(self.id_counts)
        counts = self.id_counts[used]
        least = np.min_scalar_type(int(counts.max(initial=0)))
        return self.__dict__ | {"id_counts": (len(self.id_counts), used.astype(np.uint32), counts.astype(least))}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over what `__getstate__` gave."""
        size, used, counts = state["id_counts"]
        self.__dict__ |= state | {"id_counts": np.zeros(size, np.int64)}
        self.id_counts[used] = counts

    @classmethod
    def total(cls, tallies: Iterable["Tally"], vocab_size: int) -> "Tally":
        """The sum of tallies."""
        total = cls(np.zeros(vocab_size, np.int64))
        for tally in tallies:
            total.add(tally)
        return total


@dataclass(frozen=True)
class Measures:
    """The measures of one group of documents; `dataclasses.asdict` gives a row of a table."""

    documents: int
    bytes: int
    tokens: int
    #: UTF-8 bytes / tokens: compression, comparable between vocabularies.
    bytes_per_token: float
    #: Unicode code points / tokens.
    characters_per_token: float
    #: Tokens / white-space words; 1 is a token a word (Ács 2019; Rust et al. 2021, 2021.acl-long.243). Tokens of line
    #: breaks and indentation count too, so code and lists have more than prose; text without spaces has no words.
    fertility: float
    #: Share of word occurrences that take two or more tokens, each word alone after a space (Rust et al. 2021).
    continued_word_share: float
    #: Single-token retention rate: share of distinct words that are one token (Nayeem et al. 2025, arXiv 2510.09947).
    single_token_retention_rate: float
    #: Share of learnt pieces that occurred in none of these documents. Special tokens, reserved slots, bytes and user
    #: symbols are there for other reasons, and not counted. It falls as the text grows; aura/validate/usage.py has the
    #: measures that do not.
    unseen_share: float
    #: H_a / log V over the V ids, H_a = log(sum p_i^a) / (1 - a), a = 2.5 (Zouhar et al. 2023, 2023.acl-long.284).
    #: For the record only: it can be raised at will while models get worse (Cognetta et al. 2024, arXiv 2402.14614).
    renyi_efficiency: float
    #: <unk> tokens / tokens; 0 by construction with byte fallback.
    unknown_share: float
    #: Byte pieces / tokens: how much of the text is in characters without a piece of their own.
    byte_fallback_share: float
    #: Documents that do not decode to themselves.
    round_trip_failures: int
    #: UTF-8 bytes / tokens of the strings that PROBES finds, weighted by occurrence; 0 where there are none.
    url_bytes_per_token: float
    identifier_bytes_per_token: float
    number_bytes_per_token: float
    whitespace_bytes_per_token: float


def count(tokenizer: Measurable, texts: Sequence[str], encoded: Sequence[Ids], failed: Sequence[bool]) -> Tally:
    """Count over documents, their ids, and whether each failed to decode to itself."""
    tally = Tally(np.bincount(np.concatenate(encoded), minlength=tokenizer.vocab_size).astype(np.int64))
    tally.documents = len(texts)
    tally.bytes = sum(len(text.encode()) for text in texts)
    tally.characters = sum(map(len, texts))
    tally.round_trip_failures = sum(failed)
    for text in texts:
        tally.words.update(text.split())
        for found in _PROBE.finditer(text):
            tally.probes[str(found.lastgroup)][found[0]] += 1
    return tally


def round_trip_failures(tokenizer: Measurable, texts: Sequence[str], encoded: Sequence[Ids]) -> list[bool]:
    """Mark the texts that do not decode to themselves."""
    return [tokenizer.decode(ids) != text for text, ids in zip(texts, encoded, strict=True)]


class Lengths(dict[str, int]):
    """Count the tokens of each string alone; each distinct one is encoded once.

    Arguments:
        tokenizer: what encodes.
        words: the words to know, each encoded after `prefix`.
        probes: other strings to know, likewise.
        prefix: what makes a word alone look as in running text: a space, or nothing if the tokenizer adds one.
    """

    def __init__(self, tokenizer: Measurable, tally: Tally, prefix: str = " ", threads: int = 1) -> None:
        distinct = sorted({*tally.words, *(string for strings in tally.probes.values() for string in strings)})
        encoded = tokenizer.encode_batch([prefix + string for string in distinct], threads) if distinct else []
        super().__init__(zip(distinct, map(len, encoded), strict=True))


def measure(tokenizer: Measurable, tally: Tally, lengths: Mapping[str, int]) -> Measures:
    """The measures of what was counted; `lengths` must know all words and probes of `tally`."""
    tokens, words = int(tally.id_counts.sum()), tally.words.total()
    learnt = tally.id_counts[[kind is Kind.LEARNT for kind in tokenizer.kinds]]
    byte_tokens = int(tally.id_counts[[kind is Kind.BYTE for kind in tokenizer.kinds]].sum())
    unknown = 0 if tokenizer.unk_id is None else int(tally.id_counts[tokenizer.unk_id])
    continued = sum(number for word, number in tally.words.items() if lengths[word] > 1)
    return Measures(
        documents=tally.documents,
        bytes=tally.bytes,
        tokens=tokens,
        bytes_per_token=_ratio(tally.bytes, tokens),
        characters_per_token=_ratio(tally.characters, tokens),
        fertility=_ratio(tokens, words),
        continued_word_share=_ratio(continued, words),
        single_token_retention_rate=_ratio(sum(lengths[word] == 1 for word in tally.words), len(tally.words)),
        unseen_share=_ratio(int((learnt == 0).sum()), len(learnt)),
        renyi_efficiency=renyi_efficiency(tally.id_counts),
        unknown_share=_ratio(unknown, tokens),
        byte_fallback_share=_ratio(byte_tokens, tokens),
        round_trip_failures=tally.round_trip_failures,
        **{f"{name}_bytes_per_token": _compression(tally.probes[name], lengths) for name in PROBES},
    )


def renyi_efficiency(id_counts: npt.NDArray[np.int64]) -> float:
    """The formula at `Measures.renyi_efficiency`."""
    total = int(id_counts.sum())
    if total == 0:
        return 0.0
    powers = math.fsum((int(count) / total) ** RENYI_ORDER for count in id_counts[id_counts > 0])
    return math.log(powers) / (1 - RENYI_ORDER) / math.log(len(id_counts))


def unreachable(tokenizer: Measurable, texts: Mapping[int, str]) -> list[int]:
    """The ids that their own text does not encode to: encode(decode(id)) != [id].

    Land & Bartolo 2024, arXiv 2405.05417. `texts` are the learnt pieces, by id. Such a piece is never trained on unless
    longer text brings it about.
    """
    encoded = tokenizer.encode_batch(list(texts.values())) if texts else []
    return [token for token, ids in zip(texts, encoded, strict=True) if ids.tolist() != [token]]


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


def _compression(strings: Counter[str], lengths: Mapping[str, int]) -> float:
    size = sum(number * len(string.encode()) for string, number in strings.items())
    return _ratio(size, sum(number * lengths[string] for string, number in strings.items()))


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0

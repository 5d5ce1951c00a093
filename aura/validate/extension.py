"""Measures of an extended tokenizer against its base: bytes per token and fertility, changed documents, unused pieces.

A document is counted with its source. Fertility is tokens per word, a word being a run of non-spaces (Rust et al. 2021,
2012.15613). By script, each distinct word counts with a space before it, as in running text, if all its letters are of
one script. Two tables of distinct words and the ids in use are all that grows.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

import numpy as np

from aura.tokenizer.id_arrays import Ids
from aura.tokenizer.letter_scripts import scripts_of

_AT_ONCE = 256  # documents
LISTED = 100  # changed documents that are named, at most
SHARE = 0.001  # of the words that a script must have to be told


class Encoder(Protocol):
    """A tokenizer, ours or an adopted one."""

    @property
    def vocab_size(self) -> int:
        """Number of ids."""

    def encode_batch(self, texts: Iterable[str], threads: int = 1) -> list[Ids]:
        """The ids of each text."""

    def piece(self, token: int) -> str:
        """The piece of an id."""


@dataclass
class _Total:
    """Sums over some text."""

    bytes: int = 0
    words: int = 0
    before: int = 0
    after: int = 0

    def record(self) -> dict[str, float | int]:
        tokens, words = ((max(self.before, 1), max(self.after, 1)), max(self.words, 1))
        return {
            "bytes": self.bytes,
            "bytes_per_token_before": round(self.bytes / tokens[0], 4),
            "bytes_per_token_after": round(self.bytes / tokens[1], 4),
            "fertility_before": round(self.before / words, 4),
            "fertility_after": round(self.after / words, 4),
        }


@dataclass
class _Old:
    """Old documents, and those whose ids changed."""

    documents: int = 0
    changed: int = 0
    listed: list[str] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        share = self.changed / max(self.documents, 1)
        return {
            "documents": self.documents,
            "changed": self.changed,
            "changed_share": round(share, 6),
            "changed_documents": self.listed,
        }


def measured(
    base: Encoder,
    extended: Encoder,
    new: Iterable[tuple[str, str]],
    old: Iterable[tuple[str, str]] = (),
) -> dict[str, Any]:
    """The measures as a plain dictionary.

    Arguments:
        base: the tokenizer before.
        extended: the same with more pieces.
        new: source and text of each document of the new text.
        old: name and text of each document that should keep its ids.

    Returns:
        `pieces`, `unused_pieces` (those that no document uses, old ones included) and `unused`, some of them;
        `by_source` and `by_script` with bytes per token and fertility before and after; `old` with the share of
        documents whose ids changed, and the names of at most `LISTED` of them.
    """
    sources: dict[str, _Total] = {}
    words: Counter[str] = Counter()
    used = np.zeros(extended.vocab_size, bool)
    for documents in _batches(new):
        texts = [text for _, text in documents]
        both = base.encode_batch(texts), extended.encode_batch(texts)
        for (source, text), before, after in zip(documents, *both, strict=True):
            split = text.split()
            _add(sources.setdefault(source, _Total()), text, len(split), before, after)
            words.update(split)
            used[after] = True
    kept = _Old()
    for documents in _batches(old):
        texts = [text for _, text in documents]
        both = base.encode_batch(texts), extended.encode_batch(texts)
        for (name, _), before, after in zip(documents, *both, strict=True):
            kept.documents += 1
            used[after] = True
            if not np.array_equal(before, after):
                kept.changed += 1
                kept.listed += [name] if len(kept.listed) < LISTED else []
    unused = base.vocab_size + np.flatnonzero(~used[base.vocab_size :])
    return {
        "pieces": extended.vocab_size - base.vocab_size,
        "unused_pieces": len(unused),
        "unused": [extended.piece(int(token)) for token in unused[:LISTED]],
        "by_source": {source: total.record() for source, total in sorted(sources.items())},
        "by_script": {script: total.record() for script, total in sorted(_by_script(base, extended, words).items())},
        "old": kept.record(),
    }


def _by_script(base: Encoder, extended: Encoder, words: Counter[str]) -> dict[str, _Total]:
    totals: dict[str, _Total] = {}
    for counted in _batches(words.items(), 100 * _AT_ONCE):
        # a space before each: as in running text, whether or not the tokenizer adds one to a text
        texts = [f"a {word}" for word, _ in counted]
        alone = [len(one.encode_batch(["a"])[0]) for one in (base, extended)]
        both = base.encode_batch(texts), extended.encode_batch(texts)
        for (word, count), before, after in zip(counted, *both, strict=True):
            scripts = scripts_of(word)
            if len(scripts) == 1:
                total = totals.setdefault(scripts.pop(), _Total())
                total.bytes += count * (1 + len(word.encode()))
                total.words += count
                total.before += count * (len(before) - alone[0])
                total.after += count * (len(after) - alone[1])
    least = SHARE * words.total()
    return {script: total for script, total in totals.items() if total.words >= least}


def _add(total: _Total, text: str, words: int, before: Ids, after: Ids) -> None:
    total.bytes += len(text.encode())
    total.words += words
    total.before += len(before)
    total.after += len(after)


def _batches(items: Iterable[Any], size: int = _AT_ONCE) -> Iterable[Sequence[Any]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch

"""An adopted tokenizer with more pieces, learnt from new text, and the proof of what it leaves as it was.

The ids of the base never move: new pieces have the ids from its size on. Old text keeps its ids as far as a bound
demands (`max_changed`). New pieces come from three rules:

- Each has letters of a script that the base spells badly (`letter_scripts`). So text in all other scripts cannot
  hold one.
- With old text, a piece that would change it spends from a budget: a changed place is at most one changed document.
  Pieces beyond the budget are left out.
- Where all scripts of the new text are spelt well, old text alone is the guard; without any, there is nothing to
  keep the promise by, and extending ends with an error.

The old text is then encoded with both models. Pieces in words that changed beyond the budget go, and others are learnt.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

from aura.core.bounded import read_json
from aura.core.errors import UserError
from aura.tokenizer import foreign, letter_scripts
from aura.tokenizer.adopted_record import EXTENDED
from aura.tokenizer.letter_scripts import Shape
from aura.train_tokenizer.counts import Counts, in_order
from aura.train_tokenizer.extension_byte_level import TekkenBase, TokenizerJsonBase
from aura.train_tokenizer.extension_merges import Learner
from aura.train_tokenizer.extension_sentencepiece import SentencePieceBase

RECORD, FORMAT = EXTENDED, 1
AT_ONCE = 100_000  # words that are encoded at a time
ROUNDS = 5  # of learning again without the pieces that changed too much


class Base(Protocol):
    """A tokenizer of some kind that can get more pieces."""

    file: str
    vocab_size: int
    vocabulary: set[str]
    ranks: dict[str, float]

    def units(self, texts: Sequence[str]) -> list[list[str]]:
        """Each text as the names of its tokens; a character that has none is itself."""

    def spelt(self, pieces: Sequence[str]) -> list[list[int]]:
        """The ids of the base that spell each piece."""

    def cost(self, unit: str) -> int:
        """Tokens that a unit is."""

    def text(self, piece: str) -> str:
        """The text of a piece; parts of characters as `surrogateescape` decodes them."""

    def extended(self, pieces: Sequence[str]) -> bytes:
        """The file with these pieces."""


@dataclass(frozen=True)
class Rules:
    """The rules for pieces that may be new.

    Attributes:
        longest: characters of a piece, at most.
        scripts: a piece has letters of one of these, as the names of Unicode's letters begin (`GREEK`); empty for
            those that the base spells badly.
        max_changed: share of old documents that may get other ids, 0 to 1.
    """

    longest: int = 16
    scripts: tuple[str, ...] = ()
    max_changed: float = 0.001


@dataclass(frozen=True)
class Extension:
    """An extended tokenizer.

    Attributes:
        files: the content of each file by its name: the tokenizer, and extended.json.
        record: extended.json: the size of the base, and the ids of the base that spell each new piece.
        pieces: the new pieces in the order of their ids.
        scripts: those that were taught; empty if any.
        changed_words: occurrences in the old text of words that got other ids; 0 without old text.
        refused: candidates that the old text forbade.
        notes: sentences for the user: what old text forbade.
    """

    files: dict[str, bytes]
    record: dict[str, Any]
    pieces: tuple[str, ...]
    scripts: tuple[str, ...]
    changed_words: int
    refused: int
    notes: tuple[str, ...]


class TooManyPieces(UserError):
    """More pieces were asked for than the new text can give; `possible` are."""

    def __init__(self, message: str, possible: int) -> None:
        super().__init__(message)
        self.possible = possible


def extended(
    base_file: Path, counts: Counts, pieces: int, rules: Rules | None = None, old: Counts | None = None
) -> Extension:
    """Extend a tokenizer by exactly so many pieces.

    Arguments:
        base_file: tokenizer.model, spiece.model, tokenizer.json or tekken.json.
        counts: segments of the new text (`corpus_counts`); no piece lies across two of them.
        pieces: how many, 1 or more.
        rules: which pieces may be new.
        old: segments of text that should keep its ids, cut in the same way.

    Raises:
        UserError: a file of a kind that cannot be extended, or nothing to keep the bound by.
        TooManyPieces: the new text has too few pieces that save tokens.
    """
    rules = rules or Rules()
    base = opened(base_file)
    words, occurrences = _units(base, counts)
    guard = _Guard(base, rules, old, int(rules.max_changed * old.account.documents) if old else 0)
    tokens = [sum(map(base.cost, units)) for units in words]
    scripts = _scripts(rules, _texts(counts), tokens, occurrences, has_old=old is not None)
    shape = Shape(scripts, rules.longest, _texts(counts))
    words, occurrences = _with_letters(words, occurrences, _texts(counts), scripts)

    def allowed(piece: str) -> bool:
        return shape.allows(base.text(piece))

    for _ in range(ROUNDS):
        learner = Learner(
            words, occurrences, ranks=base.ranks, vocabulary=base.vocabulary, cost=base.cost, allowed=allowed
        )
        guard.begin(allowed)
        learnt = learner.learn(pieces, guard.accept)
        if len(learnt) < pieces:
            raise _too_many(base_file, pieces, len(learnt), scripts, guard)
        content = base.extended(learnt)
        changed = guard.changed(opened_content(base.file, content, str(base_file)))
        if changed is not None:
            return _made(base, content, learnt, scripts, changed, guard)
    raise UserError(
        f"{base_file}: with {pieces:,} more pieces, old text changes more than max_changed allows "
        f"({rules.max_changed:g} of its documents), {ROUNDS} times in a row. Ask for fewer pieces, or raise it."
    )


def opened(file: Path) -> Base:
    """The base of a file, by its kind; one that cannot be extended is a `UserError`."""
    file = foreign.file_of(file, str(file))
    foreign.load(file, str(file))  # refuses a damaged one in its own words
    if file.suffix == ".tiktoken":
        raise UserError(f"{file}: a .tiktoken file cannot be extended, as it says nothing of its special tokens' ids")
    name = "tokenizer.model" if file.suffix != ".json" else foreign.usual_name(file)
    return opened_content(name, file.read_bytes(), str(file))


def opened_content(kind: str, content: bytes, name: str) -> Base:
    """The same of a file's bytes; `kind` is the usual name of such a file."""
    if kind == SentencePieceBase.file:
        return SentencePieceBase(content, name)
    return (TekkenBase if kind == TekkenBase.file else TokenizerJsonBase)(read_json(content), name)


class _Guard:
    """Old text, and what new pieces may change of it."""

    def __init__(self, base: Base, rules: Rules, old: Counts | None, budget: int) -> None:
        self._rules, self.budget, self.refused = rules, budget, 0
        self._words, self._counts = _units(base, old) if old else ([], [])
        self._texts = _texts(old) if old else []
        self._base = base
        self._forbidden: set[str] = set()
        self._held: Counter[str] = Counter()
        self._left = budget
        self._first: tuple[str, int] | None = None  # refused, with the places that it would change

    def begin(self, allowed: Callable[[str], bool]) -> None:
        """Begin anew: count where in the old text each allowed piece would be made first."""
        self.refused, self._left, self._first = 0, self.budget, None
        self._held = Counter()
        for units, count in zip(self._words, self._counts, strict=True):
            for piece in _firsts(units, self._base.vocabulary):
                if piece not in self._base.vocabulary and allowed(piece):
                    self._held[piece] += count

    def accept(self, piece: str) -> bool:
        """Return whether a piece may be new, and spend what it changes."""
        spent = self._held.get(piece, 0)
        if piece in self._forbidden or spent > self._left:
            self.refused += 1
            self._first = self._first or (piece, spent)
            return False
        self._left -= spent
        return True

    def notice(self) -> str:
        """A sentence about the candidates that were refused."""
        piece, places = self._first or ("", 0)
        return (
            f"{self.refused:,} pieces were left out, because old text would change in more than {self.budget:,} "
            f"places. The one that saves most is {self._base.text(piece)!a}, in {places:,} places. To have them, raise "
            "max_changed."
        )

    def changed(self, now: Base) -> int | None:
        """Changed occurrences in the old text; None if they are too many, and what changed them is forbidden."""
        if not self._texts:
            return 0
        new = now.vocabulary - self._base.vocabulary
        total, found = 0, set[str]()
        for before, after, count in zip(self._words, now.units(self._texts), self._counts, strict=True):
            if before != after or not new.isdisjoint(after):  # a character without a piece is a unit of the same name
                total += count
                found |= new & {*after}
        if total <= self.budget:
            return total
        self._forbidden |= found
        return None


def _firsts(units: list[str], vocabulary: set[str]) -> set[str]:
    """The new pieces that could be made of a word first: of two adjacent tokens, or a character that has none."""
    unknown = {unit for unit in units if unit not in vocabulary}
    return unknown | {first + second for first, second in pairwise(units)}


def _texts(counts: Counts) -> list[str]:
    texts: list[str] = in_order(counts.table)["text"].to_pylist()
    return texts


def _units(base: Base, counts: Counts) -> tuple[list[list[str]], list[int]]:
    """Each word of some counts as units, and its count, in order; equal units are one string in memory."""
    names: dict[str, str] = {}
    words: list[list[str]] = []
    table = in_order(counts.table)
    for batch in table.to_batches(max_chunksize=AT_ONCE):
        found = base.units(batch.column("text").to_pylist())
        words += [[names.setdefault(unit, unit) for unit in units] for units in found]
    return words, table["count"].to_pylist()


def _with_letters(
    words: list[list[str]], counts: list[int], texts: list[str], scripts: tuple[str, ...]
) -> tuple[list[list[str]], list[int]]:
    """The words that hold a letter of some scripts; all if there are none. No other word can hold a new piece."""
    if not scripts:
        return words, counts
    kept = [place for place, text in enumerate(texts) if not letter_scripts.scripts_of(text).isdisjoint(scripts)]
    return [words[place] for place in kept], [counts[place] for place in kept]


def _scripts(rules: Rules, words: list[str], tokens: list[int], counts: list[int], *, has_old: bool) -> tuple[str, ...]:
    """The scripts to teach; empty for any."""
    if rules.scripts:
        return rules.scripts
    found = letter_scripts.tokens_per_letter(words, tokens, counts)
    scripts = letter_scripts.taught(found)
    if not scripts and not has_old:
        listed = ", ".join(f"{script} {tokens:.2f}" for script, (_, tokens) in found.items())
        raise UserError(
            f"the tokenizer spells every script of the new text with less than {letter_scripts.BADLY} tokens a "
            f"letter ({listed or 'no letters'}), so nothing tells old text from new. Give old text to compare with, or "
            "name scripts."
        )
    return scripts


def _too_many(base_file: Path, wanted: int, possible: int, scripts: tuple[str, ...], guard: _Guard) -> TooManyPieces:
    forbidden = f", and {guard.refused:,} more would change old text" if guard.refused else ""
    return TooManyPieces(
        f"{base_file}: expected {wanted:,} more pieces, but the new text gives {possible:,} that save tokens"
        f"{' and have letters of ' + ', '.join(scripts) if scripts else ''}{forbidden}. Ask for at most {possible}, "
        "add text, or change the rules.",
        possible,
    )


def _made(
    base: Base, content: bytes, learnt: list[str], scripts: tuple[str, ...], changed: int, guard: _Guard
) -> Extension:
    record = {"format": FORMAT, "base_vocab_size": base.vocab_size, "spelt": base.spelt(learnt)}
    notes: list[str] = []
    made = {base.file: content, RECORD: (json.dumps(record) + "\n").encode()}
    if guard.refused:
        notes.append(guard.notice())
    return Extension(made, record, tuple(learnt), scripts, changed, guard.refused, tuple(notes))

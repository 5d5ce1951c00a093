"""The account of a source: conversations by shape, losses by reason with the place of the first, and what was changed.

A source that loses much is warned about, as in `extract`: its data has another form than this stage reads.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from aura.core.shown_text import on_one_line
from aura.sources.input_files import HIDDEN

SHARE = 0.1  # of the records, above which a loss is worth a warning
REASONS = 3  # that a warning gives
DUPLICATE, NO_FORM = "duplicate", "no question can be made"
HARMLESS = {DUPLICATE, NO_FORM, HIDDEN}  # a loss that is meant
_REMEDIES = {  # by how a reason begins
    "unknown role": "rename the role to system, user, assistant, thought, action or observation",
    "no known keys": "rename the keys; docs/conversations.md has those that are read",
    "no text column": "rename the columns; docs/conversations.md has those that are read",
    "JSON record of more": "raise conversations.max_record_bytes",
    "record of more": "raise conversations.max_record_bytes",
    "invalid UTF-8": "name the encoding of these files, such as encoding: cp1252",
    "malformed JSON": "look at the place that is named; a .jsonl file has one record on each line",
}


@dataclass
class Account:
    """The counts of a source, or of a part of it."""

    files: int = 0
    lost_files: int = 0  # of which nothing is read
    records: int = 0
    shapes: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)  # by reason: the place of the first loss

    @property
    def conversations(self) -> int:
        """The number that was recognised, duplicates too."""
        return self.shapes.total()

    def lose(self, reason: str, place: str, count: int = 1) -> None:
        """Count a loss; `place` is remembered if it is the first with this reason."""
        self.lost[reason] += count
        self.first.setdefault(reason, on_one_line(place))

    def lose_file(self, reason: str, place: str) -> None:
        """Count the loss of a whole file; it weighs as a file in `loses_much`, however many records it had."""
        self.lose(reason, place)
        self.lost_files += reason not in HARMLESS

    def take_in(self, other: "Account") -> None:
        """Add the counts of what comes behind."""
        self.files += other.files
        self.lost_files += other.lost_files
        self.records += other.records
        for mine, its in ((self.shapes, other.shapes), (self.notes, other.notes), (self.lost, other.lost)):
            mine.update(its)
        self.first = other.first | self.first

    def record(self, splits: Mapping[str, int]) -> dict[str, Any]:
        """As the manifest has it, with the number of conversations in each split."""
        lost = {reason: {"count": count, "first": self.first[reason]} for reason, count in _ordered(self.lost)}
        counts = {"files": self.files, "records": self.records, "conversations": dict(splits)}
        return counts | {"shapes": dict(_ordered(self.shapes)), "changed": dict(_ordered(self.notes)), "lost": lost}

    def in_words(self) -> str:
        """The losses that matter, the commonest first, each with its first place."""
        bad = self._bad()
        shown = "; ".join(f"{count:,} {reason}, first at {self.first[reason]}" for reason, count in bad[:REASONS])
        return shown + (f"; and {len(bad) - REASONS} other reasons" if len(bad) > REASONS else "")

    def remedies(self) -> Iterator[str]:
        """Say what to do about the losses."""
        for reason, _ in self._bad()[:REASONS]:
            yield from (f"{reason}: {what}" for start, what in _REMEDIES.items() if reason.startswith(start))

    @property
    def loses_much(self) -> bool:
        """True if more than a tenth of the records, or of the files, was lost for a reason that is not harmless."""
        bad = sum(count for _, count in self._bad())
        return bad > SHARE * (self.conversations + bad) or self.lost_files > SHARE * self.files

    def _bad(self) -> list[tuple[str, int]]:
        """The losses that are not harmless, the commonest first."""
        return [(reason, count) for reason, count in _ordered(self.lost) if reason not in HARMLESS]


def _ordered(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda one: (-one[1], one[0]))

"""Figures at the top of a section: a value, what it means, and its change since an earlier commit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aura.core import bounded

UNCHANGED = "unchanged"


@dataclass(frozen=True)
class Headline:
    """A number to show, by its key in a metrics.json."""

    name: str
    key: str
    meaning: str
    higher_is_better: bool | None  # None: neither is better
    percent: bool = False  # the value is a share
    decimals: int = 2

    def formatted(self, value: float, sign: str = "") -> str:
        """The value as the page shows it; `sign` is "+" for a change."""
        if self.percent:
            return f"{100 * value:{sign}.{self.decimals}f}%"
        return f"{value:{sign},.{self.decimals}f}"

    def change(self, now: float, before: float) -> tuple[str, str]:
        """The change in words, and its tone: "better", "worse" or ""."""
        shown = self.formatted(now - before, "+")
        if not shown.strip("%+-0.,"):
            return UNCHANGED, ""
        if self.higher_is_better is None:
            return shown, ""
        return shown, "better" if (now > before) == self.higher_is_better else "worse"


@dataclass(frozen=True)
class Card:
    """A headline with its value, ready to show."""

    name: str
    meaning: str
    value: str
    change: str
    tone: str


def cards(
    headlines: Sequence[Headline], now: Mapping[str, Any], before: Mapping[str, Any], *, same_text: bool
) -> list[Card]:
    """The headlines that `now` has; figures over another text are not compared, whatever they are."""
    found = []
    for headline in headlines:
        value, old = number(now, headline.key), number(before, headline.key)
        if value is None:
            continue
        change, tone = "", ""
        if old is not None and same_text:
            change, tone = headline.change(value, old)
        elif old is not None and old != value:
            change = f"was {headline.formatted(old)} on other text"
        found.append(Card(headline.name, headline.meaning, headline.formatted(value), change, tone))
    if all(card.change in ("", UNCHANGED) for card in found):  # the same word on each card says nothing
        return [replace(card, change="") for card in found]
    return found


def number(values: Mapping[str, Any], key: str) -> float | None:
    """The number at a key; None if there is none, or none that can be shown, as NaN."""
    value = values.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return value if abs(value) < bounded.LARGEST_NUMBER else None

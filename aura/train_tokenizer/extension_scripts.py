"""The scripts that an extension teaches: those that the base spells badly.

A tokenizer that knows a script needs a token for two to five of its letters; one that does not, a token or more for
each letter. So one limit, in tokens per letter, tells both apart. New pieces with a letter of such a script leave text
in all others as it is, which is the guard where nobody gives old text to compare with.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache

from aura.core import unicode

BADLY = 0.6  # tokens per letter from which on a script is taught
SHARE = 0.005  # of the letters of the new text that a script must have


@cache
def script_of(character: str) -> str:
    """The script of a letter, or of a mark as Hindi's vowels are, by its Unicode name; empty for all else."""
    name = unicode.first_of_name(character) if unicode.category(character)[0] in "LM" else ""
    return "" if name in ("COMBINING", "VARIATION", "FEMININE", "MASCULINE", "MODIFIER") else name


def scripts_of(text: str) -> set[str]:
    """The scripts of a text's letters."""
    return {script for character in text if (script := script_of(character))}


def tokens_per_letter(
    words: Iterable[list[str]], counts: Iterable[int], text: Callable[[str], str], cost: Callable[[str], int]
) -> dict[str, tuple[int, float]]:
    """Letters of each script in some words, and tokens that the base spends on one.

    Arguments:
        words: words as units (`extension_merges`).
        counts: how often each occurs.
        text: the text of a unit.
        cost: tokens that a unit is: 1, or more for a character that has no piece.
    """
    letters: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    for units, count in zip(words, counts, strict=True):
        for unit in units:
            held = [script for character in text(unit) if (script := script_of(character))]
            for script in held:
                letters[script] += count
            for script in {*held}:
                tokens[script] += count * cost(unit)
    return {script: (letters[script], tokens[script] / letters[script]) for script in sorted(letters)}


def taught(found: dict[str, tuple[int, float]]) -> tuple[str, ...]:
    """The scripts that `tokens_per_letter` finds spelt badly, and that are no stray letters."""
    least = SHARE * sum(letters for letters, _ in found.values())
    return tuple(script for script, (letters, tokens) in found.items() if letters >= least and tokens >= BADLY)

"""The scripts that an extension teaches: those that the base spells badly.

A tokenizer that knows a script needs a token for two to five of its letters; one that does not, a token or more for
each letter. So one limit, in tokens per letter, tells both apart. New pieces with letters of such a script leave text
in all others as it is, which is the guard where nobody gives old text to compare with.

A new piece has two such letters, so that μ and λ in English text stay as they are; one alone is a new piece only if the
base spells it with bytes.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache

from aura.core import unicode

BADLY = 0.6  # tokens per letter from which on a script is taught
SHARE = 0.005  # of the letters of the new text that a script must have
_NO_SCRIPT = ("COMBINING", "VARIATION", "FEMININE", "MASCULINE", "MODIFIER", "MICRO")
_PARTS = "".join(map(chr, range(0xDC80, 0xDD00)))  # bytes of no whole character, as surrogateescape decodes them


@cache
def script_of(character: str) -> str:
    """The script of a letter, or of a mark as Hindi's vowels are, by its Unicode name; empty for all else."""
    if unicode.category(character)[0] not in "LM":
        return ""
    name = unicode.first_of_name(character)
    return "" if name in _NO_SCRIPT else name


def scripts_of(text: str) -> set[str]:
    """The scripts of a text's letters."""
    return {script for character in text if (script := script_of(character))}


def tokens_per_letter(
    words: Sequence[str], tokens: Sequence[int], counts: Sequence[int]
) -> dict[str, tuple[int, float]]:
    """Letters of each script in some words, and tokens that the base spends on one. Words in two scripts do not count.

    Arguments:
        words: words, or parts of them.
        tokens: of each.
        counts: how often each occurs.
    """
    letters: Counter[str] = Counter()
    spent: Counter[str] = Counter()
    for word, number, count in zip(words, tokens, counts, strict=True):
        held = [script for character in word if (script := script_of(character))]
        if len({*held}) == 1:
            letters[held[0]] += count * len(held)
            spent[held[0]] += count * number
    return {script: (letters[script], spent[script] / letters[script]) for script in sorted(letters)}


def taught(found: dict[str, tuple[int, float]]) -> tuple[str, ...]:
    """The scripts that `tokens_per_letter` finds spelt badly, and that are no stray letters."""
    least = SHARE * sum(letters for letters, _ in found.values())
    return tuple(script for script, (letters, tokens) in found.items() if letters >= least and tokens >= BADLY)


class Shape:
    """Tells whether a text may be a piece: within a word, not too long, with letters of a script to teach.

    Arguments:
        scripts: those to teach; none for any text.
        longest: characters of a piece, at most.
        words: the new text. Byte-level pieces may end inside a character, if it is a letter of these.
    """

    def __init__(self, scripts: Sequence[str], longest: int, words: Iterable[str]) -> None:
        self.scripts, self.longest = frozenset(scripts), longest
        letters = {character for word in words for character in word if script_of(character) in self.scripts}
        self._beginnings = {letter.encode()[:size] for letter in letters for size in range(1, len(letter.encode()))}

    def allows(self, text: str) -> bool:
        """Return whether a text may be a piece; its parts of characters are as `surrogateescape` decodes them."""
        if len(text) > self.longest or " " in text[1:] or text == " ":
            return False
        if not self.scripts:
            return True
        whole = text.rstrip(_PARTS)
        if any(character in _PARTS for character in whole):
            return False  # it begins inside a character
        part = text[len(whole) :].encode(errors="surrogateescape")
        if part and part not in self._beginnings:
            return False
        letters = sum(script_of(character) in self.scripts for character in whole) + bool(part)
        return letters > 1 or (letters == 1 and (len(whole) == 1 or not whole))

"""Properties of characters that are the same with every Python, because bytes depend on them.

Python 3.11 knows Unicode 14, Python 3.12 Unicode 15.0, and Python 3.13 Unicode 15.1. The newer two assign 5,116 more
characters, and change the category, the name and the case of no other one. Here these 5,116 count as unassigned.
A test computes a hash over all characters, so a newer Python shows what it adds.
"""

import re
import unicodedata

_NEWER = (
    *((0x0CF3, 0x0CF3), (0x0ECE, 0x0ECE), (0x2FFC, 0x2FFF), (0x31EF, 0x31EF), (0x10EFD, 0x10EFF), (0x1123F, 0x11241)),
    *((0x11B00, 0x11B09), (0x11F00, 0x11F10), (0x11F12, 0x11F3A), (0x11F3E, 0x11F59), (0x1342F, 0x1342F)),
    *((0x13439, 0x13455), (0x1B132, 0x1B132), (0x1B155, 0x1B155), (0x1D2C0, 0x1D2D3), (0x1DF25, 0x1DF2A)),
    *((0x1E030, 0x1E06D), (0x1E08F, 0x1E08F), (0x1E4D0, 0x1E4F9), (0x1F6DC, 0x1F6DC), (0x1F774, 0x1F776)),
    *((0x1F77B, 0x1F77F), (0x1F7D9, 0x1F7D9), (0x1FA75, 0x1FA77), (0x1FA87, 0x1FA88), (0x1FAAD, 0x1FAAF)),
    *((0x1FABB, 0x1FABD), (0x1FABF, 0x1FABF), (0x1FACE, 0x1FACF), (0x1FADA, 0x1FADB), (0x1FAE8, 0x1FAE8)),
    *((0x1FAF7, 0x1FAF8), (0x2B739, 0x2B739), (0x2EBF0, 0x2EE5D), (0x31350, 0x323AF)),
)
_RANGES = "".join(f"{chr(first)}-{chr(last)}" for first, last in _NEWER)
_newer = re.compile(f"([{_RANGES}])")

# For regular expressions, in the place of \w, \d and, before a word character, \b.
WORD = rf"[^\W{_RANGES}]"
DIGIT = rf"[^\D{_RANGES}]"
WORD_BEGINS = rf"(?<!{WORD})"


def category(character: str) -> str:
    """Return the general category, such as `Lu`; `Cn` for a character that Unicode 14 does not assign."""
    return "Cn" if _newer.match(character) else unicodedata.category(character)


def is_letter(character: str) -> bool:
    """Return whether the category is that of a letter, as `str.isalpha`."""
    return category(character)[0] == "L"


def first_of_name(character: str) -> str:
    """Return the first word of the character's name, for letters mostly the script; empty if there is no name."""
    return "" if _newer.match(character) else unicodedata.name(character, "").partition(" ")[0]


def lower(text: str) -> str:
    """Return the text in lower case. A Σ becomes ς at the end of a word, and a newer character ends a word."""
    if "Σ" not in text or not _newer.search(text):
        return text.lower()
    return "".join(map(str.lower, _newer.split(text)))

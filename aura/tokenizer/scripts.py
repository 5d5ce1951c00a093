"""The script that most letters of a text are in: what a document is grouped by where nothing tells its language."""

from collections import Counter
from functools import cache

import numpy as np

from aura.core import unicode

NO_LETTERS = "none"
_KANA, _HAN = ("Hiragana", "Katakana"), "Han"
KANA_SHARE = 0.05  # of Han and kana together; above it the text is Japanese, which mixes both


def dominant_script(text: str) -> str:
    """`Latin`, `Cyrillic`, `Devanagari`, …; `Japanese` for kana with Han; `none` for a text without letters."""
    points, counts = np.unique(np.frombuffer(text.encode("utf-32-le"), np.uint32), return_counts=True)
    scripts: Counter[str] = Counter()
    for point, count in zip(points.tolist(), counts.tolist(), strict=True):
        scripts[_script(point)] += count
    del scripts[NO_LETTERS]
    kana = sum(scripts[name] for name in _KANA)
    if kana > KANA_SHARE * (kana + scripts[_HAN]):
        scripts["Japanese"] = kana + scripts.pop(_HAN, 0)
        for name in _KANA:
            scripts.pop(name, None)
    return min(scripts, key=lambda name: (-scripts[name], name)) if scripts else NO_LETTERS


@cache
def _script(point: int) -> str:
    """The first word of the character's Unicode name is its script, for letters."""
    character = chr(point)
    if not unicode.is_letter(character):
        return NO_LETTERS
    first = (unicode.first_of_name(character) or "Unnamed").split("-")[0]
    return _HAN if first == "CJK" else first.capitalize()

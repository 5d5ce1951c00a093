"""Texts on which two readings of one tokenizer are compared: the same ones whenever they are asked for.

They hold what readings differ in: scripts, every character that Unicode may have, white space, code, repetitions, the
pieces of the vocabulary in any order, and names of special tokens, whole and cut.
"""

import random
from collections.abc import Iterator, Sequence

from aura.tokenizer.golden import TEXTS, WITH_SPECIAL
from aura.tokenizer.symbols import SPACE

STRINGS = 2000  # of each of five kinds
PLANES = (
    (0x1, 0xD800),
    (0xE000, 0x40000),
    (0xE0000, 0xE0200),
    (0x10FF00, 0x110000),
)  # others are empty
_TOGETHER = 64  # characters in a text
_WHITE = f"ab c=-. \n\t\r'1A{SPACE}\u00a0\u3000\u0301"
_REPEATED = "a=-. #\n01é中🙂"
_CASES = ("{}", " {}", "a{}", "{}b", "1{}2", "'{}", "{0}{0}\n", "\n{}", "A{}", "\u0301{}")  # around a character


def proof_texts(pieces: Sequence[bytes], names: Sequence[str]) -> list[str]:
    """The golden texts, texts made of a vocabulary's pieces and names, and texts of each character.

    Arguments:
        pieces: what ids stand for.
        names: of special tokens, byte pieces and user symbols, which text must not become.
    """
    draw = random.Random(18)  # noqa: S311 - reproducible, not secret
    parts = [text for piece in pieces if (text := piece.decode(errors="ignore"))] or [" "]
    named = [*names] or ["<s>"]
    made = [
        *("".join(draw.choices(parts, k=draw.randint(1, 20))) for _ in range(STRINGS)),
        *("".join(draw.choice(parts) * draw.randint(1, 4) for _ in range(6)) for _ in range(STRINGS)),
        *("".join(draw.choices(_WHITE, k=draw.randint(1, 60))) for _ in range(STRINGS)),
        *("".join(draw.choice(_REPEATED) * draw.randint(1, 40) for _ in range(4)) for _ in range(STRINGS)),
        *("".join(_with_names(draw, named, parts)) for _ in range(STRINGS)),
    ]
    return [*TEXTS, *WITH_SPECIAL, *names, " ".join(names), *made, *characters()]


def characters() -> Iterator[str]:
    """Each character after and before others, several to a text."""
    every = [chr(code) for first, end in PLANES for code in range(first, end)]
    for place in range(0, len(every), _TOGETHER):
        together = every[place : place + _TOGETHER]
        case = _CASES[place // _TOGETHER % len(_CASES)]
        yield "".join(together)
        yield "".join(f" 'a{character} {character}1{character}" for character in together) + case.format(together[0])


def _with_names(draw: random.Random, names: list[str], parts: list[str]) -> Iterator[str]:
    for _ in range(draw.randint(1, 6)):
        name = draw.choice(names)
        cut = draw.randrange(len(name) + 1)
        yield draw.choice((name, name[:cut], name[cut:], draw.choice(parts), " "))

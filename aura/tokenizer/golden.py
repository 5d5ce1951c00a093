"""Golden encodings: texts with their ids, beside the model, so that any consumer can check that it reads it right.

`golden.json` holds the model file's SHA-256 and some 30 cases: scripts, code, white space, characters without a piece,
SentencePiece's own spelling of the space, and special tokens both as text and, where a case allows them, as tokens.
The JSON is ASCII, so that no transport spoils it. `Tokenizer.verify_golden` checks it, also whenever a model is loaded.
"""

import json
from collections.abc import Sequence

from aura.tokenizer.symbols import BASIC, ROLES, SPACE
from aura.tokenizer.tokenizer import GOLDEN_FORMAT, Encodes

_CODE = 'def add(first: int, second: int) -> int:\n    """Sum."""\n\treturn first+second  # 42\n\n\n'
_SPECIAL = "".join((*BASIC, *ROLES))

TEXTS = (
    *("", " ", "  ", "a", " a", "a ", "\n", "\t", "\r\n", "\n\n\n", " \n \t ", " " * 40 + "x", "x" * 300),
    "The quick brown fox jumps over the lazy dog, twice; 3.14159 is not 22/7.",
    "Grüße aus Köln! Où est l’été, señor? Łódź, Þingvellir, İstanbul.",
    "Съешь ещё этих мягких французских булок.",
    "Ελληνικά: Ξεσκεπάζω την ψυχοφθόρα βδελυγμία.",
    "עברית ושָׁלוֹם, العربية مُشَكَّلَة.",
    "हिन्दी में लिखा हुआ वाक्य।",
    "ภาษาไทยไม่มีช่องว่าง",
    "中文没有空格,标点是全角的。",
    "日本語のテキスト、カタカナとひらがな。",
    "한국어 문장입니다.",
    _CODE,
    "https://example.org/a_b?c=d&e=%20 <p class='x'>&nbsp;</p> {\"k\": [1, -2e10, null]}",
    "🙂 👩‍👩‍👧 🇩🇪 𝔘𝔫𝔦 ﬁ e\u0301 \u00e9",
    "\0\x01\x1f\x7f\u0085\u00a0\u200b\u2028\ufeff\ufffd\U0010ffff",
    f"{SPACE} a{SPACE}b {SPACE}{SPACE}",
    "<0x0A> <0x41>",
    f"{_SPECIAL} <reserved_0> <eos",
)
WITH_SPECIAL = (_SPECIAL, "<USER>Hi<ASSISTANT> Hello <eos>\n<bos><bos", f"{SPACE}<eos>{SPACE}")


def golden(tokenizer: Encodes, with_special: Sequence[str] = WITH_SPECIAL) -> bytes:
    """The content of golden.json; `with_special` are texts whose special tokens stand for themselves."""
    cases: list[dict[str, object]] = [{"text": text, "ids": tokenizer.encode(text)} for text in TEXTS]
    cases += [
        {"text": text, "allowed_special": "all", "ids": tokenizer.encode(text, allowed_special="all")}
        for text in with_special
    ]
    lines = ",\n".join(json.dumps(case) for case in cases)
    head = json.dumps({"format": GOLDEN_FORMAT, "tokenizer": tokenizer.sha256}, indent=1).removesuffix("\n}")
    return f'{head},\n "cases": [\n{lines}\n]}}\n'.encode()

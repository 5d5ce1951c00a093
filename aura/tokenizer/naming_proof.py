"""The proof that naming slots changed no id: the tokenizer before and after it encodes the same texts.

`aura.tokenizer.slots` changes names alone. So this finds nothing, unless a library reads a model otherwise than
thought. It takes some milliseconds, and is done before anything is written.
"""

from collections.abc import Sequence

from aura.core.errors import UserError
from aura.tokenizer.golden import TEXTS, WITH_SPECIAL
from aura.tokenizer.tokenizer import AllowedSpecial, Tokenizer


def prove(before: Tokenizer, after: Tokenizer, names: Sequence[str]) -> list[str]:
    """Sentences on what is equal; a difference is a `UserError` that names the first text and both ids.

    Arguments:
        before: the tokenizer whose tokens and models must stay valid.
        after: the one in which slots got `names`.
        names: the new names.
    """
    cases: list[tuple[str, AllowedSpecial]] = [
        *((text, ()) for text in TEXTS),
        *((text, "all") for text in WITH_SPECIAL),
    ]
    old = [before.encode(text, allowed_special=allowed) for text, allowed in cases]
    for (text, allowed), ids in zip(cases, old, strict=True):
        _require(text, ids, after.encode(text, allowed_special=allowed))
        if (decoded := after.decode(ids)) != before.decode(ids):
            raise UserError(f"the ids {ids[:20]} decoded to {before.decode(ids)!r:.80} before, got {decoded!r:.80}")
    for name in names:
        _require(name, before.encode(name), after.encode(name))
        if after.piece(*after.encode(name, allowed_special=[name])) != name:
            raise UserError(f"expected the special token {name!r} to have one id of its own where it is allowed")
    moved = [token for token in range(before.vocab_size) if before.piece(token) != after.piece(token)]
    if sorted(after.piece(token) for token in moved) != sorted(names):
        raise UserError(f"expected {len(names)} ids to get a name, got other pieces for the ids {moved[:20]}")
    if before.encoding_sha256 != after.encoding_sha256:
        raise UserError("expected the tokenizer's identity to stay, got another encoding_sha256")
    return [
        f"ids of {len(cases)} golden texts equal, and old encodings of them decode to equal texts",
        f"{before.vocab_size - len(moved):,} of {before.vocab_size:,} pieces equal, and {len(moved)} named",
        f"the names in a text stay text: ids of {len(names)} equal",
        f"identity in tokens and models equal: encoding_sha256 {after.encoding_sha256[:12]}…",
    ]


def _require(text: str, expected: list[int], got: list[int]) -> None:
    if got != expected:
        raise UserError(
            f"a name changed ids: expected {text!r:.80} to have the ids {expected[:20]}, got {got[:20]}. Nothing was "
            "written. Run: make setup"
        )

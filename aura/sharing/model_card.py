"""The model card in the message of a version's tag, as far as somebody else may have written it.

A card is YAML, and any part of it can be of any type. aura shows only a number or a short word of it, and compares only
a map of names to hashes; anything else in their place is not shown, or refused.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aura.core.bounded import bounded_yaml
from aura.core.errors import UserError
from aura.sharing.foreign_git import foreign_git
from aura.sharing.git import git

LARGEST = 64_000  # characters of a card, which take 1 s to parse; those of aura have 5,000
TOGETHER = 1_000_000  # characters of all cards of a listing
SHOWN = 40  # characters of a value
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FORMAT = "--format=%(refname:strip=2)%00%(objecttype)%00%(contents:body)%00"  # git cuts a message off at a NUL


def cards(tags: list[str], folder: Path | None, *, foreign: bool) -> dict[str, dict[str, Any]]:
    """The card of each annotated tag; empty for one that `aura publish` did not make, and beyond the limits.

    Args:
        tags: names of tags, `tokenizer@v1.2.0`.
        folder: the repository; None for the one of the working directory.
        foreign: the repository was made by `fetched_tags`, and is read as such.
    """
    wanted = [f"refs/tags/{tag}" for tag in tags]
    if foreign:
        answer = foreign_git("for-each-ref", _FORMAT, *wanted, clone=folder)
    else:
        answer = git("for-each-ref", _FORMAT, *wanted, folder=folder)
    parts = [part.removeprefix("\n") for part in answer.split("\0")]
    messages = {
        tag: body for tag, kind, body in zip(parts[::3], parts[1::3], parts[2::3], strict=False) if kind == "tag"
    }
    found, left = dict[str, dict[str, Any]](), TOGETHER
    for tag in tags:
        message = messages.get(tag, "")
        is_read = len(message) <= min(LARGEST, left)
        left -= len(message) if is_read else 0
        card = bounded_yaml(message) if is_read else None
        found[tag] = card if isinstance(card, dict) else {}
    return found


def value(card: Mapping[str, Any], *keys: str) -> str:
    """A value below some keys, as a table shows it: a number or a short text in one line; `-` for anything else."""
    found: Any = card
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    if isinstance(found, bool) or not isinstance(found, str | int | float):
        return "-"
    if isinstance(found, int) and abs(found) > 10**SHOWN:  # Python refuses to write one of 4,300 digits
        return "-"
    text = f"{found:.4g}" if isinstance(found, float) else " ".join(str(found).split())
    return (text if len(text) <= SHOWN else f"{text[:SHOWN]}…") or "-"


def sha256(card: Mapping[str, Any], tag: str) -> dict[str, str]:
    """The SHA-256 of files by their names; empty where the card has none, and a `UserError` where it is no such map."""
    found = card.get("sha256", {})
    if isinstance(found, Mapping) and all(
        isinstance(name, str) and isinstance(digest, str) and _SHA256.fullmatch(digest)
        for name, digest in found.items()
    ):
        return dict(found)
    raise UserError(
        f"{tag}: expected sha256 in its model card to be a map of names to 64 hexadecimal digits, got another value. "
        "Without it the files cannot be checked: ask who published it"
    )

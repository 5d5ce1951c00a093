"""Do a tokenizer's files say the same, and does each id still mean what it meant?

Held-out measures do not see these faults: a model whose ids were swapped compresses as well as before, and breaks
every model trained on it. `model_file.checked_pieces` refuses what cannot work at all; here the model is compared
with the files beside it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aura.core import files
from aura.tokenizer import adopted_record
from aura.tokenizer.adopted import AdoptedTokenizer
from aura.tokenizer.opening import AnyTokenizer
from aura.tokenizer.symbols import BASIC, symbols
from aura.tokenizer.tokenizer import COPY, EXPORTED, MADE_BY, Tokenizer
from aura.validate import exported

EXPORTS = ("other_copy", "other_export")  # checks of files that are made of spiece.model alone
_UNESCAPED = {"\\\\": "\\", "\\n": "\n", "\\t": "\t", "\\r": "\r"}


@dataclass(frozen=True)
class Fault:
    """A fault: the name of the check, and what was found."""

    check: str
    found: str


def faults(tokenizer: AnyTokenizer, folder: Path) -> list[Fault]:
    """Compare the model with what lies beside it in `folder`; a file that is not there is not compared.

    The files: spiece.vocab (the pieces to read), spiece_config.json (the record of training), tokenizer.model (a copy)
    and tokenizer.json (the export, which is asked for the ids of texts). The golden encodings were compared when the
    tokenizer was loaded.
    """
    if isinstance(tokenizer, AdoptedTokenizer):
        return [
            Fault("forgeable_special_tokens", f"the text {name!r} becomes the special token of id {token}")
            for name, token in tokenizer.forgeable.items()
        ]
    return [
        *_forgeable(tokenizer, folder),
        *_moved_ids(tokenizer, folder),
        *_other_model(tokenizer, folder),
        *_other_copy(tokenizer, folder),
        *_other_export(tokenizer, folder),
    ]


def checks(folder: Path) -> dict[str, str]:
    """Name the checks that `faults` makes in `folder`, each with the file that it reads."""
    where = {
        "moved_ids": "spiece.vocab",
        "other_model": "spiece_config.json",
        "other_copy": COPY,
        "other_export": EXPORTED,
    }
    if adopted_record.is_adopted(folder) and not (folder / where["other_model"]).exists():
        return {"forgeable_special_tokens": adopted_record.RECORD}
    beside = {check: name for check, name in where.items() if (folder / name).exists()}
    return {"forgeable_special_tokens": "spiece.model"} | beside


def _forgeable(tokenizer: Tokenizer, folder: Path) -> Iterator[Fault]:
    """Special tokens that text can make: whoever writes the text could then write a system prompt."""
    config = _read_json(folder / "spiece_config.json")
    # Its own record says what is special; without one, every name that training reserves unless told otherwise.
    usual = symbols(special_tokens=True, reserved_tokens=0, user_symbols=[]).special
    names = usual if config is None else list(config.get("special_tokens", BASIC))
    for name in names:
        made = tokenizer.encode(name)
        if any(tokenizer.piece(token) == name for token in made):
            yield Fault("forgeable_special_tokens", f"the text {name!r} becomes the special token of id {made[0]}")


def _moved_ids(tokenizer: Tokenizer, folder: Path) -> Iterator[Fault]:
    try:
        lines = (folder / "spiece.vocab").read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except FileNotFoundError:
        return
    listed = [_unescaped(line.rpartition("\t")[0]) for line in lines]
    held = [tokenizer.piece(token) for token in range(tokenizer.vocab_size)]
    if len(listed) != len(held):
        yield Fault("moved_ids", f"the model has {len(held):,} pieces, spiece.vocab {len(listed):,}")
        return
    moved = [token for token, (one, other) in enumerate(zip(held, listed, strict=True)) if one != other]
    if moved:
        token = moved[0]
        others = f", and {len(moved) - 1:,} more ids differ" if len(moved) > 1 else ""
        yield Fault(
            "moved_ids", f"id {token} is {held[token]!r} in the model and {listed[token]!r} in spiece.vocab{others}"
        )


def _other_model(tokenizer: Tokenizer, folder: Path) -> Iterator[Fault]:
    config = _read_json(folder / "spiece_config.json")
    if config is not None and config.get("model_sha256") != tokenizer.sha256:
        yield Fault("other_model", "spiece_config.json records another model than the one beside it")


def _other_copy(tokenizer: Tokenizer, folder: Path) -> Iterator[Fault]:
    path = folder / COPY
    if path.exists() and files.sha256_file(path) != tokenizer.sha256:
        yield Fault("other_copy", f"expected a copy of spiece.model for converters to GGUF, {COPY} is another file")


def _other_export(tokenizer: Tokenizer, folder: Path) -> Iterator[Fault]:
    path = folder / EXPORTED
    if path.exists():
        yield from (Fault("other_export", found) for found in exported.differences(tokenizer, path))


def _unescaped(piece: str) -> str:
    """The reverse of how spiece.vocab writes backslashes, line breaks and tabs."""
    parts, place = [], 0
    while place < len(piece):
        pair = piece[place : place + 2]
        parts.append(_UNESCAPED.get(pair, piece[place]))
        place += 2 if pair in _UNESCAPED else 1
    return "".join(parts)


def _read_json(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    read = files.read_object(path, MADE_BY)
    if "special_tokens" in read:
        files.require_shape(path, read, MADE_BY, special_tokens={str: int})
    return read

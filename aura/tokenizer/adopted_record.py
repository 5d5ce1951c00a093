"""adopted.json, which says of an adopted tokenizer where it is from, which file it is, and the ids of its roles.

Apart from `adopted`, because it is read wherever a tokenizer is opened, and NumPy takes 0.1 s to import.
"""

from pathlib import Path
from typing import Any

from aura.core import checksums, files
from aura.core.errors import UserError
from aura.tokenizer.chat import TOKENS
from aura.tokenizer.tokenizer import MADE_BY

RECORD, FORMAT = "adopted.json", 1
BASE = "base"  # the file, with one of two suffixes, that an extended one was made of
BASES = (f"{BASE}.model", f"{BASE}.json")
EXTENDED = "extended.json"  # how the new pieces of an extended one are spelt by the old ones
EXTENSION = (EXTENDED, *BASES)
INSIDE = ("spiece.model", "tokenizer.model", "tokenizer.json", "tekken.json")  # names in a folder, the first counts
BASIC_ROLES = ("pad", "bos", "eos", "unk")
ROLES = (*BASIC_ROLES, *TOKENS)


def is_adopted(folder: Path) -> bool:
    """Return whether a tokenizer's folder holds an adopted one."""
    return (folder / RECORD).exists()


def read_record(folder: Path) -> dict[str, Any]:
    """adopted.json of a folder, whose files are compared with their hashes; a wrong one is a `UserError`."""
    checksums.verify(folder, MADE_BY, required=False)
    shape: dict[str, Any] = {"file": str, "sha256": str, "from": str, "ours": bool, "roles": {}}
    record = files.read_format(folder / RECORD, MADE_BY, FORMAT, **shape)
    if record["file"] not in INSIDE:
        raise UserError(f"{folder / RECORD}: file: expected one of {', '.join(INSIDE)}, got another")
    wrong = {role: token for role, token in record["roles"].items() if role not in ROLES or type(token) is not int}
    if wrong:
        raise UserError(f"{folder / RECORD}: roles: expected ids of {', '.join(ROLES)}, got {wrong!r:.80}")
    return record


def read_extended(folder: Path) -> dict[str, Any] | None:
    """The record of how a folder's tokenizer was extended; None for one that was not."""
    record = read_record(folder)
    if "extended" not in record:
        return None
    shape = {"extended": {"corpus": str, "keep": [str], "max_changed": float}}
    files.require_shape(folder / RECORD, record, MADE_BY, **shape)
    extended: dict[str, Any] = record["extended"]
    return extended

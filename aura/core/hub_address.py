"""Addresses on the Hugging Face Hub at a fixed commit: hf://ORG/NAME@REVISION.

The revision is a full commit, never a branch, so that the same address is the same bytes for ever.
"""

import re
from typing import NamedTuple

from aura.core.errors import UserError

PREFIX = "hf://"
FORM = "hf://ORG/NAME@REVISION with a full commit of 40 hexadecimal digits"
_FORM = re.compile(r"hf://(?P<repository>[\w.-]+/[\w.-]+)@(?P<revision>[0-9a-f]{40})", re.ASCII)


class HubAddress(NamedTuple):
    """A repository of the Hub, as ORG/NAME, and a commit of it."""

    repository: str
    revision: str


def is_address(where: str) -> bool:
    """Return whether this is meant as an address of the Hub, and is no path."""
    return where.startswith(PREFIX)


def is_right(where: str) -> bool:
    """Return whether this is no address of the Hub, or one that names a full commit."""
    return not is_address(where) or _FORM.fullmatch(where) is not None


def parsed(where: str) -> HubAddress:
    """Repository and commit of an address; one without a full commit is a `UserError`."""
    found = _FORM.fullmatch(where)
    if found is None:
        raise UserError(f"{where}: expected {FORM}. The page of the repository lists its commits under Files")
    return HubAddress(found["repository"], found["revision"])

"""YAML and JSON that somebody else may have written, read within bounds of size, depth and copies."""

import json
import re
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent

LARGEST = 8_000_000  # bytes of a file that is parsed; a dvc.lock of 100 stages has 1 MB
ALIASES = 16  # in a YAML file; so many can stand for 65,536 copies of a value, a few more for more than memory holds
DEPTH = 64  # of brackets in each other: the parser takes a minute for 5,000


class Unreadable(ValueError):
    """The fault of a text, in one line."""


def read_yaml(text: str) -> Any:  # noqa: ANN401 - whatever YAML holds
    """The value of some YAML; `Unreadable` if it is none, or beyond one of `ALIASES`, `DEPTH` and `LARGEST`."""
    if len(text) > LARGEST:
        raise Unreadable(f"it has {len(text):,} characters; at most {LARGEST:,} are read")
    if _depth(text) > DEPTH:
        raise Unreadable(f"its brackets are more than {DEPTH} deep")
    try:
        if text.count("*") > ALIASES and _aliases(text) > ALIASES:  # parsing takes a second for 100 kB
            raise Unreadable(f"it has more than {ALIASES} aliases")
        return YAML(typ="safe").load(text)
    except RecursionError:
        raise Unreadable("its values are too deep in each other") from None
    except KeyError as error:
        raise Unreadable(f"no such value: {error}") from None
    except (YAMLError, ValueError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise Unreadable(" ".join(str(error).split())[:300]) from None


def read_json(text: str | bytes) -> Any:  # noqa: ANN401 - whatever JSON holds
    """The value of some JSON; `Unreadable` if it is none, or its values are too deep in each other."""
    try:
        return json.loads(text)
    except RecursionError:
        raise Unreadable("its values are too deep in each other") from None
    except ValueError as error:  # no JSON, no UTF-8, or an integer of more than 4,300 digits
        raise Unreadable(str(error)) from None


def bounded_yaml(text: str) -> Any:  # noqa: ANN401 - whatever YAML holds
    """As `read_yaml`, and None for what that refuses."""
    try:
        return read_yaml(text)
    except Unreadable:
        return None


def _aliases(text: str) -> int:
    """Count aliases, up to one more than `ALIASES`."""
    found = 0
    for event in YAML(typ="safe", pure=True).parse(text):
        found += isinstance(event, AliasEvent)
        if found > ALIASES:
            break
    return found


def _depth(text: str) -> int:
    """Return the most brackets that are open at once; those in quotes count, too."""
    depth = most = 0
    for bracket in re.findall(r"[\[\]{}]", text):
        depth = max(depth + (1 if bracket in "[{" else -1), 0)
        most = max(most, depth)
    return most

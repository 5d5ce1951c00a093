"""YAML and JSON that somebody else may have written, read within bounds of size, depth and copies."""

import dataclasses
import functools
import json
import re
import typing
from types import UnionType
from typing import Any

LARGEST = 8_000_000  # bytes of a file that is parsed; a dvc.lock of 100 stages has 1 MB
LARGEST_NUMBER = 1 << 63  # an integer of a record is below it, as NumPy's are
LONGEST_NUMBER = 10_000  # bits of an integer; Python refuses to print one of 4,300 digits
ALIASES = 16  # in a YAML file; so many can stand for 65,536 copies of a value, a few more for more than memory holds
DEPTH = 64  # of brackets in each other: the parser takes a minute for 5,000


class Unreadable(ValueError):
    """The fault of a text, in one line."""


def read_yaml(text: str) -> Any:  # noqa: ANN401 - whatever YAML holds
    """The value of some YAML; `Unreadable` if it is none, or beyond one of `ALIASES`, `DEPTH` and `LARGEST`."""
    from ruamel.yaml import YAML  # 10 ms, which a program that reads only JSON saves
    from ruamel.yaml.error import YAMLError

    require_shallow(text)
    try:
        if text.count("*") > ALIASES and _aliases(text) > ALIASES:  # parsing takes a second for 100 kB
            raise Unreadable(f"it has more than {ALIASES} aliases")
        value = YAML(typ="safe").load(text)
        _require_plain(value, [], set())
        return value
    except RecursionError:
        raise Unreadable("its values are too deep in each other") from None
    except KeyError as error:
        raise Unreadable(f"no such value: {error}") from None
    except (YAMLError, ValueError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise Unreadable(" ".join(str(error).split())[:300]) from None


def require_shallow(text: str) -> None:
    """Raise `Unreadable` for YAML that is too large, or whose brackets are too deep in each other."""
    if len(text) > LARGEST:
        raise Unreadable(f"it has {len(text):,} characters; at most {LARGEST:,} are read")
    if _depth(text) > DEPTH:
        raise Unreadable(f"its brackets are more than {DEPTH} deep")


def read_json(text: str | bytes) -> Any:  # noqa: ANN401 - whatever JSON holds
    """The value of some JSON; `Unreadable` if it is none, or its values are too deep in each other."""
    try:
        return json.loads(text)
    except RecursionError:
        raise Unreadable("its values are too deep in each other") from None
    except ValueError as error:  # no JSON, no UTF-8, or an integer of more than 4,300 digits
        raise Unreadable(str(error)) from None


def mismatch(value: Any, shape: Any, place: str = "the whole") -> str | None:  # noqa: ANN401 - whatever was read
    """Say what is wrong with a value that was read, in words without a line break; None if it has the shape.

    Arguments:
        value: what JSON or YAML gave.
        shape: a type or a union of types (`float` takes integers, too, and no number takes a truth value); `[shape]`
            for a list; `(shape, …)` for a list of just so many; `{str: shape}` for a map with any keys;
            `{"key": shape, …}` for one with at least these; a dataclass for one with just its fields; `Any`.
        place: what the message calls the value.
    """
    if isinstance(shape, list | tuple):
        if not isinstance(value, list) or (isinstance(shape, tuple) and len(value) != len(shape)):
            wanted = "a list" if isinstance(shape, list) else f"a list of {len(shape)} values"
            return f"{place}: expected {wanted}, got {value!r:.80}"
        if isinstance(shape, list) and _all_plain(value, shape[0]):
            return None
        shapes: dict[Any, Any] = dict(enumerate(shape if isinstance(shape, tuple) else shape * len(value)))
    elif not (isinstance(shape, dict) or dataclasses.is_dataclass(shape)):
        return None if shape is Any or _is(value, shape) else f"{place}: expected {_name(shape)}, got {value!r:.80}"
    elif not isinstance(value, dict):
        return f"{place}: expected keys with values, got {value!r:.80}"
    elif isinstance(shape, dict):
        shapes = dict.fromkeys(value, shape[str]) if list(shape) == [str] else shape
    else:
        shapes = _fields(shape, value)
        if unknown := value.keys() - {field.name for field in dataclasses.fields(shape)}:
            return f"{place}: unknown key {min(map(str, unknown))!r:.60}"
    for key, inner in shapes.items():
        inside = f"{key!s:.60}" if place == "the whole" else f"{place}.{key!s:.60}"
        if isinstance(value, dict) and key not in value:
            return f"the key {inside} is missing"
        if found := mismatch(value[key], inner, inside):
            return found
    return None


def _all_plain(values: list[Any], shape: Any) -> bool:  # noqa: ANN401 - as in `mismatch`
    """Return whether all values are objects of texts and integers alone that have a shape, in a tenth of the time.

    False says nothing: they may have the shape all the same.
    """
    exact = dataclasses.is_dataclass(shape)
    kinds: dict[Any, Any] = _kinds(shape) if exact else shape if isinstance(shape, dict) else {}
    if not kinds or list(kinds) == [str] or not set(map(repr, kinds.values())) <= {repr(str), repr(int)}:
        return False
    items = list(kinds.items())
    return all(
        type(value) is dict
        and (len(value) == len(items) or not exact)
        and all(type(value.get(key)) is kind for key, kind in items)
        and all(abs(value[key]) < LARGEST_NUMBER for key, kind in items if kind is int)
        for value in values
    )


@functools.cache
def _kinds(shape: Any) -> dict[str, Any]:  # noqa: ANN401 - a dataclass
    return typing.get_type_hints(shape)


def _fields(shape: Any, value: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401 - a dataclass
    """The types of a dataclass's fields; one with a default may be missing."""
    kinds = _kinds(shape)
    needed = {
        field.name: kinds[field.name]
        for field in dataclasses.fields(shape)
        if field.name in value or field.default is dataclasses.MISSING
    }
    return {name: kind if isinstance(kind, type | UnionType) else Any for name, kind in needed.items()}


def _is(value: Any, shape: Any) -> bool:  # noqa: ANN401 - as in `mismatch`
    kinds = typing.get_args(shape) or (shape,)
    if isinstance(value, bool):
        return bool in kinds
    if isinstance(value, int) and float in kinds:
        return abs(value) < LARGEST_NUMBER
    return isinstance(value, kinds) and not (isinstance(value, int) and abs(value) >= LARGEST_NUMBER)


def _name(shape: Any) -> str:  # noqa: ANN401 - as in `mismatch`
    names = {str: "a text", int: "an integer", float: "a number", bool: "true or false", list: "a list"}
    names |= {dict: "keys with values", type(None): "null"}
    return " or ".join(names.get(kind, "keys with values") for kind in typing.get_args(shape) or (shape,))


def bounded_yaml(text: str) -> Any:  # noqa: ANN401 - whatever YAML holds
    """As `read_yaml`, and None for what that refuses."""
    try:
        return read_yaml(text)
    except Unreadable:
        return None


def _require_plain(value: Any, around: list[int], seen: set[int]) -> None:  # noqa: ANN401 - whatever YAML holds
    """Raise `Unreadable` for a value that holds itself, or an integer that Python cannot print."""
    if isinstance(value, int) and value.bit_length() > LONGEST_NUMBER:
        raise Unreadable("it has an integer of more than 3,000 digits")
    if not isinstance(value, dict | list) or id(value) in seen:
        return
    if id(value) in around:
        raise Unreadable("a value holds itself")
    for inner in value.values() if isinstance(value, dict) else value:
        _require_plain(inner, [*around, id(value)], seen)
    seen.add(id(value))


def _aliases(text: str) -> int:
    """Count aliases, up to one more than `ALIASES`."""
    from ruamel.yaml import YAML
    from ruamel.yaml.events import AliasEvent

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

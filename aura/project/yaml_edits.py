"""Edits of a YAML file as text: an entry goes in or out, and every other byte stays, comments and spelling and all.

The parser says where each node stands. After each edit the text is read again, and it must hold what was meant, for
YAML has forms (aliases, merges) in which a node stands elsewhere than its value: such an edit is refused.
"""

import copy
import re
from collections.abc import Callable, Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node, SequenceNode

from aura.core.bounded import Unreadable, read_yaml
from aura.core.errors import UserError

_PLAIN = re.compile(r"(?:[A-Za-z_/]|\.{1,2}/)(?:[A-Za-z0-9_./ -]*[A-Za-z0-9_./-])?")
_WORDS = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}  # that some version of YAML takes for values
_UNPRINTABLE = re.compile(
    "[^\\x20-\\x7e\\xa0-\\u2027\\u202a-\\ud7ff\\ue000-\\ufefe\\uff00-\\ufffd\\U00010000-\\U0010ffff]"
)


def scalar(value: str) -> str:
    """A string as YAML that every reader takes for that string, whatever its version, also between braces.

    Raises `UserError` for a string that is no Unicode text, such as the name of a file in another encoding.
    """
    if not _is_text(value):
        raise UserError(f"{value!r} is no valid Unicode, so it cannot be written into a YAML file. Rename it")
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    if not _UNPRINTABLE.search(value):
        return "'" + value.replace("'", "''") + "'"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + _UNPRINTABLE.sub(lambda found: f"\\U{ord(found[0]):08x}", escaped) + '"'


def flow(value: Any) -> str:  # noqa: ANN401 - mappings and lists of strings and numbers
    """A value on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(str(key))}: {flow(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return scalar(value) if isinstance(value, str) else str(value)


def with_entry(text: str, path: Sequence[str], key: str, value: dict[str, Any]) -> str:
    """The text with an entry, on one line, behind the last of the mapping at `path`."""

    def change(values: Any) -> None:  # noqa: ANN401
        values[key] = value

    mapping, entry = _node(text, path), f"{scalar(key)}: {flow(value)}"
    ends = [_end(child) for _, child in mapping.value]
    return _checked(text, _inserted(text, mapping, ends, entry, len(ends)), path, change)


def without_entry(text: str, path: Sequence[str], key: str) -> str:
    """The text without an entry of the mapping at `path`; one that empties it leaves `{}`."""

    def change(values: Any) -> None:  # noqa: ANN401
        del values[key]

    mapping = _node(text, path)
    spans = [(name.start_mark.index, _end(child)) for name, child in mapping.value]
    place = [name.value for name, _ in mapping.value].index(key)
    return _checked(text, _removed(text, path, mapping, spans, place), path, change)


def with_value(text: str, path: Sequence[str], value: str | int | None) -> str:
    """The text with another string or integer, or null, as the scalar at `path`."""
    *within, key = path

    def change(values: Any) -> None:  # noqa: ANN401
        values[key] = value

    node = next(child for name, child in _node(text, within).value if name.value == key)
    written = "null" if value is None else flow(value)
    after = text[: node.start_mark.index] + written + text[node.end_mark.index :]
    return _checked(text, after, within, change)


def with_item(text: str, path: Sequence[str], value: str, place: int) -> str:
    """The text with a string as number `place` of the list at `path`."""
    sequence = _node(text, path)
    ends = [_end(child) for child in sequence.value]
    edited = _inserted(text, sequence, ends, scalar(value), place)
    return _checked(text, edited, path, lambda values: values.insert(place, value))


def without_item(text: str, path: Sequence[str], value: str) -> str:
    """The text without a string in the list at `path`."""
    sequence = _node(text, path)
    spans = [(child.start_mark.index, _end(child)) for child in sequence.value]
    place = [child.value for child in sequence.value].index(value)
    return _checked(text, _removed(text, path, sequence, spans, place), path, lambda values: values.remove(value))


def _inserted(text: str, node: CollectionNode, ends: list[int], entry: str, place: int) -> str:
    """`entry` as number `place` of a collection whose children end at `ends`."""
    if node.flow_style:
        start = ends[place - 1] if place else node.start_mark.index + 1
        before, after = (", " if place else ""), (", " if ends and not place else "")
        return text[:start] + before + entry + after + text[start:]
    first = node.value[0][0] if isinstance(node, MappingNode) else node.value[0]
    opening = _line_start(text, first.start_mark.index)
    lead = text[opening : first.start_mark.index]  # the indentation, and the dash of a list
    end = "\r\n" if "\r\n" in text else "\n"
    if not place:
        return text[:opening] + lead + entry + end + text[opening:]
    start = _line_end(text, ends[place - 1])
    missing = "" if text[start - 1] == "\n" else end
    return text[:start] + missing + lead + entry + end + text[start:]


def _removed(text: str, path: Sequence[str], node: CollectionNode, spans: list[tuple[int, int]], place: int) -> str:
    """The text without the child number `place` of the collection at `path`, whose children stand at `spans`."""
    start, end = spans[place]
    if node.flow_style:
        if place + 1 < len(spans):
            return text[:start] + text[spans[place + 1][0] :]
        begin = spans[place - 1][1] if place else start
        return text[:begin] + text[end:]
    rest = text[_line_end(text, end) :]
    if len(spans) > 1:
        return text[: _line_start(text, start)] + rest
    name = next(name for name, _ in _node(text, path[:-1]).value if name.value == path[-1])
    colon = text.index(":", name.end_mark.index) + 1
    empty = " {}" if isinstance(node, MappingNode) else " []"
    return text[:colon] + empty + text[colon : _line_start(text, start)] + rest


def _checked(before: str, after: str, path: Sequence[str], change: Callable[[Any], None]) -> str:
    """`after`, if it holds what `before` does, with `change` applied to the value at `path`."""
    expected = _load(before)
    values = expected
    for key in path:
        values = values[key]
    change(values)
    try:
        found = _load(after)
    except UserError:
        found = None
    if found != expected:
        raise UserError(
            f"{'.'.join(path)} is written in a form that cannot be edited without touching the rest. Write its entries "
            "one a line, without anchors and aliases; or edit params.yaml and dvc.yaml by hand (README, Your own text)"
        )
    return after


def _node(text: str, path: Sequence[str]) -> Any:  # noqa: ANN401 - a mapping or a sequence
    _load(text)  # within its bounds
    node: Any = YAML().compose(text)
    for key in path:
        node = next(child for name, child in node.value if name.value == key)
    return node


def _end(node: Node) -> int:
    """Return where a node's own text ends. The parser lets a collection without braces reach to what comes next."""
    if isinstance(node, MappingNode | SequenceNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _line_start(text: str, place: int) -> int:
    return text.rfind("\n", 0, place) + 1


def _line_end(text: str, place: int) -> int:
    """Return where the next line begins; `place` itself if a line begins there (the end of a text in lines)."""
    if place and text[place - 1] == "\n":
        return place
    found = text.find("\n", place)
    return found + 1 if found >= 0 else len(text)


def _load(text: str) -> Any:  # noqa: ANN401 - what YAML gives
    try:
        return copy.deepcopy(read_yaml(text))
    except Unreadable as error:
        raise UserError(f"this YAML cannot be edited: {error}. See: git diff params.yaml dvc.yaml") from None


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True

"""The text of a record: under a key, or in the turns of a chat. The same in JSON, Parquet and datasets."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

Value = Any  # any value of JSON, or what a row of Parquet or of a dataset becomes in Python

_TURNS = (("role", "content"), ("from", "value"))  # the keys of a turn: who says it, and what
_LEVELS = 100  # of lists in messages in lists, three calls of functions each; Python allows a thousand calls
# Who speaks in a chat that stands under no key. Others may be the authors of records that have nothing in common.
_SPEAKERS = {"system", "developer", "user", "human", "assistant", "gpt", "chatgpt", "bot", "model", "ai"}
_SPEAKERS |= {"tool", "function", "observation", "ipython"}


class TooDeep(ValueError):
    """The text of a record is nested more deeply than is read; the message is the reason of the loss."""

    def __init__(self) -> None:
        super().__init__("JSON nested too deeply")


def field(value: Value, dotted: str) -> Value:
    """Return the value at a dotted path; a key that itself holds dots goes first. `None` if there is no such value."""
    if isinstance(value, dict) and dotted in value:
        return value[dotted]
    for part in dotted.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def first_text(value: Value, keys: Sequence[str]) -> str | None:
    """The text of a record: the first string that one of the dotted `keys` leads to.

    If there is none, the first chat, list of strings or list of a message's parts under one of them counts.
    Raises `TooDeep` if such a list has more than 100 levels.
    """
    found = [field(value, key) for key in keys]
    for one in found:
        if isinstance(one, str):
            return one
    return next((text for one in found if (text := text_of_list(one)) is not None), None)


def texts(value: Value, keys: Sequence[str], *, nested: bool = False) -> Iterator[str]:
    """The texts of a value and of the records in it, in their order; a bare string is a text.

    A record that has a text is done: what lies deeper in it is not looked at, unless `nested` asks for all levels.
    Raises as `first_text`.
    """
    if isinstance(value, str):
        yield value
    waiting = [value]
    while waiting:
        value = waiting.pop()
        text = first_text(value, keys) if isinstance(value, dict) else chat(value) or None
        if text is not None:
            yield text
            if not nested or isinstance(value, list):
                continue
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        deeper = [child for child in inner if isinstance(child, dict | list)]
        if text is not None:  # a chat that gave the text is not taken apart again
            deeper = [child for child in deeper if text_of_list(child) != text]
        waiting.extend(reversed(deeper))


def text_of_list(value: Value, level: int = 0) -> str | None:
    """The text that a list is: a chat's turns, a message's parts, or lines; `None` if it is none of these."""
    if not isinstance(value, list) or not value:
        return None
    if all(isinstance(one, str) for one in value):
        return "\n".join(value)
    if level == _LEVELS:
        raise TooDeep
    said = chat(value, level)
    # Of turns that say nothing no content is read again: at every level, that would double the time.
    return said or _parts(value, ("text", "content") if said is None else ("text",), level)


def chat(value: Value, level: int = 0) -> str | None:
    """A chat as `role: content` paragraphs, one for each turn that says anything; `None` if it is no chat.

    A turn has `role` and `content`, or `from` and `value`. Calls of tools are lines `name(arguments)`. The text is
    empty if there are contents, and none of them says anything.
    """
    if not isinstance(value, list) or not value:
        return None
    for who, what in _TURNS:
        turns = [turn for turn in value if turn is not None]
        if turns and all(isinstance(turn, dict) and isinstance(turn.get(who), str) for turn in turns):
            said = [(turn[who], _said(turn, what, level)) for turn in turns]
            if any(what in turn for turn in turns):
                text = "\n\n".join(f"{role}: {content}" for role, content in said if content)
                return text or ("" if what == "content" else None)
    return None


def is_turn(value: Value) -> bool:
    """Return whether a value is a turn of a chat that can be told without a key above it, by its speaker."""
    speakers = (value.get(who) for who, what in _TURNS if what in value) if isinstance(value, dict) else ()
    return any(isinstance(speaker, str) and speaker.lower() in _SPEAKERS for speaker in speakers)


def _said(turn: dict[str, Value], what: str, level: int) -> str:
    """Return the words of one turn: its content, then the tools that it calls."""
    content = turn.get(what)
    text = content if isinstance(content, str) else text_of_list(content, level + 1) or ""
    calls = turn.get("tool_calls") if isinstance(turn.get("tool_calls"), list) else []
    calls = [call for call in (*(calls or []), turn.get("function_call")) if isinstance(call, dict)]
    called = (_call(call["function"] if isinstance(call.get("function"), dict) else call) for call in calls)
    return "\n".join(filter(None, (text, *called)))


def _call(call: dict[str, Value]) -> str:
    arguments = next((call[key] for key in ("arguments", "input") if call.get(key) is not None), "")
    try:
        shown = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False, default=str)
    except RecursionError:
        raise TooDeep from None
    return f"{call['name']}({shown})" if isinstance(call.get("name"), str) else ""


def _parts(value: list[Value], keys: Sequence[str], level: int) -> str | None:
    """The text under `keys` of a message in parts, each of which names its type; parts without text are left out."""
    parts = [part for part in value if part is not None]
    if not all(
        isinstance(part, str) or (isinstance(part, dict) and isinstance(part.get("type"), str)) for part in parts
    ):
        return None
    return "\n".join(filter(None, (_part(part, keys, level) for part in parts))) or None


def _part(part: Value, keys: Sequence[str], level: int) -> str:
    if isinstance(part, str):
        return part
    if part["type"] == "tool_use":
        return _call(part)
    inner = next((part[key] for key in keys if part.get(key) is not None), None)
    return inner if isinstance(inner, str) else text_of_list(inner, level + 1) or ""

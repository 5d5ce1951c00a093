"""The shapes that people keep conversations in, told by the keys of each record.

| Shape | Keys |
|---|---|
| conversations | conversations, messages, dialog, chat, …: a list of turns, or such a list without a key above it |
| alpaca | instruction, prompt or task, perhaps with input or context; output, response, answer, completion or target |
| question | question, perhaps with context; answer |
| text and target | text or source; target or label |
| marked text | text with `<human>:` and `<bot>:` before each turn |

The first shape in this order whose question has a value counts, so a record with `messages` is never read as anything
else. A record that fits none is lost with its reason, never guessed at.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from aura.conversations.conversation import Message, Unusable
from aura.conversations.turns import ROLE_OF, kind, messages_of, text_of, told

CHATS = ("conversations", "conversation", "messages", "dialog", "dialogue", "chat", "turns")
SHAPES = ("conversations", "alpaca", "question", "text and target", "marked text")
_MARK = re.compile(r"(?:^|(?<=\s))<(\w{2,9})>:[ \t]?", re.MULTILINE)
_SHOWN = 60  # characters of keys that a detail quotes


class _Pair(NamedTuple):
    """A shape of a question and an answer: the keys of each, in order, and of what stands beside the question."""

    shape: str
    questions: tuple[str, ...]
    beside: tuple[str, ...]
    answers: tuple[str, ...]
    is_before: bool = False  # what is beside the question stands before it


_PAIRS = (
    _Pair(
        "alpaca",
        ("instruction", "prompt", "task"),
        ("input", "context"),
        ("output", "response", "answer", "completion", "target"),
    ),
    _Pair("question", ("question",), ("context",), ("answer", "response", "output"), is_before=True),
    _Pair("text and target", ("text", "source"), (), ("target", "label")),
)
# Top-level keys that a record is read by: the columns that are read of Parquet files and datasets.
KEYS = tuple(dict.fromkeys([*CHATS, *(key for pair in _PAIRS for keys in pair[1:4] for key in keys), "system"]))


def recognised(record: Any, notes: Counter[str]) -> tuple[str, tuple[Message, ...]]:  # noqa: ANN401 - any value of JSON
    """The shape of a record and its messages; what was joined or left out is counted in `notes`.

    Raises `Unusable` with the reason for a record that is no conversation.
    """
    if isinstance(record, str):
        return "marked text", told(_marked(record), notes)
    if isinstance(record, list):
        return "conversations", told(messages_of(record), notes)
    if not isinstance(record, dict):
        raise Unusable("not a mapping", kind(record))
    given = {key: value for key, value in record.items() if value is not None}
    if not given:
        raise Unusable("empty")
    system = [Message("system", text_of(given["system"], "system"))] if "system" in given else []
    shape, messages = _by_keys(given)
    return shape, told([*system, *messages], notes)


def _by_keys(given: dict[str, Any]) -> tuple[str, list[Message]]:
    for key in CHATS:
        if key in given:
            shape = "marked text" if isinstance(given[key], str) else "conversations"
            return shape, _chat(key, given[key])
    for pair in _PAIRS:
        if any(key in given for key in pair.questions) and (found := _pair(pair, given)):
            return pair.shape, found
    if isinstance(given.get("text"), str):
        return "marked text", _marked(given["text"])
    if any(key in given for pair in _PAIRS for key in pair.questions):
        raise Unusable("no answer", f"keys {_shown(given)}")
    if any(key in given for pair in _PAIRS for key in pair.answers):
        raise Unusable("no question", f"keys {_shown(given)}")
    raise Unusable("no known keys", f"keys {_shown(given)}")


def _chat(key: str, value: Any) -> list[Message]:  # noqa: ANN401 - any value of JSON
    if isinstance(value, str):
        return _marked(value)
    if not isinstance(value, list):
        raise Unusable("turns are of a wrong type", f"{key} is {kind(value)}")
    if not value:
        raise Unusable("empty", f"{key} has no turns")
    return messages_of(value)


def _pair(pair: _Pair, given: dict[str, Any]) -> list[Message]:
    """The messages of a question and its answer; none if the record has no key of an answer."""
    answer = _first(pair.answers, given)
    if answer is None:
        return []
    asked = _as_messages(_first(pair.questions, given) or "", given, "user")
    beside = [text_of(given[key], key) for key in pair.beside if key in given]
    if beside and len(asked) == 1:
        parts = [*beside, asked[0].content] if pair.is_before else [asked[0].content, *beside]
        asked = [Message("user", "\n\n".join(part for part in map(str.strip, parts) if part))]
    if len(asked) == 1 and not asked[0].content.strip():
        raise Unusable("no question", "the question is empty")
    answered = _as_messages(answer, given, "assistant")
    if len(answered) == 1 and not answered[0].content.strip():
        raise Unusable("no answer", "the answer is empty")
    return asked + answered


def _first(keys: Sequence[str], given: dict[str, Any]) -> str | None:
    """The first of these keys that the record has."""
    return next((key for key in keys if key in given), None)


def _as_messages(key: str, given: dict[str, Any], role: str) -> list[Message]:
    """The message under a key; a list of turns there, as TRL writes prompts and completions, is several."""
    value = given[key]
    if isinstance(value, list) and value and all(isinstance(turn, dict) and "role" in turn for turn in value):
        return messages_of(value)
    return [Message(role, text_of(value, key))]


def _marked(text: str) -> list[Message]:
    """The turns of a text with `<human>:` or `<bot>:` before each; text before the first is of the system."""
    marks = [mark for mark in _MARK.finditer(text) if mark[1].lower() in ROLE_OF]
    if not marks:
        raise Unusable("text without <human>: and <bot>:" if text.strip() else "empty")
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    turns = [Message(ROLE_OF[mark[1].lower()], text[mark.end() : end]) for mark, end in zip(marks, ends, strict=True)]
    before = text[: marks[0].start()]
    return ([Message("system", before)] if before.strip() else []) + turns


def _shown(given: dict[str, Any]) -> str:
    shown = ", ".join(map(str, given))
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"

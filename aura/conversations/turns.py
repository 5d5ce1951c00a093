"""Turns of a chat as messages: roles by the names that people give them, and nothing between the roles twice.

A message of white space alone says nothing and is left out. Messages of one role behind each other become one, because
the chat template has no end of a user's message but the next role. Messages behind the last answer teach nothing, and
are left out as well. Each of the three is counted under its name in `notes`.
"""

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from aura.conversations.conversation import ASSISTANT, SYSTEM, Message, Unusable

EMPTY, JOINED, UNANSWERED = "empty messages", "messages joined", "messages without answer"
_ROLES = {
    "system": ("system", "developer", "context"),
    "user": ("user", "human", "prompter", "question", "instruction", "customer"),
    "assistant": ("assistant", "gpt", "chatgpt", "bot", "chatbot", "model", "ai", "answer", "response"),
    "thought": ("thought", "reasoning", "thinking"),
    "action": ("action", "tool_call", "function_call"),
    "observation": ("observation", "tool", "function", "tool_response", "ipython", "environment"),
}
ROLE_OF = {name: role for role, names in _ROLES.items() for name in names}
_WHO, _WHAT = ("role", "from"), ("content", "value", "text")
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")  # what an assistant thought before its answer
_SHOWN = 40  # characters of what somebody wrote that a detail quotes


def messages_of(turns: list[Any]) -> list[Message]:
    """The messages of a list of turns, with thoughts before an answer and what tools were called as actions.

    Raises `Unusable` for a turn that is no mapping, or of which role or text cannot be told.
    """
    found: list[Message] = []
    for number, turn in enumerate(turns, start=1):
        if turn is None:  # a row of Parquet fills short lists
            continue
        if not isinstance(turn, dict):
            raise Unusable("turn is not a mapping", f"turn {number} is {kind(turn)}")
        found += _messages_of_turn(turn, number)
    return found


def told(messages: Iterable[Message], notes: Counter[str]) -> tuple[Message, ...]:
    """The messages that teach, of a conversation as it was written; counts in `notes` what was joined or left out.

    Raises `Unusable` if there is no answer, or no question before it, or text that UTF-8 cannot hold.
    """
    joined: list[Message] = []
    counted: Counter[str] = Counter()
    for role, text in messages:
        content = _valid(text).strip()
        if not content:
            counted[EMPTY] += 1
        elif joined and joined[-1].role == role:
            counted[JOINED] += 1
            joined[-1] = Message(role, f"{joined[-1].content}\n\n{content}")
        else:
            joined.append(Message(role, content))
    if not joined:
        raise Unusable("empty")
    answers = [place for place, message in enumerate(joined) if message.role == ASSISTANT]
    if not answers:
        raise Unusable("no answer")
    if all(message.role in (SYSTEM, ASSISTANT) for message in joined[: answers[-1]]):
        raise Unusable("no question")
    last = answers[-1] + 1
    counted[UNANSWERED] += len(joined) - last
    notes.update({name: count for name, count in counted.items() if count})
    return tuple(joined[:last])


def kind(value: Any) -> str:  # noqa: ANN401 - any value of JSON
    """The kind of a value, in the words of JSON."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case dict():
            return "a mapping"
    return f"a {type(value).__name__}"


def text_of(value: Any, what: str) -> str:  # noqa: ANN401 - as above
    """A text, or a message in parts of type text; None is no text. Anything else is `Unusable`."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        parts = [_part(part) for part in value if part is not None]
        if None not in parts:
            return "\n".join(part for part in parts if part)
        raise Unusable("message in parts that are no text", what)
    raise Unusable("text is of a wrong type", f"{what} is {kind(value)}")


def _messages_of_turn(turn: dict[str, Any], number: int) -> list[Message]:
    who = next((turn[key] for key in _WHO if turn.get(key) is not None), None)
    if who is None:
        raise Unusable("turn without role", f"turn {number} has {', '.join(map(str, turn))[:_SHOWN] or 'no keys'}")
    role = ROLE_OF.get(who.strip().lower()) if isinstance(who, str) else None
    if role is None:
        raise Unusable("unknown role", f"turn {number}: {str(who)[:_SHOWN]!r}")
    what = next((key for key in _WHAT if turn.get(key) is not None), None)
    calls = _calls(turn, number)
    if what is None and not calls and not any(key in turn for key in _WHAT):
        raise Unusable("turn without text", f"turn {number}")
    thoughts = [turn[key] for key in _THOUGHTS if role == ASSISTANT and isinstance(turn.get(key), str)][:1]
    said = [Message(role, text_of(turn[what], f"{what} of turn {number}") if what else "")] if what or not calls else []
    thought = [Message("thought", text) for text in thoughts if text.strip()]
    return thought + said + ([Message("action", calls)] if calls else [])


def _calls(turn: dict[str, Any], number: int) -> str:
    """The calls of tools in a turn, a line for each: `name(arguments)`. Raises `Unusable` for one without a name."""
    given = turn.get("tool_calls") or turn.get("function_call") or []
    listed = [call for call in (given if isinstance(given, list) else [given]) if call is not None]
    inner = [call.get("function") or call if isinstance(call, dict) else call for call in listed]
    named = [call for call in inner if isinstance(call, dict) and isinstance(call.get("name"), str)]
    if any(not isinstance(call, dict) or call.get("arguments") for call in inner if call not in named):
        raise Unusable("tool call without name", f"turn {number}")
    return "\n".join(map(_call, named))


def _call(call: dict[str, Any]) -> str:
    arguments = call.get("arguments") or ""
    shown = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False, default=str)
    return f"{call['name']}({shown})"


def _part(part: Any) -> str | None:  # noqa: ANN401 - as above
    """The text of a part of a message; None if it is another kind of part."""
    if isinstance(part, str):
        return part
    if isinstance(part, dict) and part.get("type", "text") == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    return None


def _valid(text: str) -> str:
    """The text with one kind of line end; raises `Unusable` if UTF-8 cannot hold it."""
    if text.isascii():
        return text.replace("\r\n", "\n")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        is_byte = "\udc80" <= text[error.start] <= "\udcff"  # as readers mark a byte that is no UTF-8
        raise Unusable("invalid UTF-8" if is_byte else "lone surrogate") from None
    return text.replace("\r\n", "\n")

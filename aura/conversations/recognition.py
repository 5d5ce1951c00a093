"""The shapes that people keep conversations in, told by the keys of each record.

| Shape | Keys |
|---|---|
| conversations | conversations, messages, dialog, chat, …: a list of turns, or such a list without a key above it |
| alpaca | instruction, prompt or task, perhaps with input, context or question; output, response, answer, chosen, … |
| question | question or query, perhaps with context; answer, answers, chosen, … |
| input and output | input or inputs; output, target, targets, … |
| text and target | text or source; target or label |
| preference | chosen alone: a list of turns, or text with `Human:` and `Assistant:` before each turn |
| marked text | text with `<human>:` and `<bot>:` before each turn |

The first shape in this order that has a key of a question and one of an answer counts, so a record with `messages` is
never read as anything else. A record that fits none is lost with its reason, never guessed at. Keys beside these say
nothing that is learnt, such as `rejected`; `history` holds earlier questions with their answers.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from aura.conversations.conversation import ASSISTANT, SYSTEM, USER, Message, Unusable
from aura.conversations.turns import ROLE_OF, kind, messages_of, text_of, told

CHATS = ("conversations", "conversation", "messages", "dialog", "dialogue", "chat", "turns")
DIALOGUES = ("conversations", "data")  # under which a list of strings is what a user and an assistant say in turn
OTHERS = "other answers"  # to the same question, left out
_MARK = re.compile(r"(?:^|(?<=\s))<(\w{2,9})>:[ \t]?", re.MULTILINE)
_SPEAKER = re.compile(r"(?:\A|\n\n)\s*(Human|Assistant):[ \t]?")  # as Anthropic's HH-RLHF marks turns
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
        ("input", "context", "question"),
        ("output", "response", "answer", "completion", "target", "answers", "chosen"),
    ),
    _Pair(
        "question",
        ("question", "query"),
        ("context", "input"),
        ("answer", "response", "output", "answers", "chosen"),
        is_before=True,
    ),
    _Pair(
        "input and output",
        ("input", "inputs"),
        (),
        ("output", "target", "targets", "response", "answer", "completion"),
    ),
    _Pair("text and target", ("text", "source"), (), ("target", "label")),
)
# Top-level keys that a record is read by: the columns that are read of Parquet files and datasets.
KEYS = tuple(dict.fromkeys([*CHATS, *(key for pair in _PAIRS for keys in pair[1:4] for key in keys)]))
KEYS += ("data", "history", "system")


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
    counted: Counter[str] = Counter()
    shape, messages = _by_keys(given, counted)
    found = told([*system, *messages], counted)
    notes.update(counted)
    return shape, found


def _by_keys(given: dict[str, Any], notes: Counter[str]) -> tuple[str, list[Message]]:
    if key := _first(CHATS, given):
        return "marked text" if isinstance(given[key], str) else "conversations", _chat(key, given[key])
    if _is_dialogue("data", given.get("data")):
        return "conversations", _chat("data", given["data"])
    for pair in _PAIRS:
        if any(key in given for key in pair.questions) and (found := _pair(pair, given, notes)):
            return pair.shape, found
    if "chosen" in given and (found := _preferred(given["chosen"])):
        return "preference", found
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
    if _is_dialogue(key, value):
        return [Message((USER, ASSISTANT)[number % 2], text) for number, text in enumerate(value)]
    return messages_of(value)


def _is_dialogue(key: str, value: Any) -> bool:  # noqa: ANN401 - any value of JSON
    return key in DIALOGUES and isinstance(value, list) and bool(value) and all(isinstance(one, str) for one in value)


def _pair(pair: _Pair, given: dict[str, Any], notes: Counter[str]) -> list[Message]:
    """The messages of a question and its answer; none if the record has no key of an answer."""
    answer = _first(pair.answers, given)
    if answer is None:
        return []
    if given.get("label") is False and answer != "label":  # TRL's sets for KTO hold good and bad answers
        raise Unusable("rejected answer", "label is false")
    if answer == "chosen" and (whole := _preferred(given[answer])):
        return whole
    asked = _as_messages(_first(pair.questions, given) or "", given, "user")
    beside = [text_of(given[key], key) for key in pair.beside if key in given]
    if beside and len(asked) == 1:
        parts = [*beside, asked[0].content] if pair.is_before else [asked[0].content, *beside]
        asked = [Message("user", "\n\n".join(part for part in map(str.strip, parts) if part))]
    if len(asked) == 1 and not asked[0].content.strip():
        raise Unusable("no question", "the question is empty")
    answered = _as_messages(answer, given | {answer: _one_answer(given[answer], notes)}, "assistant")
    if len(answered) == 1 and not answered[0].content.strip():
        raise Unusable("no answer", "the answer is empty")
    return _earlier(given.get("history")) + asked + answered


def _first(keys: Sequence[str], given: dict[str, Any]) -> str | None:
    """The first of these keys under which the record has something; otherwise the first that it has."""
    there = [key for key in keys if key in given]
    full = (key for key in there if given[key] != [] and not (isinstance(given[key], str) and not given[key].strip()))
    return next(full, there[0] if there else None)


def _one_answer(value: Any, notes: Counter[str]) -> Any:  # noqa: ANN401 - any value of JSON
    """The first of several answers to one question, as SQuAD has them; the others are counted."""
    if isinstance(value, dict) and isinstance(value.get("text"), list):
        value = value["text"]
    if not isinstance(value, list):
        return value
    texts = [one.get("text") if isinstance(one, dict) and not {"type", "role"} & one.keys() else one for one in value]
    if not all(isinstance(text, str) for text in texts):
        return value
    if len(texts) > 1:
        notes[OTHERS] += len(texts) - 1
    return texts[0] if texts else ""


def _earlier(history: Any) -> list[Message]:  # noqa: ANN401 - as above
    """The messages before a question: pairs of a question and its answer, or turns."""
    if not history:
        return []
    if not isinstance(history, list):
        raise Unusable("text is of a wrong type", f"history is {kind(history)}")
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in history):
        return messages_of(history)
    return [
        Message(role, text_of(text, "history"))
        for pair in history
        for role, text in zip((USER, ASSISTANT), pair, strict=True)
    ]


def _preferred(value: Any) -> list[Message]:  # noqa: ANN401 - as above
    """The conversation that was preferred to another, if it is whole; none if it is only an answer."""
    if isinstance(value, str):
        return _cut(value, list(_SPEAKER.finditer(value))) if _SPEAKER.match(value) else []
    if isinstance(value, list) and value and all(isinstance(turn, dict) for turn in value):
        found = messages_of(value)
        return found if found and found[0].role in (SYSTEM, USER) else []
    return []


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
    turns = _cut(text, marks)
    before = text[: marks[0].start()]
    return ([Message("system", before)] if before.strip() else []) + turns


def _cut(text: str, marks: list[re.Match[str]]) -> list[Message]:
    """The messages behind marks with the names of their roles."""
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    return [Message(ROLE_OF[mark[1].lower()], text[mark.end() : end]) for mark, end in zip(marks, ends, strict=True)]


def _shown(given: dict[str, Any]) -> str:
    shown = ", ".join(map(str, given))
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"

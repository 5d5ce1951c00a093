"""Each shape that people keep conversations in is recognised; whatever is none has a reason."""

from collections import Counter
from typing import Any

import pytest

from aura.conversations.conversation import Unusable
from aura.conversations.recognition import KEYS, OTHERS, recognised
from aura.conversations.turns import EMPTY, JOINED, UNANSWERED

Q, A = ("user", "2+2?"), ("assistant", "4")
SHAREGPT = [{"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "4"}]
OPENAI = [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]

SHAPES: list[tuple[str, Any, list[tuple[str, str]]]] = [
    ("alpaca", {"instruction": "2+2?", "output": "4"}, [Q, A]),
    ("alpaca", {"instruction": "Add.", "input": "2, 2", "output": "4"}, [("user", "Add.\n\n2, 2"), A]),
    ("alpaca", {"instruction": "", "input": "2+2?", "output": "4"}, [Q, A]),
    ("alpaca", {"instruction": "2+2?", "input": None, "response": "4"}, [Q, A]),
    ("alpaca", {"instruction": "Add.", "context": "2, 2", "response": "4"}, [("user", "Add.\n\n2, 2"), A]),
    ("alpaca", {"prompt": "2+2?", "completion": "4"}, [Q, A]),
    ("alpaca", {"prompt": OPENAI[:1], "completion": OPENAI[1:]}, [Q, A]),
    ("alpaca", {"task": "2+2?", "answer": "4"}, [Q, A]),
    ("alpaca", {"task": "2+2?", "target": "4", "id": 7}, [Q, A]),
    ("alpaca", {"system": "Be short.", "prompt": "2+2?", "response": "4"}, [("system", "Be short."), Q, A]),
    ("question", {"question": "2+2?", "answer": "4"}, [Q, A]),
    ("question", {"context": "Two.", "question": "2+2?", "answer": "4"}, [("user", "Two.\n\n2+2?"), A]),
    ("text and target", {"text": "2+2?", "target": "4"}, [Q, A]),
    ("text and target", {"source": "2+2?", "label": "4"}, [Q, A]),
    ("conversations", {"conversations": SHAREGPT}, [Q, A]),
    ("conversations", {"messages": OPENAI}, [Q, A]),
    ("conversations", {"dialog": OPENAI, "text": "ignored"}, [Q, A]),
    ("conversations", {"chat": SHAREGPT, "source": "web"}, [Q, A]),
    ("conversations", OPENAI, [Q, A]),
    ("conversations", {"messages": OPENAI * 2}, [Q, A, Q, A]),
    ("conversations", {"messages": [{"role": "Human", "value": "2+2?"}, {"role": "BOT", "text": "4"}]}, [Q, A]),
    (
        "conversations",
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "2+2?"}]}, OPENAI[1]]},
        [Q, A],
    ),
    (
        "conversations",
        {
            "messages": [
                OPENAI[0],
                {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "add", "arguments": "2"}}]},
                {"role": "tool", "content": "4"},
                OPENAI[1],
            ]
        },
        [Q, ("action", "add(2)"), ("observation", "4"), A],
    ),
    ("conversations", {"conversations": ["2+2?", "4"], "source": "lima"}, [Q, A]),
    ("conversations", {"id": "0", "data": ["2+2?", "4", "2+2?", "4"]}, [Q, A, Q, A]),
    (
        "conversations",
        {"messages": [OPENAI[0], OPENAI[1] | {"reasoning_content": "Add."}]},
        [Q, ("thought", "Add."), A],
    ),
    ("alpaca", {"prompt": "2+2?", "chosen": "4", "rejected": "5"}, [Q, A]),
    ("alpaca", {"prompt": "2+2?", "chosen": OPENAI, "rejected": OPENAI}, [Q, A]),
    ("alpaca", {"prompt": OPENAI[:1], "chosen": OPENAI[1:], "rejected": OPENAI[1:]}, [Q, A]),
    ("alpaca", {"prompt": "2+2?", "completion": "4", "label": True}, [Q, A]),
    ("alpaca", {"task": "sums", "question": "2+2?", "answer": "4"}, [("user", "sums\n\n2+2?"), A]),
    ("alpaca", {"instruction": "2+2?", "output": "", "response": "4"}, [Q, A]),
    ("alpaca", {"instruction": "2+2?", "output": "4", "history": [["2+2?", "4"]]}, [Q, A, Q, A]),
    ("question", {"query": "2+2?", "response": "4"}, [Q, A]),
    ("question", {"question": "2+2?", "answers": {"text": ["4"], "answer_start": [0]}}, [Q, A]),
    ("question", {"question": "2+2?", "answers": [{"text": "4", "answer_start": 0}]}, [Q, A]),
    ("question", {"system": "Be short.", "question": "2+2?", "chosen": "4"}, [("system", "Be short."), Q, A]),
    ("input and output", {"inputs": "2+2?", "targets": "4", "source": "flan"}, [Q, A]),
    ("input and output", {"input": "2+2?", "output": "4"}, [Q, A]),
    ("preference", {"chosen": "\n\nHuman: 2+2?\n\nAssistant: 4", "rejected": "\n\nHuman: 2+2?"}, [Q, A]),
    ("preference", {"chosen": OPENAI, "rejected": OPENAI}, [Q, A]),
    ("marked text", {"text": "<human>: 2+2?\n<bot>: 4"}, [Q, A]),
    ("marked text", {"text": "Sums.\n<Human>: 2+2? <bot>: 4", "source": "web"}, [("system", "Sums."), Q, A]),
    ("marked text", {"conversation": "<user>: 2+2?\n<assistant>: 4"}, [Q, A]),
    ("conversations", {"conversations": [], "messages": OPENAI[:2]}, [Q, A]),
    (
        "conversations",
        {
            "messages": [
                *OPENAI[:1],
                {"role": "assistant", "tool_calls": [], "function_call": {"name": "add"}},
                OPENAI[1],
            ]
        },
        [Q, ("action", "add()"), A],
    ),
]


@pytest.mark.parametrize(("shape", "record", "messages"), SHAPES)
def test_a_shape_is_recognised(shape: str, record: Any, messages: list[tuple[str, str]]):
    notes: Counter[str] = Counter()
    assert recognised(record, notes) == (shape, tuple(messages))
    assert set(notes) <= {EMPTY}
    if isinstance(record, dict):
        assert any(key in KEYS for key in record)


def test_other_answers_to_a_question_are_counted():
    notes: Counter[str] = Counter()
    _, messages = recognised({"question": "2+2?", "answers": {"text": ["4", "four", "IV"]}}, notes)
    assert messages == (Q, A)
    assert notes == {OTHERS: 2}
    with pytest.raises(Unusable):
        recognised({"question": " ", "answers": ["4", "four"]}, notes)
    assert notes == {OTHERS: 2}, "a lost record changes nothing"


def test_what_is_changed_is_counted():
    turns = [
        {"role": "user", "content": "One."},
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "content": " \n"},
        {"role": "assistant", "content": None},
        {"role": "assistant", "content": "4\r\nindeed"},
        {"role": "user", "content": "Thanks"},
    ]
    notes: Counter[str] = Counter()
    _, messages = recognised({"messages": turns}, notes)
    assert messages == (("user", "One.\n\n2+2?"), ("assistant", "4\nindeed"))
    assert notes == {JOINED: 1, EMPTY: 2, UNANSWERED: 1}


NAMELESS = "tool call without name"
REASONS: list[tuple[Any, str]] = [
    (7, "not a mapping"),
    (None, "not a mapping"),
    ("hello", "text without <human>: and <bot>:"),
    ({}, "empty"),
    ({"instruction": None, "output": None}, "empty"),
    ({"messages": []}, "empty"),
    ({"messages": [{"role": "user", "content": " "}]}, "empty"),
    ({"id": 1, "title": "x"}, "no known keys"),
    ({"instruction": "2+2?"}, "no answer"),
    ({"instruction": "2+2?", "output": ""}, "no answer"),
    ({"question": "2+2?", "answer": None}, "no answer"),
    ({"output": "4"}, "no question"),
    ({"instruction": " ", "output": "4"}, "no question"),
    ({"messages": OPENAI[1:]}, "no question"),
    ({"messages": OPENAI[:1]}, "no answer"),
    ({"messages": [{"role": "system", "content": "Be short."}, OPENAI[1]]}, "no question"),
    ({"messages": "one"}, "text without <human>: and <bot>:"),
    ({"messages": {"role": "user"}}, "turns are of a wrong type"),
    ({"messages": ["2+2?", "4"]}, "turn is not a mapping"),
    ({"turns": ["2+2?", "3+3?"]}, "turn is not a mapping"),
    ({"messages": [*OPENAI, {"role": "assistant", "tool_calls": [{"function": {"arguments": "2"}}]}]}, NAMELESS),
    ({"messages": [*OPENAI, {"role": "assistant", "tool_calls": "[{}]"}]}, NAMELESS),
    ({"messages": [*OPENAI, {"role": "assistant", "tool_calls": ["add(2, 2)"]}]}, NAMELESS),
    ({"prompt": "2+2?", "completion": "5", "label": False}, "rejected answer"),
    ({"chosen": "4", "rejected": "5"}, "no question"),
    ({"question": "2+2?", "answers": {"text": [], "answer_start": []}}, "no answer"),
    ({"instruction": "2+2?", "output": "4", "history": "2+2?"}, "text is of a wrong type"),
    ({"messages": [{"content": "2+2?"}]}, "turn without role"),
    ({"messages": [{"role": "user"}]}, "turn without text"),
    ({"messages": [{"role": "narrator", "content": "Once"}]}, "unknown role"),
    ({"messages": [{"role": 7, "content": "Once"}]}, "unknown role"),
    ({"messages": [{"role": "user", "content": 7}]}, "text is of a wrong type"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "message in parts that are no text"),
    ({"instruction": 7, "output": "4"}, "text is of a wrong type"),
    ({"text": "good", "label": 1}, "text is of a wrong type"),
    ({"text": "good", "label": False}, "text is of a wrong type"),
    ({"question": "2+2?", "answer": {"value": 4}}, "text is of a wrong type"),
    ({"text": "a plain document"}, "text without <human>: and <bot>:"),
    ({"text": "<bot>: 4"}, "no question"),
    ({"question": "2+2?", "answer": "\ud800"}, "lone surrogate"),
    ({"question": "2+2?", "answer": "caf\udce9"}, "invalid UTF-8"),
]


@pytest.mark.parametrize(("record", "reason"), REASONS)
def test_a_record_that_is_no_conversation_has_a_reason(record: Any, reason: str):
    with pytest.raises(Unusable) as found:
        recognised(record, Counter())
    assert found.value.reason == reason


def test_a_chat_of_any_depth_ends_in_a_reason():
    content: Any = "deep"
    for _ in range(400):
        content = [content]
    with pytest.raises(Unusable):
        recognised({"messages": [{"role": "user", "content": content}]}, Counter())

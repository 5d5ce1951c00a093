"""The chat template under transformers: the text, what of it is generated, and a clear message for what has no form."""

from pathlib import Path
from typing import Any

import pytest

from aura.tokenizer.tokenizer import Tokenizer
from tests.tokenizer.test_hf_export import load

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "Hi, "}, {"type": "text", "text": "é你!"}]},
    {"role": "thought", "content": "A greeting."},
    {"role": "action", "content": "look()"},
    {"role": "tool", "content": "42"},
    {"role": "observation", "content": "43"},
    {"role": "assistant", "content": "你好é. Hello"},
    {"role": "user", "content": "Again"},
    {"role": "assistant", "content": ["Bye", {"type": "text", "text": "!"}]},
    {"role": "assistant", "content": ""},
]
RENDERED = (
    "<bos><SYSTEM>Be brief.<USER>Hi, é你!<THOUGHT>A greeting.<ACTION>look()<OBSERVATION>42<OBSERVATION>43"
    "<ASSISTANT>你好é. Hello<eos><USER>Again<ASSISTANT>Bye!<eos><ASSISTANT><eos>"
)


@pytest.fixture
def other(tokenizer: Tokenizer, tmp_path: Path) -> Any:
    return load(tmp_path, tokenizer.proc.serialized_model_proto())


def test_messages_of_every_role_are_rendered(tokenizer: Tokenizer, other: Any):
    assert other.apply_chat_template(CHAT, tokenize=False) == RENDERED
    prompt = other.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    assert prompt == RENDERED + "<ASSISTANT>"
    ids = other.apply_chat_template(CHAT, return_dict=True)["input_ids"]
    assert ids == tokenizer.encode(RENDERED, allowed_special="all")


def test_the_mask_has_what_the_assistant_said_and_its_end(other: Any):
    encoded = other.apply_chat_template(CHAT, return_dict=True, return_assistant_tokens_mask=True)
    pairs = list(zip(encoded["input_ids"], encoded["assistant_masks"], strict=True))
    assert other.decode([token for token, generated in pairs if generated]) == "你好é. Hello<eos>Bye!<eos><eos>"
    rest = "".join(RENDERED.split("你好é. Hello<eos>")).replace("Bye!<eos><ASSISTANT><eos>", "<ASSISTANT>")
    assert other.decode([token for token, generated in pairs if not generated]) == rest


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"role": "user", "content": None}, "message 2: expected text or a list of text parts as content, got None"),
        ({"role": "user"}, "message 2: expected text or a list of text parts as content, got None"),
        ({"role": "user", "content": 3}, "as content, got 3"),
        ({"role": "user", "content": {"type": "text", "text": "x"}}, "expected text or a list of text parts"),
        ({"role": "user", "content": [{"type": "image", "url": "x.png"}]}, "expected parts of type text alone, got"),
        ({"role": "user", "content": [{"type": "text"}]}, "expected parts of type text alone, got"),
        ({"role": "user", "content": [None]}, "expected parts of type text alone, got None"),
        ({"role": "boss", "content": "x"}, "expected a role out of system, user, .* or tool, got boss"),
        ({"role": None, "content": "x"}, "expected a role out of system, user"),
        ({"content": "x"}, "expected a role out of system, user"),
        ({"role": "assistant", "content": None, "tool_calls": [{"name": "f"}]}, "expected tool calls written as text"),
        ({"role": "assistant", "content": "x", "tool_calls": [{"name": "f"}]}, "expected tool calls written as text"),
        ({"role": "assistant", "content": "", "function_call": {"name": "f"}}, "expected tool calls written as text"),
        ({"role": "assistant", "content": "x", "reasoning_content": "So"}, "role thought, got So"),
        ({"role": "assistant", "content": "x", "thinking": "So"}, "role thought, got So"),
    ],
)
def test_what_has_no_form_is_named(other: Any, message: dict[str, Any], said: str):
    with pytest.raises(Exception, match=said):
        other.apply_chat_template([{"role": "user", "content": "Hi"}, message], tokenize=False)


def test_tools_are_refused_and_not_left_out(other: Any):
    with pytest.raises(Exception, match="no form for tools: describe them in the system message"):
        other.apply_chat_template(CHAT, tools=[{"type": "function", "function": {"name": "f"}}], tokenize=False)
    with pytest.raises(Exception, match="no form for documents"):
        other.apply_chat_template(CHAT, documents=[{"title": "T", "text": "x"}], tokenize=False)

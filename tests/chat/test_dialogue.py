"""What of a chat the model reads: all of it while it fits, then without its oldest turns."""

import pytest

from aura.chat.dialogue import Dialogue
from aura.core.errors import UserError
from aura.tokenizer.tokenizer import Tokenizer
from tests.mini_tokens import MiniTokens


@pytest.fixture(scope="module")
def tokenizer(made: MiniTokens) -> Tokenizer:
    return made.tokenizer


def text(tokenizer: Tokenizer, prompt) -> str:
    return tokenizer.decode(prompt.ids, keep_special=True)


def test_a_prompt_is_the_whole_chat_in_the_chat_template(tokenizer: Tokenizer):
    dialogue = Dialogue(tokenizer, 200, 20, "Be kind.")
    dialogue.add("Hi <eos>", "Hello")
    prompt = dialogue.prompt("And?")
    assert text(tokenizer, prompt) == ("<bos><SYSTEM>Be kind.<USER>Hi <eos><ASSISTANT>Hello<eos><USER>And?<ASSISTANT>")
    assert prompt.dropped == 0


def test_the_oldest_turns_go_first_and_the_system_prompt_stays(tokenizer: Tokenizer):
    dialogue = Dialogue(tokenizer, 80, 20, "Be kind.")
    dropped, number = 0, 0
    while not dropped:
        prompt = dialogue.prompt(f"question {number}")
        assert len(prompt.ids) <= 60  # room for an answer stays
        dropped += prompt.dropped
        dialogue.add(f"question {number}", f"answer {number}")
        number += 1
    shown = text(tokenizer, prompt)
    assert shown.startswith("<bos><SYSTEM>Be kind.<USER>question")
    assert shown.endswith(f"<eos><USER>question {number - 1}<ASSISTANT>")
    assert [asked for asked, _ in dialogue.turns] == [f"question {each}" for each in range(dropped, number)]


def test_space_around_messages_and_an_empty_system_prompt_are_nothing(tokenizer: Tokenizer):
    plain = Dialogue(tokenizer, 200, 20).prompt("And?")
    for system in ("", " \n"):
        assert Dialogue(tokenizer, 200, 20, system).prompt(" And?\t").ids.tolist() == plain.ids.tolist()


def test_a_message_that_is_no_text_is_an_error(tokenizer: Tokenizer):
    dialogue = Dialogue(tokenizer, 200, 20)
    with pytest.raises(UserError, match="this message: expected UTF-8, got something else at character 4"):
        dialogue.prompt("caf\udce9")
    with pytest.raises(UserError, match="--system: expected UTF-8"):
        Dialogue(tokenizer, 200, 20, "\udce9").prompt("")


def test_a_long_message_takes_the_room_of_the_answer_and_one_that_is_too_long_is_refused(tokenizer: Tokenizer):
    dialogue = Dialogue(tokenizer, 41, 20)
    dialogue.add("old", "older")
    word = " [" * 1  # at least one token
    longest = word
    while len(dialogue.prompt(longest + word).ids) < 40:
        longest += word
    assert not dialogue.turns
    with pytest.raises(
        UserError, match=r"this message has \d+ tokens, and what stands around it 3; the model reads 40"
    ):
        dialogue.prompt(longest + word * 9)
    dialogue.add("kept", "too")
    with pytest.raises(UserError, match="this message has"):
        dialogue.prompt(longest + word * 9)
    assert dialogue.turns == [("kept", "too")]
    with pytest.raises(UserError, match="or a shorter --system"):
        Dialogue(tokenizer, 41, 20, longest + word * 9).prompt("")

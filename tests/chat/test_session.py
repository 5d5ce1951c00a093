"""A chat through a pipe: answers alone on standard output, notes on standard error, and the same chat each time."""

import io
import sys
from pathlib import Path

import pytest

from aura.chat.dialogue import Dialogue
from aura.chat.session import Session
from aura.core.errors import UserError
from aura.core.shown_text import escaped
from aura.hugging_face.loading import Loaded, load
from aura.training.answers import Answerer, Drawing
from tests.export.test_export import exported
from tests.mini_tokens import MiniTokens

BY_DEFAULT = Drawing()


@pytest.fixture(scope="module")
def loaded(made: MiniTokens, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    folder = tmp_path_factory.mktemp("chat")
    exported(made, folder)
    return load(folder / "hf", Path("no such file"))


class Pipe:
    """Lines in, what a chat writes out."""

    def __init__(self, loaded: Loaded, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._loaded, self._monkeypatch, self._capsys = loaded, monkeypatch, capsys

    def talk(self, lines: bytes, drawing: Drawing = BY_DEFAULT, tokens: int = 6, system: str | None = None) -> str:
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines), encoding="ascii"))
        answerer = Answerer(self._loaded.model, self._loaded.context, drawing)
        self.dialogue = Dialogue(self._loaded.tokenizer, self._loaded.context, tokens, system)
        Session(answerer, self.dialogue, interactive=False).run()
        captured = self._capsys.readouterr()
        self.notes = captured.err
        return captured.out


@pytest.fixture
def pipe(loaded: Loaded, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Pipe:
    return Pipe(loaded, monkeypatch, capsys)


def test_each_line_is_answered_and_the_history_holds_what_was_written(pipe: Pipe):
    out = pipe.talk("Hello\n\n  \nAnd é?".encode())
    assert [asked for asked, _ in pipe.dialogue.turns] == ["Hello", "And é?"]
    assert out == "".join(f"{escaped(answer)}\n" for _, answer in pipe.dialogue.turns)
    assert pipe.talk("Hello\nAnd é?\n".encode()) == out
    assert pipe.talk("Hello\nAnd é?\n".encode(), Drawing(seed=1)) != out


def test_what_was_said_before_decides_the_answer(pipe: Pipe):
    likeliest = Drawing(temperature=0)
    alone = pipe.talk(b"And?\n", likeliest)
    _, later = pipe.talk(b"Hello\nAnd?\n", likeliest) and pipe.dialogue.turns
    told = pipe.talk(b"And?\n", likeliest, system="Be kind.")
    assert len({alone, later[1] + "\n", told}) > 1


def test_an_answer_ends_before_any_special_token(pipe: Pipe, loaded: Loaded):
    pipe.talk(b"a\nb\nc\nd\n", Drawing(temperature=5.0), tokens=40)
    for _, answer in pipe.dialogue.turns:
        assert not any(loaded.tokenizer.is_special(token) for token in loaded.tokenizer.encode(answer))


def test_dropped_turns_and_cut_answers_are_told(pipe: Pipe):
    pipe.talk(b"one two three\n" * 6, tokens=20)
    assert "note: the oldest" in pipe.notes
    pipe.talk(b"a\nb\nc\n", tokens=1)
    assert "the answer is cut" in pipe.notes


def test_a_line_without_end_is_refused(pipe: Pipe):
    with pytest.raises(UserError, match="line 2 of standard input: expected at most 1,000,000 characters"):
        pipe.talk(b"a\n" + b"b" * 1_000_001)
    assert len(pipe.dialogue.turns) == 1


def test_a_line_that_does_not_fit_ends_a_pipe_with_its_number(pipe: Pipe):
    with pytest.raises(UserError, match=r"line 2 of standard input: this message has .* tokens"):
        pipe.talk(b"a\n" + b"z[" * 100 + b"\n")


def test_bytes_that_are_no_text_become_replacement_characters(pipe: Pipe):
    pipe.talk(b"\xff\n")
    assert pipe.dialogue.turns[0][0] == "\ufffd"


def test_nothing_a_terminal_would_obey_is_written(pipe: Pipe):
    out = pipe.talk(b"a\nb\nc\n", Drawing(temperature=9.0, seed=3), tokens=40)
    assert all(character.isprintable() or character in "\n\t" for character in out)

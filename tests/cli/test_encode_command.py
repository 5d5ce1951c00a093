"""`aura encode` and `aura decode`: they are each other's inverse, in pipes, too."""

import json

import pytest
from typer.testing import CliRunner

from aura.cli.app import app
from aura.core.errors import UserError
from tests.mini_tokens import MiniTokens

TEXT = "Hello, world!\n\tnaïve ▁ 🙂 <eos>  \r\n"


def run(made: MiniTokens, *arguments: str, given: str | bytes | None = None) -> str:
    done = CliRunner().invoke(app, [*arguments, "--tokenizer", str(made.spm)], input=given, catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout_bytes.decode()


def test_what_is_encoded_decodes_to_itself(made: MiniTokens):
    ids = run(made, "encode", TEXT)
    assert ids.count("\n") == 1
    assert [int(word) for word in ids.split()] == made.tokenizer.encode(TEXT)
    assert run(made, "encode", given=TEXT.encode()) == run(made, "encode", "-", given=TEXT.encode()) == ids
    assert run(made, "decode", "-", given=ids) == run(made, "decode", *ids.split()) == TEXT


def test_json_and_pieces(made: MiniTokens):
    told = json.loads(run(made, "encode", "a cat", "--json"))
    assert told["ids"] == made.tokenizer.encode("a cat")
    assert (told["bytes"], told["tokens"]) == (5, len(told["ids"]))
    assert run(made, "encode", "a cat", "--pieces") == " ".join(told["pieces"]) + "\n"
    assert json.loads(run(made, "decode", "--json", given=str(told["ids"]))) == {"text": "a cat"}
    assert run(made, "encode", "<eos>", "--special") == f"{made.tokenizer.eos_id}\n"
    assert run(made, "decode", str(made.tokenizer.eos_id), "--special") == "<eos>"


def test_json_is_json_and_loses_nothing_of_any_text(made: MiniTokens):
    for text in ("https://user:secret@host/?token=x", "\x1b[31m\x85\u202e\U000e0001 ü"):
        told = json.loads(run(made, "encode", text, "--json"))
        assert "".join(told["pieces"]).count("secret") == text.count("secret")
        assert json.loads(run(made, "decode", "--json", given=str(told["ids"]))) == {"text": text}


def test_a_long_line_without_a_space_takes_no_time_for_each_token(made: MiniTokens):
    text = "theFunction=" * 100_000
    assert run(made, "decode", given=run(made, "encode", given=text.encode())) == text


@pytest.mark.parametrize(
    ("arguments", "given", "told"),
    [
        (["decode", "one"], None, "expected ids such as 1 2 3, got 'one'"),
        (["decode", "99999"], None, "expected ids from 0 to"),
        (["encode"], b"a\xff", "expected text in UTF-8, got the byte 0xff at 1"),
    ],
)
def test_mistakes_are_told(made: MiniTokens, arguments: list[str], given: bytes | None, told: str):
    with pytest.raises(UserError, match=told):
        run(made, *arguments, given=given)

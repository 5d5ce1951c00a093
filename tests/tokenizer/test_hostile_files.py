"""A crafted tokenizer file ends in one message that names it: nothing hangs, fills the memory or ends the process."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mistral_common
import pytest
from sentencepiece import sentencepiece_model_pb2 as model_pb2
from tokenizers import pre_tokenizers

from aura.core.errors import UserError
from aura.tokenizer import foreign
from aura.tokenizer.golden import TEXTS

V1 = Path(mistral_common.__file__).parent / "data" / "tokenizer.model.v1"
LETTERS = sorted(pre_tokenizers.ByteLevel.alphabet())
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


def of_json(model: dict[str, Any] | None = None, **parts: Any) -> dict[str, Any]:
    """A tokenizer.json of bytes alone, with some parts replaced."""
    bpe = {"type": "BPE", "vocab": {letter: place for place, letter in enumerate(LETTERS)}, "merges": []}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": BYTE_LEVEL, "post_processor": None, "decoder": BYTE_LEVEL, "model": bpe | (model or {}),
    } | parts  # fmt: skip


def split(pattern: str) -> dict[str, Any]:
    rule = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [rule, BYTE_LEVEL]}


def vocab(**more: Any) -> dict[str, Any]:
    return of_json({"vocab": {letter: place for place, letter in enumerate(LETTERS)} | more})


def added(*tokens: tuple[int, str]) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return of_json(added_tokens=[{"id": token, "content": text} | flags for token, text in tokens])


def charsmap(content: bytes) -> dict[str, Any]:
    return of_json(normalizer={"type": "Precompiled", "precompiled_charsmap": base64.b64encode(content).decode()})


def twice(count: int) -> dict[str, Any]:
    rule = {"type": "Replace", "pattern": {"String": "x"}, "content": "xx"}
    return of_json(normalizer={"type": "Sequence", "normalizers": [rule] * count})


JSON: dict[str, tuple[dict[str, Any], str]] = {
    "backtracking": (of_json(pre_tokenizer=split("(x+x+)+y")), "retry-limit-in-match"),
    "deep_pattern": (of_json(pre_tokenizer=split("(" * 5000 + "a" + ")" * 5000)), "parse depth limit"),
    "id_2_31": (vocab(zz=2**31), "got 257 up to 2147483648"),
    "id_10_12": (vocab(zz=10**12), "got 257 up to 1000000000000"),
    "id_holes": (vocab(zz=1_900_000), "with few left out"),
    "id_negative": (vocab(zz=-1), "invalid value: integer `-1`"),
    "id_twice": (vocab(zz=5), "two pieces of one id"),
    "id_text": (vocab(zz="5"), "of another kind"),
    "added_id": (added((2**31, "<a>")), "with few left out"),
    "added_many": (added(*((256 + place, f"<{place}>") for place in range(100_001))), "at most 100,000 added tokens"),
    "added_long": (added((256, "x" * 10_001)), "of at most 10,000 characters"),
    "charsmap_length": (charsmap(b"\xff" * 1000), "states 4,294,967,295 bytes, and has 1,000"),
    "charsmap_trie": (charsmap((8).to_bytes(4, "little") + b"\1\2\3\4" * 10), "index out of bounds"),
    "charsmap_long": (charsmap((8).to_bytes(4, "little") + b"\0" * 8 + b"x" * 2000), "a character 2,000 bytes long"),
    "charsmap_none": (of_json(normalizer={"type": "Precompiled", "precompiled_charsmap": "!"}), "is no base64"),
    "doubling": (twice(40), "up to 1.1e.12 times as long"),
    "rules": (twice(65), "at most 64 rules"),
    "prefix": (of_json(normalizer={"type": "Prepend", "prepend": "x" * 10**6}), r"up to 1e\+06 times as long"),
    "decoder": (
        of_json(decoder={"type": "Strip", "content": "x", "start": 2**63, "stop": 2**63}),
        "index out of bounds",
    ),
    "vanishing": (
        of_json(
            added_tokens=[added((256, "\n"))["added_tokens"][0] | {"normalized": True, "special": False}],
            normalizer={"type": "Strip", "strip_left": True, "strip_right": True},
        ),
        r"leaves nothing of the added token '\\n'",
    ),
    "chance": (of_json({"dropout": 0.5}), "drawn by chance"),
    "merge": (of_json({"merges": [["q", "zz"]]}), "out of vocabulary"),
    "no_unknown": (of_json({"type": "Unigram", "vocab": [["a", 0.0]], "unk_id": None}), "`unk_id` is missing"),
    "chunks": (of_json(pre_tokenizer={"type": "FixedLength", "length": 0}), "chunk size must be non-zero"),
    "no_model": (of_json() | {"model": None}, "of another kind"),
    "list": (of_json() | {"model": [1]}, "of another kind"),
}


@pytest.mark.parametrize("name", JSON)
def test_a_crafted_tokenizer_json_gets_one_message(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]):
    content, reason = JSON[name]
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"^it: .*{reason}"):
        foreign.load(tmp_path / "tokenizer.json", "it")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is not valid JSON"),
        ('{"model":' + "[" * 200_000 + "]" * 200_000 + "}", "too deep in each other"),
        ('{"model":{"vocab":{"a":' + "9" * 5000 + "}}}", "4300 digits"),
        ("[]", "expected a JSON object"),
        ("{}", "got another"),
        ("\0" * 100, "is not valid JSON"),
    ],
)
def test_text_that_is_no_tokenizer_json(tmp_path: Path, content: str, reason: str):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(UserError, match=f"^it.*{reason}"):
        foreign.load(tmp_path / "tokenizer.json", "it")


def test_padding_and_cutting_of_a_file_change_no_ids(tmp_path: Path):
    """A length of 2,000,000,000 would fill the memory, and a text cut to three ids would be lost."""
    padding = {
        "strategy": {"Fixed": 2_000_000_000}, "direction": "Right", "pad_to_multiple_of": None,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "!",
    }  # fmt: skip
    cutting = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 7}
    (tmp_path / "tokenizer.json").write_text(json.dumps(of_json(padding=padding, truncation=cutting)))
    [found] = foreign.load(tmp_path / "tokenizer.json", "it").encode_batch(["a text"])
    assert len(found) == len("a text")


def test_a_panic_while_encoding_is_one_error_too(tmp_path: Path):
    (tmp_path / "tokenizer.json").write_text(json.dumps(of_json(pre_tokenizer=split("(?:Ω+Ω+)+y|x"))))
    found = foreign.load(tmp_path / "tokenizer.json", "it")
    assert len(found.encode_batch(TEXTS)) == len(TEXTS)
    with pytest.raises(UserError, match=r"^it: the library that reads this file failed .*retry-limit-in-match"):
        found.encode_batch(["Ω" * 40])


def tekken(**config: Any) -> dict[str, Any]:
    entries = [{"rank": byte, "token_bytes": base64.b64encode(bytes([byte])).decode()} for byte in range(256)]
    whole = {"pattern": r"[\s\S]", "default_vocab_size": 266, "default_num_special_tokens": 10}
    return {"config": whole | config, "vocab": entries}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (tekken(default_vocab_size=10**12), "got 1000000000000"),
        (tekken(default_num_special_tokens=1_900_000, default_vocab_size=1_900_256), "at most 100,000 ids before"),
        (tekken(default_num_special_tokens=-5), "of them -5 special"),
        (tekken(default_num_special_tokens=float("nan")), "of another kind"),
        (tekken(pattern=None), "expected a pattern"),
        (tekken(pattern="((("), "Opening parenthesis"),
        (tekken(pattern="x*"), "out of range"),
        (tekken() | {"vocab": [{"token_bytes": "!!!"}]}, "expected pieces that all differ"),
        (tekken() | {"vocab": "abc"}, "of another kind"),
        (tekken() | {"special_tokens": {"a": 1}}, "of another kind"),
    ],
)
def test_a_crafted_tekken(tmp_path: Path, content: dict[str, Any], reason: str, capfd: pytest.CaptureFixture[str]):
    (tmp_path / "tekken.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"^it: .*{reason}"):
        foreign.load(tmp_path / "tekken.json", "it")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xff\xfe\0garbage\n", "this is no tiktoken file"),
        (b"YQ== 1 2\n", "this is no tiktoken file"),
        (b"YQ== " + b"9" * 5000, "this is no tiktoken file"),
        (b"YQ== 0\nYg== 99999999999999999999\n", "got 99999999999999999999 in the place of 1"),
        (b"YQ== 0\n", "expected a piece for each of 256 bytes"),
        (b"", "expected pieces"),
    ],
)
def test_a_crafted_tiktoken_file(tmp_path: Path, content: bytes, reason: str):
    (tmp_path / "x.tiktoken").write_bytes(content)
    (tmp_path / "x.pattern").write_text(".")
    with pytest.raises(UserError, match=f"^it: .*{reason}"):
        foreign.load(tmp_path / "x.tiktoken", "it")


def altered(change: Callable[[Any], object]) -> bytes:
    model = model_pb2.ModelProto.FromString(V1.read_bytes())
    change(model)
    content: bytes = model.SerializeToString()
    return content


def set_charsmap(content: bytes) -> Callable[[Any], object]:
    return lambda model: setattr(model.normalizer_spec, "precompiled_charsmap", content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (V1.read_bytes()[:100_000], "is no SentencePiece model"),
        (b"\n\0" * 2_000_001, "at most 2,000,000 pieces"),
        (b"\n" + b"\xff" * 9 + b"\x01", "is no SentencePiece model"),
        (b"\xff" * 1000, "is no SentencePiece model"),
        (altered(set_charsmap(b"\xff" * 1000)), "states 4,294,967,295 bytes"),
        (altered(set_charsmap((8).to_bytes(4, "little") + b"\0" * 8 + b"x" * 2000)), "a character 2,000 bytes long"),
        (altered(lambda model: setattr(model.pieces[300], "score", float("nan"))), "the score of id 300, got nan"),
        (altered(lambda model: setattr(model.pieces[300], "piece", "")), "is no SentencePiece model"),
        (altered(lambda model: setattr(model.pieces[300], "piece", "▁t")), "is no SentencePiece model"),
        (altered(lambda model: model.ClearField("pieces")), "is no SentencePiece model"),
    ],
)
def test_a_crafted_model(tmp_path: Path, content: bytes, reason: str):
    (tmp_path / "x.model").write_bytes(content)
    with pytest.raises(UserError, match=f"^it.*{reason}"):
        foreign.load(tmp_path / "x.model", "it")


def test_roles_of_a_model_that_lie_outside_and_a_test_of_its_own_do_no_harm(tmp_path: Path):
    def roles(model: Any) -> None:
        model.trainer_spec.bos_id, model.trainer_spec.eos_id, model.trainer_spec.pad_id = 2**31 - 1, -5, 40_000

    sample = b"\n\3abc" + b"\x12\1z"  # input and what it should be
    own_test = b"\n" + bytes([len(sample)]) + sample
    for content in (altered(roles), V1.read_bytes() + b"\x22" + bytes([len(own_test)]) + own_test):
        (tmp_path / "x.model").write_bytes(content)
        found = foreign.load(tmp_path / "x.model", "it")
        assert found.stated_roles == {"bos": 1, "eos": 2, "unk": 0}
        assert [ids.tolist() for ids in found.encode_batch(["a"])] == [[264]]


def test_other_things_than_files_are_refused_at_once(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.model")
    (tmp_path / "loop.model").symlink_to(tmp_path / "loop.model")
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "folder" / "tokenizer.json")
    (tmp_path / "device.model").symlink_to("/dev/zero")
    for name in ("pipe.model", "loop.model", "empty", "folder", "device.model", "none.model", "x" * 300):
        with pytest.raises(UserError, match=r"^it\b"):
            foreign.load(tmp_path / name, "it")
    with pytest.raises(UserError, match="expected a file, got a pipe, a device"):
        foreign.read_bytes(tmp_path / "pipe.model", "it")
    with (tmp_path / "large.model").open("wb") as file:
        file.truncate(foreign.LARGEST + 1)
    with pytest.raises(UserError, match="at most 64,000,000 bytes"):
        foreign.load(tmp_path / "large.model", "it")


def test_the_command_says_one_thing(tmp_path: Path):
    (tmp_path / "tokenizer.json").write_text(json.dumps(JSON["charsmap_trie"][0]))
    command = [sys.executable, "-m", "aura", "tokenizer", "convert", "tokenizer.json", "x.tiktoken", "--to", "tiktoken"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: tokenizer.json: the library that reads this file failed (index out of bounds")

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sentencepiece import sentencepiece_model_pb2 as model_pb2

from aura.core.errors import UserError
from aura.tokenizer.symbols import SPACE
from aura.tokenizer.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def content(tokenizers: dict[str, Tokenizer]) -> bytes:
    return tokenizers["unigram"].proc.serialized_model_proto()


def refusal(folder: Path, content: bytes) -> str:
    """The message that loading `content` ends with."""
    path = folder / "spiece.model"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        Tokenizer.load(path)
    return str(caught.value)


def test_encode_and_encode_batch_agree(tokenizer, documents):
    texts = [*documents[:5], "", f"a{SPACE} b", " "]
    batch = tokenizer.encode_batch(texts, threads=2)
    assert [ids.tolist() for ids in batch] == [tokenizer.encode(text) for text in texts]
    assert {ids.dtype for ids in batch} == {np.dtype(np.int32)}


def test_literal_u2581_becomes_its_three_bytes(tokenizer):
    assert [tokenizer.piece(token) for token in tokenizer.encode(SPACE)] == ["<0xE2>", "<0x96>", "<0x81>"]


def test_lone_surrogates_are_refused_with_their_place(tokenizer):
    with pytest.raises(ValueError, match=r"surrogate '\\ud800' at character 2"):
        tokenizer.encode("ab\ud800")


@pytest.mark.parametrize("token", [-1, 1000])
def test_decoding_an_id_outside_of_the_vocabulary_is_refused(tokenizer, token):
    with pytest.raises(ValueError, match=f"0 to 999, got {token}"):
        tokenizer.decode([5, token])


def test_bytes_that_are_no_text_decode_to_the_replacement_character(tokenizer):
    assert tokenizer.decode(tokenizer.encode(SPACE)[:2]) == "\ufffd\ufffd"


def test_special_tokens_come_out_of_text_only_where_allowed(tokenizer):
    text, eos = f"<USER>Hi <eos>{SPACE}<eos><eo", tokenizer.eos_id
    user = tokenizer.proc.piece_to_id("<USER>")
    assert not any(tokenizer.is_special(token) for token in tokenizer.encode(text))
    middle, end = tokenizer.encode("<USER>Hi "), tokenizer.encode("<eo")
    assert tokenizer.encode(text, allowed_special={"<eos>"}) == [*middle, eos, *tokenizer.encode(SPACE), eos, *end]
    everything = [user, *tokenizer.encode("Hi "), eos, *tokenizer.encode(SPACE), eos, *end]
    assert tokenizer.encode(text, allowed_special="all") == everything
    [batch, empty] = tokenizer.encode_batch([text, ""], allowed_special="all")
    assert (batch.tolist(), empty.tolist()) == (everything, [])


@pytest.mark.parametrize("allowed", [{"<END>"}, {"\n"}, "<eos>", ["<eos>", ""]])
def test_allowing_what_is_no_special_token_is_refused(tokenizer, allowed):
    with pytest.raises(ValueError, match=r'allowed_special: expected "all", or a set of names out of <pad> <bos>'):
        tokenizer.encode("text", allowed_special=allowed)


def test_sha256_is_that_of_the_file(tmp_path, tokenizer):
    path = tmp_path / "spiece.model"
    content = tokenizer.proc.serialized_model_proto()
    path.write_bytes(content)
    assert Tokenizer.load(path).sha256 == hashlib.sha256(content).hexdigest()


def test_a_missing_model_names_the_command(tmp_path):
    with pytest.raises(UserError, match="dvc repro train_tokenizer"):
        Tokenizer.load(tmp_path / "spiece.model")


def test_a_model_cut_off_anywhere_is_one_message(tmp_path, content):
    for end in [*range(0, len(content), 397), *range(len(content) - 60, len(content))]:
        message = refusal(tmp_path, content[:end])
        assert "It is written by: dvc repro train_tokenizer" in message
        assert "\n" not in message


def test_other_bytes_are_one_message(tmp_path):
    assert "expected a whole SentencePiece model" in refusal(tmp_path, b"\xff" * 1000)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda model: model.pieces.pop(), "claims 1000"),
        (lambda model: setattr(model.pieces[0], "piece", "<PAD>"), "first pieces"),
        (lambda model: setattr(model.pieces[2], "type", 4), "text can make"),
        (lambda model: setattr(model.pieces[900], "piece", model.pieces[901].piece), "repeats the piece"),
        (lambda model: setattr(model.pieces[900], "score", float("nan")), "no number"),
        (lambda model: setattr(model.pieces[50], "type", 1), "each byte"),
        (lambda model: setattr(model.pieces[900], "piece", "a\0b"), "SentencePiece refuses"),
        (lambda model: setattr(model.pieces[900], "piece", "ab" * 1_000_000), "SentencePiece refuses"),
        (lambda model: setattr(model.trainer_spec, "model_type", 3), "neither unigram nor BPE"),
        (lambda model: setattr(model.trainer_spec, "byte_fallback", False), "other settings"),
        (lambda model: setattr(model.normalizer_spec, "precompiled_charsmap", b"x" * 99), "changes characters"),
        (lambda model: setattr(model.normalizer_spec, "add_dummy_prefix", True), "adds or removes spaces"),
        (lambda model: model.ClearField("normalizer_spec"), "cut off"),
    ],
)
def test_a_model_that_breaks_the_contract_is_refused_with_the_reason(tmp_path, content, change, reason):
    model = model_pb2.ModelProto.FromString(content)
    change(model)
    assert reason in refusal(tmp_path, model.SerializeToString())


# Altered models, each loaded and used; prints how many loaded. In a process of its own, for a crash to be seen.
USE_ALTERED = r"""
import random, sys
from aura.core.errors import UserError
from aura.tokenizer.tokenizer import Tokenizer

content, loaded = open(sys.argv[1], "rb").read(), 0
for seed in range(400):
    chosen, altered = random.Random(seed), bytearray(content)
    where = chosen.choice([(0, 3000), (len(content) - 400, len(content)), (0, len(content))])
    for _ in range(chosen.randrange(1, 4)):
        altered[chosen.randrange(*where)] ^= 1 << chosen.randrange(8)
    if seed % 8 == 0:
        del altered[chosen.randrange(len(content)):]
    try:
        tokenizer = Tokenizer.from_bytes(bytes(altered))
        tokenizer.decode(tokenizer.encode("Hello, world! \u4e2d <eos>" * 9))
        tokenizer.decode(range(tokenizer.vocab_size))
        loaded += 1
    except UserError as error:
        assert "\n" not in str(error)
print(loaded)
"""


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_no_altered_model_crashes_its_reader(tmp_path, tokenizers, model_type):
    (tmp_path / "spiece.model").write_bytes(tokenizers[model_type].proc.serialized_model_proto())
    command = [sys.executable, "-c", USE_ALTERED, str(tmp_path / "spiece.model")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert 0 < int(done.stdout) < 400

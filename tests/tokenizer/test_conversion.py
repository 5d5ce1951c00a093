"""A tokenizer in another format has the same ids for every text, or is refused and nothing is written."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mistral_common
import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from aura.core.errors import UserError
from aura.tokenizer import byte_pairs, foreign, proof_texts
from aura.tokenizer.conversion import convert
from aura.tokenizer.golden import TEXTS
from aura.tokenizer.tokenizer import Tokenizer
from tests.conftest import stdlib_texts

DATA = Path(mistral_common.__file__).parent / "data"
V1, V3 = DATA / "tokenizer.model.v1", DATA / "mistral_instruct_tokenizer_240323.model.v3"
SIZE = 1500  # ids of the tekken that is cut for these tests


@pytest.fixture(autouse=True)
def fewer_texts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(proof_texts, "PLANES", ((0x1, 0x800), (0x3000, 0x3100), (0x1F600, 0x1F640)))
    monkeypatch.setattr(proof_texts, "STRINGS", 400)


@pytest.fixture(scope="module")
def tekken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first ranks of a real one."""
    content = json.loads((DATA / "tekken_240911.json").read_bytes())
    content["vocab"] = content["vocab"][: SIZE - 1000]
    content["config"]["default_vocab_size"] = SIZE
    path = tmp_path_factory.mktemp("tekken") / "tekken.json"
    path.write_text(json.dumps(content))
    return path


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer.json as tokenizers trains it, with one special token at the end."""
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(stdlib_texts(20), trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet))
    made.add_special_tokens(["<|end|>"])
    path = tmp_path_factory.mktemp("bpe") / "tokenizer.json"
    made.save(str(path))
    return path


def ids(path: Path, texts: list[str]) -> list[list[int]]:
    return [found.tolist() for found in foreign.load(path, "x").encode_batch(texts)]


def test_tekken_to_tokenizer_json_to_tiktoken_and_back(tmp_path: Path, tekken: Path):
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    said = convert(tekken, tmp_path / "tokenizer.json", "tokenizer.json")
    assert "texts equal, read by the library of each format" in said[0]
    assert said[-1] == f"written: {tmp_path / 'tokenizer.json'}"
    said = convert(tmp_path / "tokenizer.json", tmp_path / "t.tiktoken", "tiktoken")
    assert said[1].startswith("a .tiktoken file holds no special tokens; give tiktoken these 1000: <unk> 0, <s> 1,")
    convert(tmp_path / "t.tiktoken", tmp_path / "back.json", "tekken")
    texts = [*TEXTS, *stdlib_texts(5)]
    assert ids(tekken, texts) == ids(tmp_path / "tokenizer.json", texts) == ids(tmp_path / "back.json", texts)
    theirs = Tekkenizer.from_file(tmp_path / "back.json")
    assert [theirs.encode(text, bos=False, eos=False) for text in texts] == ids(tekken, texts)
    loaded = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert loaded.token_to_id("<pad>") == 11
    assert loaded.token_to_id("<SPECIAL_12>") == 12
    again = tmp_path / "again"
    again.mkdir()
    convert(tekken, again / "tokenizer.json", "tokenizer.json")
    assert (again / "tokenizer.json").read_bytes() == (tmp_path / "tokenizer.json").read_bytes()


def test_a_trained_tokenizer_json_has_a_table_of_ranks(tmp_path: Path, byte_level: Path):
    said = convert(byte_level, tmp_path / "t.tiktoken", "tiktoken")
    assert "give tiktoken these 1: <|end|> 600" in said[1]
    assert (tmp_path / "t.pattern").read_text() == byte_pairs.GPT_2
    texts = [*TEXTS, *stdlib_texts(5)]
    assert ids(tmp_path / "t.tiktoken", texts) == ids(byte_level, texts)
    convert(tmp_path / "t.tiktoken", tmp_path / "tekken.json", "tekken")
    assert ids(tmp_path / "tekken.json", texts) == ids(byte_level, texts)


@pytest.mark.parametrize("model", ["unigram", "bpe"])
def test_one_of_ours(tmp_path: Path, model: str, documents: list[str], options: Callable[..., Any]):
    from aura.train_tokenizer import artifact

    made = artifact.build_from_texts(
        documents[:20], options(vocab_size=600, model_type=model, user_symbols=["<<", "<<="])
    )
    source = tmp_path / "spiece.model"
    source.write_bytes(made.model)
    convert(source, tmp_path / "tokenizer.json", "tokenizer.json")
    assert (tmp_path / "tokenizer.json").read_bytes() == made.files()["tokenizer.json"]
    if model == "bpe":  # SentencePiece weighs user symbols of unigram against each other, which aura does not
        said = convert(source, tmp_path / "copy.model", "sentencepiece")
        assert said[1] == "SentencePiece alone reads a literal U+2581 as a space; aura reads it as that character"
        assert Tokenizer(tmp_path / "copy.model").sha256 == Tokenizer(source).sha256
    with pytest.raises(UserError, match="SentencePiece merges characters of the whole text"):
        convert(source, tmp_path / "t.tiktoken", "tiktoken")


def test_a_foreign_model(tmp_path: Path):
    from transformers import PreTrainedTokenizerFast

    convert(V1, tmp_path / "tokenizer.json", "tokenizer.json")
    loaded = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"), split_special_tokens=True)
    texts = [*TEXTS, *stdlib_texts(5)]
    assert [loaded(text, add_special_tokens=False)["input_ids"] for text in texts] == ids(V1, texts)
    with pytest.raises(UserError, match=r"cannot be written as tokenizer\.json with equal ids: .*REFERENCE_DOC_19"):
        convert(V3, tmp_path / "v3.json", "tokenizer.json")
    assert not (tmp_path / "v3.json").exists()


def altered(path: Path, change: Callable[[dict[str, Any]], object], to: Path) -> Path:
    content = json.loads(path.read_bytes())
    change(content)
    to.write_text(json.dumps(content))
    return to


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "in another order than its ids": lambda content: content["model"]["merges"].reverse(),
    "is not in its list": lambda content: content["model"]["merges"].pop(7),
    "its normalizer changes text": lambda content: content.update(normalizer={"type": "NFC"}),
    "found in text before merging": lambda content: content["added_tokens"][0].update(special=False),
    "it puts a space before a text": lambda content: content["pre_tokenizer"].update(add_prefix_space=True),
    "expected one pattern and ByteLevel": lambda content: content.update(pre_tokenizer={"type": "Whitespace"}),
    "expected byte-level BPE, got 'BPE' with": lambda content: content["model"].update(end_of_word_suffix="</w>"),
}


@pytest.mark.parametrize("reason", CHANGES)
def test_what_only_tokenizer_json_can_say_is_refused(tmp_path: Path, byte_level: Path, reason: str):
    source = altered(byte_level, CHANGES[reason], tmp_path / "tokenizer.json")
    with pytest.raises(UserError, match=reason):
        convert(source, tmp_path / "t.tiktoken", "tiktoken")
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]


def test_a_special_token_after_the_ranks_has_no_place_in_tekken(tmp_path: Path, byte_level: Path):
    with pytest.raises(UserError, match=r"tekken\.json puts special tokens before all others, and '<|end|>' comes"):
        convert(byte_level, tmp_path / "tekken.json", "tekken")


def test_a_difference_is_named_and_nothing_is_written(tmp_path: Path, tekken: Path):
    """To tokenizers' regular expressions ^ is the start of a line, to tiktoken's that of the text."""
    pattern = {"pattern": r"^[\s\S]{4}|[\s\S]"}
    source = altered(tekken, lambda content: content["config"].update(pattern), tmp_path / "tekken.json")
    with pytest.raises(
        UserError,
        match=r"(?s)cannot be written as tokenizer\.json with equal ids: '.*' has the ids \[.*Nothing was written",
    ):
        convert(source, tmp_path / "tokenizer.json", "tokenizer.json")
    assert [path.name for path in tmp_path.iterdir()] == ["tekken.json"]


def test_the_output_is_new_and_named_for_its_format(tmp_path: Path, tekken: Path):
    with pytest.raises(UserError, match=r"expected a file with the suffix \.json"):
        convert(tekken, tmp_path / "x.txt", "tekken")
    with pytest.raises(
        UserError, match=r"expected one of sentencepiece, tokenizer\.json, tekken, tiktoken, got 'gguf'"
    ):
        convert(tekken, tmp_path / "x.gguf", "gguf")
    (tmp_path / "x.pattern").write_text("mine")
    with pytest.raises(UserError, match=r"x\.pattern is there already"):
        convert(tekken, tmp_path / "x.tiktoken", "tiktoken")
    with pytest.raises(UserError, match="SentencePiece cuts no text by a pattern"):
        convert(tekken, tmp_path / "x.model", "sentencepiece")


def test_ranks_of_tiktoken_are_ids_from_any_number_on(tmp_path: Path):
    lines = [b"%s %d" % (base64.b64encode(bytes([byte])), 100 + byte) for byte in range(256)]
    (tmp_path / "x.pattern").write_text(r"[\s\S]+")
    (tmp_path / "x.tiktoken").write_bytes(b"\n".join([*lines, b"YWI= 356"]))
    assert ids(tmp_path / "x.tiktoken", ["abc"]) == [[356, 199]]
    (tmp_path / "x.tiktoken").write_bytes(b"\n".join([*lines, b"YWI= 357"]))
    with pytest.raises(UserError, match=r"x: expected ranks that follow one another, got 357 in the place of 356"):
        foreign.load(tmp_path / "x.tiktoken", "x")

"""AutoTokenizer on the exported files gives the ids of `Tokenizer`, and decodes them to the same text."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aura.tokenizer.golden import TEXTS
from aura.tokenizer.hf_export import export, gguf_notice
from aura.tokenizer.model_file import Kind
from aura.tokenizer.tokenizer import Tokenizer
from aura.train_tokenizer import artifact
from tests.tokenizer.test_round_trip import HARD
from tests.tokenizer.test_unit_table import LANGUAGES, fuzz_strings  # noqa: F401 - a fixture

FUZZ = 10_000


def load(folder: Path, content: bytes) -> Any:
    """What `AutoTokenizer.from_pretrained` makes of a model's export, found in no other place than `folder`."""
    from transformers import AutoTokenizer

    (folder / "spiece.model").write_bytes(content)
    for name, exported in export(content).items():
        (folder / name).write_bytes(exported)
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


@pytest.fixture(scope="module")
def exported(tokenizers: dict[str, Tokenizer], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    models = {made.sha256: made.proc.serialized_model_proto() for made in tokenizers.values()}
    return {sha256: load(tmp_path_factory.mktemp("hf"), content) for sha256, content in models.items()}


@pytest.fixture
def other(tokenizer: Tokenizer, exported: dict[str, Any]) -> Any:
    return exported[tokenizer.sha256]


def ids_of(other: Any, texts: list[str], *, special: bool = False) -> list[list[int]]:
    found: list[list[int]] = other(texts, split_special_tokens=not special)["input_ids"]
    return found


def same(tokenizer: Tokenizer, other: Any, texts: list[str]) -> None:
    expected = [ids.tolist() for ids in tokenizer.encode_batch(texts)]
    assert ids_of(other, texts) == expected
    assert other.batch_decode(expected) == texts
    with_special = [ids.tolist() for ids in tokenizer.encode_batch(texts, allowed_special="all")]
    assert ids_of(other, texts, special=True) == with_special
    decoded = [tokenizer.decode(ids) for ids in with_special]
    assert other.batch_decode(with_special, skip_special_tokens=True) == decoded


def test_documents_and_lines_have_the_same_ids(tokenizer: Tokenizer, other: Any, documents: list[str]):
    lines = [line for document in documents for line in document.splitlines(keepends=True)]
    same(tokenizer, other, [*documents[:20], *lines[:5000], *LANGUAGES, *TEXTS, *HARD])


def test_fuzz_strings_have_the_same_ids(tokenizer: Tokenizer, other: Any, fuzz_strings: list[str]):  # noqa: F811
    same(tokenizer, other, fuzz_strings[:FUZZ])


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_user_symbols_and_a_vocabulary_without_ascii(options: Callable[..., Any], tmp_path: Path, model_type: str):
    """Where "<" has no piece, the name of a special token is still no special token."""
    text = "".join(chr(0x4E00 + place % 400) + chr(0x4E00 + place % 37) for place in range(4000))
    chosen = options(model_type=model_type, vocab_size=692, user_symbols=["一二", "\n\n", "é🙂"])
    content = artifact.build_from_texts([text], chosen).model
    other, tokenizer = load(tmp_path, content), Tokenizer.from_bytes(content)
    assert tokenizer.proc.piece_to_id("<") == tokenizer.unk_id
    same(tokenizer, other, ["<eos>", "一<eos><eo", "<reserved_0> <0x41>", "一二三é🙂\n\n\n", text[:500], *TEXTS])


def test_special_tokens_have_their_ids(tokenizer: Tokenizer, other: Any):
    assert (other.pad_token_id, other.bos_token_id, other.eos_token_id, other.unk_token_id) == (0, 1, 2, 3)
    assert len(other) == tokenizer.vocab_size


def test_a_chat_is_rendered_with_the_guides_symbols(tokenizer: Tokenizer, other: Any):
    chat = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi!"},
        {"role": "assistant", "content": "Hello."},
    ]
    rendered = "<bos><SYSTEM>Be brief.<USER>Hi!<ASSISTANT>Hello.<eos>"
    assert other.apply_chat_template(chat, tokenize=False) == rendered
    prompt = other.apply_chat_template(chat[:2], add_generation_prompt=True)["input_ids"]
    assert prompt == tokenizer.encode("<bos><SYSTEM>Be brief.<USER>Hi!<ASSISTANT>", allowed_special="all")
    with pytest.raises(Exception, match="expected a role out of system, user"):
        other.apply_chat_template([{"role": "boss", "content": ""}])


def test_without_role_tokens_there_is_no_chat_template(build: Callable[..., Tokenizer]):
    tokenizer = build(model_type="bpe", special_tokens=False)
    config = json.loads(export(tokenizer.proc.serialized_model_proto())["tokenizer_config.json"])
    assert "chat_template" not in config


def test_each_character_without_a_piece_has_its_own_span(tokenizer: Tokenizer, other: Any):
    text = "a é☃你ไ𝔘 x"
    encoded = other(text, return_offsets_mapping=True)
    spans = {text[start:end] for start, end in encoded["offset_mapping"]}
    assert {"☃", "ไ", "𝔘"} <= spans, "in no document"
    of_bytes = [
        text[start:end]
        for token, (start, end) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        if tokenizer.kinds[token] is Kind.BYTE
    ]
    assert all(len(span) == 1 for span in of_bytes)
    assert len(of_bytes) == sum(len(span.encode()) for span in set(of_bytes))


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_user_symbols_inside_of_and_around_special_tokens(
    build: Callable[..., Tokenizer], tmp_path: Path, model_type: str
):
    symbols = ["USER", "eos>", "x<", "<EXPERT_0>", "##", "###", "<USER>:", "é☃"]
    tokenizer = build(model_type=model_type, user_symbols=symbols)
    other = load(tmp_path, tokenizer.proc.serialized_model_proto())
    texts = ["<USER>", "a<eos>", "x<eos>", "<USER>: é☃☃", "<EXPERT_0> <EXPERT_0", "#" * 13, "the " + "#" * 14]
    same(tokenizer, other, [*texts, "".join(texts), *TEXTS])


def test_special_tokens_are_known_as_such(tokenizer: Tokenizer, other: Any):
    encoded = other("<USER>Hi<reserved_0>")
    assert sorted(encoded) == ["attention_mask", "input_ids"]
    mask = other.get_special_tokens_mask(encoded["input_ids"], already_has_special_tokens=True)
    assert mask == [int(tokenizer.is_special(token)) for token in encoded["input_ids"]]
    assert set(other.all_special_ids) == {token for token in range(len(other)) if tokenizer.is_special(token)}


def test_only_bpe_is_offered_to_converters_to_gguf(tokenizers: dict[str, Tokenizer]):
    contents = {name: tokenizer.proc.serialized_model_proto() for name, tokenizer in tokenizers.items()}
    assert export(contents["bpe"])["tokenizer.model"] == contents["bpe"]
    assert gguf_notice(contents["bpe"]) is None
    assert "tokenizer.model" not in export(contents["unigram"])
    assert "<unk>" in str(gguf_notice(contents["unigram"]))
    for content in contents.values():
        assert json.loads(export(content)["tokenizer_config.json"])["add_prefix_space"] is False


def test_a_copy_for_gguf_does_not_outlive_its_tokenizer(options: Callable[..., Any], tmp_path: Path):
    for model_type in ("bpe", "unigram"):
        artifact.build_from_texts(
            ["the cat sat on the mat " * 20], options(model_type=model_type, vocab_size=300)
        ).write(tmp_path)
        copied = tmp_path / "tokenizer.model"
        assert copied.exists() == (model_type == "bpe")


def test_the_same_model_gives_the_same_bytes(tokenizer: Tokenizer):
    content = tokenizer.proc.serialized_model_proto()
    assert export(content) == export(content)

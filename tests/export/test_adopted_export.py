"""Exports beside adopted tokenizers: files and cards say what training did, whatever the tokenizer's own file does."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import sentencepiece
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from aura.core import files
from aura.core.errors import UserError
from aura.export import gguf_file
from aura.export.llama import export
from aura.hugging_face.chat_model import write_chat
from aura.hugging_face.folder import Trained
from aura.model import weights
from aura.model.model import ModelConfig, initial_model
from aura.tokenizer import proof_texts
from aura.tokenizer.chat_encoding import encode_prompt
from aura.tokenizer.opening import AnyTokenizer
from aura.train_tokenizer.adoption import Base, More, adopt
from aura.train_tokenizer.corpus_counts import count_texts
from aura.train_tokenizer.extension import extended
from aura.train_tokenizer.segments import Splitting
from tests.conftest import stdlib_texts

SHAPE = {"layers": 1, "width": 16, "heads": 2, "kv_heads": 1, "hidden": 16, "tied_embeddings": True}
ROLES = ("system", "user", "assistant", "thought", "action", "observation", "tool")


class Message(NamedTuple):
    """A message of a chat."""

    role: str
    content: str


def byte_level(folder: Path, marks: str | None) -> Path:
    """A tokenizer.json as tokenizers trains it; `marks` is the rule of its post-processor."""
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(stdlib_texts(5), trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet))
    made.add_special_tokens(["<s>", "</s>", *(f"[{role}]" for role in ROLES)])
    if marks is not None:
        special = [(name, made.token_to_id(name)) for name in ("<s>", "</s>")]
        made.post_processor = processors.TemplateProcessing(single=marks, special_tokens=special)
    path = folder / "tokenizer.json"
    made.save(str(path))
    return path


def unigram(folder: Path) -> Path:
    """A SentencePiece model of which no tokenizer.json is made."""
    text = folder / "text.txt"
    text.write_text("\n".join(line for part in stdlib_texts(20) for line in part.splitlines() if line.strip()))
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), minloglevel=2, hard_vocab_limit=False, model_prefix=str(folder / "old"), vocab_size=400
    )
    return folder / "old.model"


def adopted(file: Path, folder: Path, **roles: Any) -> AnyTokenizer:
    return adopt(Base(file, file.name, roles), folder / "spm")


def exported(tokenizer: AnyTokenizer, folder: Path, *, add_bos: bool = True, gguf: bool = False) -> Path:
    """models/hf of a small model on the tokenizer in `folder`/spm."""
    model = initial_model(ModelConfig(vocab_size=tokenizer.vocab_size, **SHAPE), 0)
    weights.save(folder / "lm", model, {"seq_len": 64, "tokenizer": tokenizer.encoding_sha256})
    export(folder / "lm", folder / "spm", folder / "hf", add_bos=add_bos, gguf=gguf)
    return folder / "hf"


def card(hf: Path) -> str:
    return " ".join((hf / "README.md").read_text().split())


@pytest.mark.parametrize("add_bos", [True, False])
def test_without_a_tokenizer_json_the_config_says_how_texts_began(tmp_path: Path, add_bos: bool):
    hf = exported(adopted(unigram(tmp_path), tmp_path), tmp_path, add_bos=add_bos)
    assert not (hf / "tokenizer.json").exists()
    assert files.read_object(hf / "tokenizer_config.json", "")["add_bos_token"] is add_bos


@pytest.mark.parametrize(
    ("marks", "add_bos", "words"),
    [
        ("<s> $A </s>", True, "puts `<s>` before a text and `</s>` after it. In training, `<s>` stood before a text."),
        ("<s> $A", False, "puts `<s>` before a text and nothing after it. In training, nothing stood before a text."),
        (None, True, "puts nothing before a text and nothing after it. In training, `<s>` stood before a text."),
        ("<s> $A", True, None),
        (None, False, None),
    ],
)
def test_a_rule_of_a_tokenizer_json_that_training_had_not_is_on_the_card(
    tmp_path: Path, marks: str | None, add_bos: bool, words: str | None
):
    file = byte_level(tmp_path, marks)
    hf = exported(adopted(file, tmp_path), tmp_path, add_bos=add_bos)
    assert (hf / "tokenizer.json").read_bytes() == file.read_bytes()
    assert files.read_object(hf / "tokenizer_config.json", "")["add_bos_token"] is add_bos
    told = card(hf)
    assert ("keeps its own rule" in told) is (words is not None)
    assert words is None or words in told


def test_the_chat_template_gives_the_ids_of_training_for_each_role(tmp_path: Path):
    from transformers import AutoTokenizer

    tokenizer = adopted(byte_level(tmp_path, "<s> $A </s>"), tmp_path, **{role: f"[{role}]" for role in ROLES})
    theirs = AutoTokenizer.from_pretrained(tmp_path / "spm", local_files_only=True)
    for role in ROLES:
        chat = [Message("user", "Hello"), Message(role, " world")]
        asked = [message._asdict() for message in chat]
        got = theirs.apply_chat_template(asked, add_generation_prompt=True, return_dict=True)
        assert got["input_ids"] == encode_prompt(tokenizer, chat).tolist(), role
        assert tokenizer.special[f"[{role}]"] in got["input_ids"]


def bpe(folder: Path) -> Path:
    """A SentencePiece BPE model that both Hugging Face's libraries and llama.cpp read."""
    text = folder / "text.txt"
    text.write_text("\n".join(line for part in stdlib_texts(20) for line in part.splitlines() if line.strip()))
    rules = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False, "byte_fallback": True}
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), minloglevel=2, model_prefix=str(folder / "bpe"), model_type="bpe", vocab_size=500, **rules
    )
    return folder / "bpe.model"


def test_a_learnt_piece_can_begin_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from transformers import AutoTokenizer

    monkeypatch.setattr(proof_texts, "PLANES", ((0x1, 0x800),))
    monkeypatch.setattr(proof_texts, "STRINGS", 100)
    tokenizer = adopted(bpe(tmp_path), tmp_path, bos=" the", eos=None)
    hf = exported(tokenizer, tmp_path)
    theirs = AutoTokenizer.from_pretrained(hf, local_files_only=True)
    assert theirs("Hello")["input_ids"] == [tokenizer.bos_id, *tokenizer.encode("Hello")]
    assert (theirs.bos_token_id, len(theirs)) == (tokenizer.bos_id, tokenizer.vocab_size)
    with pytest.raises(
        UserError, match=r"expected a tokenizer with the role eos.* train_tokenizer.roles .*{eos: TOKEN}"
    ):
        export(tmp_path / "no model", tmp_path / "spm", tmp_path / "other", add_bos=True, gguf=True)
    with pytest.raises(UserError, match=r"eos_token_id: expected the id.* train_tokenizer.roles .*{eos: TOKEN}"):
        gguf_file.convert(hf, tmp_path / "model.gguf")


def test_learnt_pieces_as_roles_give_no_chat_template(tmp_path: Path):
    roles = {role: f"[{role}]" for role in ROLES}
    adopted(byte_level(tmp_path, None), tmp_path, **roles | {"user": "a"})
    assert "chat_template" not in files.read_object(tmp_path / "spm/tokenizer_config.json", "")


def test_the_card_of_an_extended_tokenizer_says_what_was_added(tmp_path: Path):
    splitting = Splitting(split_digits=True, split_by_script=True, split_by_number=True, user_symbols=())
    new = count_texts(["Ξεσκεπάζω την ψυχοφθόρα βδελυγμία"] * 20, splitting)
    more = More(lambda file: extended(file, new, 12), {"corpus": "0" * 32, "keep": [], "max_changed": 0.001})
    tokenizer = adopt(Base(unigram(tmp_path), "old.model", {}), tmp_path / "spm", more)
    told = card(exported(tokenizer, tmp_path))
    first = tokenizer.vocab_size - 12
    assert f"that of `old.model` with 12 more pieces, which aura learnt from the corpus {'0' * 16}…." in told
    assert f"the ids from {first:,} on" in told
    assert "aura did not train it" not in told


def chat_card_of(tokenizer: AnyTokenizer, folder: Path) -> str:
    hf = exported(tokenizer, folder)
    base = Trained.of(folder / "lm", folder / "spm")
    write_chat(folder / "chat", base, base.weights, {}, add_bos=True)
    assert (folder / "chat/tokenizer_config.json").read_bytes() == (hf / "tokenizer_config.json").read_bytes()
    return card(folder / "chat")


def test_the_card_of_a_chat_model_is_that_of_its_tokenizer(tmp_path: Path):
    (tmp_path / "whole").mkdir()
    whole = adopted(byte_level(tmp_path, None), tmp_path / "whole", **{role: f"[{role}]" for role in ROLES})
    told = chat_card_of(whole, tmp_path / "whole")
    assert "apply_chat_template" in told
    assert "An answer ends with `</s>`. By default, transformers makes" in told
    (tmp_path / "part").mkdir()
    told = chat_card_of(adopted(byte_level(tmp_path, None), tmp_path / "part", user="[user]"), tmp_path / "part")
    assert "lacks special tokens for some roles" in told
    assert "Only text marks the roles system, assistant, thought, action, observation, tool." in told
    (tmp_path / "old").mkdir()
    told = chat_card_of(adopted(unigram(tmp_path), tmp_path / "old"), tmp_path / "old")
    assert "There is no tokenizer.json, so transformers does not encode for this model." in told
    assert "apply_chat_template" not in told

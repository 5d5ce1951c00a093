from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file
from safetensors.numpy import save as serialised

from aura.core import checksums, files
from aura.core.errors import UserError
from aura.export.llama import export
from aura.model import weights
from aura.model.model import LanguageModel, ModelConfig, initial_model
from tests.llama import NumpyLlama
from tests.mini_tokens import MiniTokens

SHAPE = {"layers": 2, "width": 32, "heads": 4, "kv_heads": 2, "hidden": 48}


def exported(made: MiniTokens, folder: Path, **changes: object) -> LanguageModel:
    """A model with weights of every size, so that no part of it hides, exported to `folder`/hf."""
    tokenizer = made.tokenizer
    model = initial_model(
        ModelConfig(**({"vocab_size": tokenizer.vocab_size, "tied_embeddings": True} | SHAPE | changes)), 0
    )
    noise = iter(jax.random.split(jax.random.key(1), 99))
    model = jax.tree.map(lambda leaf: leaf * (1 + 0.5 * jax.random.normal(next(noise), leaf.shape)), model)
    weights.save(folder / "lm", model, {"seq_len": 64, "tokenizer": tokenizer.sha256})
    export(folder / "lm", made.spm, folder / "hf", add_bos=True)
    return model


def ids(made: MiniTokens) -> np.ndarray:
    return np.random.default_rng(0).integers(0, made.tokenizer.vocab_size, 24)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tied_embeddings": False},
        {"kv_heads": 4},
        {"kv_heads": 1, "affect": True},
        {"qk_norm": True, "own_head_width": 12, "rope_base": 5e5},
    ],
)
def test_logits_are_those_of_llama_written_in_numpy(made: MiniTokens, tmp_path: Path, changes: dict):
    model = exported(made, tmp_path, **changes)
    ours = np.asarray(jax.jit(LanguageModel.__call__)(model, ids(made)[None]))[0]
    theirs = NumpyLlama(tmp_path / "hf").logits(ids(made))
    assert theirs.std() > 0.1
    assert np.abs(ours - theirs).max() < 1e-4
    np.testing.assert_array_equal(ours.argmax(axis=-1), theirs.argmax(axis=-1))


def test_the_folder_holds_the_model_and_the_tokenizers_files(made: MiniTokens, tmp_path: Path):
    exported(made, tmp_path)
    names = {file.name for file in (tmp_path / "hf").iterdir()}
    made_here = {"config.json", "model.safetensors", "README.md", "generation_config.json"}
    assert names == made_here | {file.name for file in made.spm.iterdir()}
    config = files.read_json(tmp_path / "hf/config.json", made_by="")
    tokenizer = made.tokenizer
    assert (config["vocab_size"], config["max_position_embeddings"]) == (tokenizer.vocab_size, 64)
    assert (config["bos_token_id"], config["eos_token_id"]) == (tokenizer.bos_id, tokenizer.eos_id)


def test_the_folder_says_what_it_is_and_how_to_generate(made: MiniTokens, tmp_path: Path):
    from transformers import GenerationConfig

    exported(made, tmp_path)
    generation = GenerationConfig.from_pretrained(tmp_path / "hf", local_files_only=True)
    assert (generation.eos_token_id, generation.do_sample) == (made.tokenizer.eos_id, True)
    card = (tmp_path / "hf/README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert "| layers | 2 |" in card
    assert made.tokenizer.encoding_sha256 in card
    assert "llama.cpp cannot read this unigram tokenizer exactly" in card


def auto_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def test_texts_begin_as_training_documents_did(made: MiniTokens, tmp_path: Path):
    exported(made, tmp_path)
    other, tokenizer = auto_tokenizer(tmp_path / "hf"), made.tokenizer
    hello, world = tokenizer.encode("Hello"), tokenizer.encode(" world")
    assert other("Hello")["input_ids"] == [tokenizer.bos_id, *hello]
    assert other("Hello", " world")["input_ids"] == [tokenizer.bos_id, *hello, tokenizer.bos_id, *world]
    assert other("Hello", add_special_tokens=False)["input_ids"] == hello
    chat = other.apply_chat_template([{"role": "user", "content": "Hello"}])["input_ids"]
    assert chat == tokenizer.encode("<bos><USER>Hello", allowed_special="all"), "one <bos>, not two"
    export(tmp_path / "lm", made.spm, tmp_path / "hf", add_bos=False)
    assert auto_tokenizer(tmp_path / "hf")("Hello")["input_ids"] == hello
    assert auto_tokenizer(made.spm)("Hello")["input_ids"] == hello, "the tokenizer alone adds nothing"


def test_the_tokenizer_knows_the_models_context(made: MiniTokens, tmp_path: Path):
    exported(made, tmp_path)
    other = auto_tokenizer(tmp_path / "hf")
    assert other.model_max_length == 64
    encoded = other("a long text " * 100, truncation=True)
    assert len(encoded["input_ids"]) == 64
    assert sorted(encoded) == ["attention_mask", "input_ids"]


def test_a_tokenizer_without_its_export_is_refused(made: MiniTokens, tmp_path: Path):
    copy = made.copy(tmp_path / "copy")
    (copy.spm / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"tokenizer\.json is missing"):
        exported(copy, tmp_path)


def test_the_same_model_gives_the_same_bytes(made: MiniTokens, tmp_path: Path):
    for name in ("one", "other"):
        exported(made, tmp_path / name)
    for file in (tmp_path / "one/hf").iterdir():
        assert files.sha256_file(file) == files.sha256_file(tmp_path / "other/hf" / file.name)


def test_tied_weights_are_stored_once(made: MiniTokens, tmp_path: Path):
    exported(made, tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / "hf/model.safetensors")


def test_another_tokenizer_is_refused(made: MiniTokens, tmp_path: Path):
    exported(made, tmp_path)
    config = files.read_json(tmp_path / "lm/config.json", made_by="")
    files.write_json(tmp_path / "lm/config.json", config | {"tokenizer": "f" * 64})
    checksums.write(tmp_path / "lm")
    with pytest.raises(UserError, match="was trained on the tokenizer ffff"):
        export(tmp_path / "lm", made.spm, tmp_path / "hf", add_bos=True)


def test_the_weights_are_written_in_the_bytes_of_the_library(made: MiniTokens, tmp_path: Path):
    exported(made, tmp_path, tied_embeddings=False)
    file = tmp_path / "hf/model.safetensors"
    assert file.read_bytes() == serialised(load_file(file), metadata={"format": "pt"})

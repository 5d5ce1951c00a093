"""models/adapter and models/chat, read by NumPy as PEFT and transformers read them."""

import json
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from aura.core import checksums, files
from aura.core.errors import UserError
from aura.hugging_face import peft_adapter
from aura.hugging_face.chat_model import write_chat
from aura.hugging_face.folder import Trained
from aura.hugging_face.peft_adapter import load_adapter, on_host, write_adapter
from aura.model.lora import Adapter, LoraConfig, adapted
from aura.model.model import LanguageModel
from tests.export.test_export import exported
from tests.llama import NumpyLlama
from tests.mini_tokens import MiniTokens

FACTS = {
    "The base": {"weights": "f" * 64, "parameters": 12345},
    "The data": {"by | hand": "a|b"},
    "Gates": {"kept": 0.123456},
}
SHAPES = [{}, {"tied_embeddings": False}, {"kv_heads": 1, "affect": True}]
logits = jax.jit(LanguageModel.__call__)


def chat_tokens(made: MiniTokens) -> tuple[int, ...]:
    return tuple(
        made.tokenizer.encode(f"<{name}>", allowed_special="all")[0] for name in ("USER", "ASSISTANT", "SYSTEM")
    )


def adapter_of(model: LanguageModel, config: LoraConfig) -> Adapter:
    """An adapter with numbers everywhere, as one device has it."""
    noise = iter(jax.random.split(jax.random.key(3), 99))
    fresh = jax.jit(Adapter, static_argnums=(1, 2))(model, config, 0)
    return jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(next(noise), leaf.shape), fresh)


class Made:
    """A base in lm and hf, and its adapter in files."""

    def __init__(self, made: MiniTokens, folder: Path, **changes: object) -> None:
        self.folder, self.model = folder, exported(made, folder, **changes)
        self.tokens = chat_tokens(made)
        self.ids = np.concatenate([[made.tokenizer.bos_id, *self.tokens], np.arange(100, 120)])
        self.adapter = adapter_of(self.model, LoraConfig(4, 8.0, tokens=self.tokens))
        self.base = Trained.of(folder / "lm", made.spm)
        write_adapter(folder / "adapter", on_host(self.adapter), self.base, FACTS, str(folder / "hf"))
        write_chat(folder / "chat", self.base, on_host(self.adapter), FACTS, add_bos=True)

    def logits(self) -> np.ndarray:
        """Ours, with the adapter beside the weights."""
        return np.asarray(logits(adapted(self.model, self.adapter), self.ids[None]))[0]


def merged_as_peft(base: Path, adapter: Path) -> Iterator[tuple[str, np.ndarray]]:
    """The base's tensors with the adapter in them, as PEFT's documentation says."""
    config = json.loads((adapter / "adapter_config.json").read_text())
    stored = load_file(adapter / "adapter_model.safetensors")
    tensors = load_file(base / "model.safetensors")
    for name, rows in config["trainable_token_indices"].items():
        [module] = [tensor for tensor in tensors if tensor.endswith(f"{name}.weight")]
        place = module.removesuffix(".weight")
        tensors[module][rows] = stored.pop(f"base_model.model.{place}.token_adapter.trainable_tokens_delta")
    for name in tensors:
        part = name.removesuffix(".weight")
        if part.rpartition(".")[2] in config["target_modules"]:
            a, b = (stored.pop(f"base_model.model.{part}.lora_{letter}.weight") for letter in "AB")
            tensors[name] += config["lora_alpha"] / config["r"] * b @ a
        yield name, tensors[name]
    assert not stored, "every tensor has a place"


@pytest.fixture(params=SHAPES, ids=str, scope="module")
def files_of(request: pytest.FixtureRequest, made: MiniTokens, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(made, tmp_path_factory.mktemp("adapted"), **request.param)


def test_the_chat_model_has_the_logits_of_the_adapted_one(files_of: Made):
    theirs = NumpyLlama(files_of.folder / "chat").logits(files_of.ids)
    before = NumpyLlama(files_of.folder / "hf").logits(files_of.ids)
    assert np.abs(theirs - before).max() > 0.05
    assert np.abs(files_of.logits() - theirs).max() < 1e-4


def test_the_adapter_on_the_base_is_the_chat_model(files_of: Made):
    chat = load_file(files_of.folder / "chat/model.safetensors")
    found = dict(merged_as_peft(files_of.folder / "hf", files_of.folder / "adapter"))
    assert found.keys() == chat.keys()
    for name, array in found.items():
        np.testing.assert_allclose(array, chat[name], atol=1e-5, err_msg=name)


def test_an_adapter_is_read_back(files_of: Made):
    adapter, record = load_adapter(files_of.folder / "adapter")
    assert jax.tree.structure(adapter) == jax.tree.structure(files_of.adapter)
    for one, other in zip(jax.tree.leaves(adapter), jax.tree.leaves(files_of.adapter), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    peft_adapter.fit(record, files_of.base, files_of.folder)
    expected = np.asarray(logits(adapted(files_of.model, adapter), files_of.ids[None]))[0]
    np.testing.assert_allclose(files_of.logits(), expected, atol=1e-5)


def test_the_folders_say_what_they_are(files_of: Made, made: MiniTokens):
    names = {file.name for file in (files_of.folder / "chat").iterdir()}
    assert names == {file.name for file in (files_of.folder / "hf").iterdir()}
    for folder in ("chat", "adapter"):
        checksums.verify(files_of.folder / folder, "")
        card = (files_of.folder / folder / "README.md").read_text()
        assert "## The base\n\n| | |\n|---|---|\n| weights | " + "f" * 64 in card
        assert "| parameters | 12,345 |" in card
        assert "| kept | 0.1235 |" in card
    generation = json.loads((files_of.folder / "chat/generation_config.json").read_text())
    assert generation["eos_token_id"] == made.tokenizer.eos_id


def test_a_chat_model_of_which_all_weights_were_trained_is_its_own_export(made: MiniTokens, tmp_path: Path):
    exported(made, tmp_path)
    write_chat(tmp_path / "chat", Trained.of(tmp_path / "lm", made.spm), None, FACTS, add_bos=True)
    for name in ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"):
        assert files.sha256_file(tmp_path / "chat" / name) == files.sha256_file(tmp_path / "hf" / name)


def test_the_same_adapter_gives_the_same_bytes(made: MiniTokens, tmp_path: Path):
    for name in ("one", "other"):
        model = exported(made, tmp_path)
        base = Trained.of(tmp_path / "lm", made.spm)
        adapter = on_host(adapter_of(model, LoraConfig(2, 3.5, ("up", "query"))))
        write_adapter(tmp_path / name, adapter, base, FACTS)
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "other" / file.name).read_bytes()
    config = json.loads((tmp_path / "one/adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["target_modules"]) == (2, 3.5, ["q_proj", "up_proj"])
    assert config["trainable_token_indices"] is None


def test_an_adapter_is_for_its_own_base_and_is_verified(made: MiniTokens, tmp_path: Path):
    folder = Made(made, tmp_path).folder / "adapter"
    _, record = load_adapter(folder)
    with pytest.raises(UserError, match=r"adapts the model with the SHA-256 0000.* dvc repro adapt"):
        peft_adapter.fit(record | {"base_sha256": "0" * 64}, Trained.of(tmp_path / "lm", made.spm), folder)
    tensors = load_file(folder / "adapter_model.safetensors")
    tensors.popitem()
    save_file(tensors, folder / "adapter_model.safetensors")
    with pytest.raises(UserError, match="adapter_model"):
        load_adapter(folder)
    checksums.write(folder)
    with pytest.raises(UserError, match=r"does not fit its aura_adapter\.json"):
        load_adapter(folder)
    (folder / "aura_adapter.json").unlink()
    with pytest.raises(UserError, match=r"aura_adapter\.json"):
        load_adapter(folder)

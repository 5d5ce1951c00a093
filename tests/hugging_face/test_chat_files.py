"""models/adapter and models/chat, read by NumPy as PEFT and transformers read them."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from aura.core import checksums, files
from aura.core.errors import UserError
from aura.hugging_face import peft_adapter
from aura.hugging_face.adapted_models import Outputs, write_models
from aura.hugging_face.chat_model import write_chat
from aura.hugging_face.folder import Trained
from aura.hugging_face.peft_adapter import load_adapter, on_host, write_adapter
from aura.model.lora import Adapter, LoraConfig, adapted
from aura.model.mesh import make_mesh
from aura.model.model import LanguageModel
from tests.export.test_export import exported
from tests.llama import NumpyLlama
from tests.mini_tokens import MiniTokens

FACTS = {
    "The data": {"by | hand": "a|b"},
    "Gates": {"kept": 0.123456},
}
SHAPES = [{}, {"tied_embeddings": False, "qk_norm": True}, {"kv_heads": 1, "affect": True}]
logits, new_adapter = jax.jit(LanguageModel.__call__), jax.jit(Adapter, static_argnums=(1, 2))


def chat_tokens(made: MiniTokens) -> tuple[int, ...]:
    return tuple(
        made.tokenizer.encode(f"<{name}>", allowed_special="all")[0] for name in ("USER", "ASSISTANT", "SYSTEM")
    )


def adapter_of(model: LanguageModel, config: LoraConfig) -> Adapter:
    """An adapter with numbers everywhere, as one device has it."""
    noise = iter(jax.random.split(jax.random.key(3), 99))
    fresh = new_adapter(model, config, 0)
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
        assert f"## The base\n\n| | |\n|---|---|\n| parameters | {files_of.base.record['parameters']:,} |" in card
        assert f"| SHA-256 of the weights | {files.sha256_file(files_of.folder / 'lm/model.safetensors')} |" in card
        assert r"| by \| hand | a\|b |" in card
        assert "| kept | 0.1235 |" in card
    generation = json.loads((files_of.folder / "chat/generation_config.json").read_text())
    assert generation["eos_token_id"] == made.tokenizer.eos_id


def test_a_chat_model_of_which_all_weights_were_trained_is_its_own_export(made: MiniTokens, tmp_path: Path):
    base = Trained.of(Made(made, tmp_path).folder / "lm", made.spm)
    other = exported(made, tmp_path / "other", tied_embeddings=True)
    outputs = Outputs(tmp_path / "adapter", tmp_path / "chat")
    write_models(jax.tree.map(lambda leaf: 2 * leaf, other), base, FACTS, outputs, add_bos=True)
    doubled = {name: 2 * array for name, array in load_file(tmp_path / "other/hf/model.safetensors").items()}
    for name, array in load_file(tmp_path / "chat/model.safetensors").items():
        np.testing.assert_array_equal(array, doubled[name], err_msg=name)
    assert [file.name for file in sorted((tmp_path / "adapter").iterdir())] == ["README.md", "_SHA256SUMS"]
    with pytest.raises(UserError, match="aura_adapter"):
        load_adapter(tmp_path / "adapter")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_trained_adapter_is_written_as_both_outputs_whatever_mesh_it_lies_on(made: MiniTokens, tmp_path: Path):
    own = Made(made, tmp_path)
    with jax.set_mesh(make_mesh(2, 1, jax.devices()[:2])):
        net = jax.jit(partial(LanguageModel, own.model.config, 0))()
        places = jax.tree.map(lambda leaf: leaf.sharding, new_adapter(net, own.adapter.config, 0))
        cut = jax.device_put(jax.device_get(own.adapter), places)
    assert len(cut.query.a[...].sharding.device_set) == 2
    outputs = Outputs(tmp_path / "cut/adapter", tmp_path / "cut/chat", str(tmp_path / "hf"))
    write_models(cut, own.base, FACTS, outputs, add_bos=True, writes=False)
    assert not (tmp_path / "cut").exists()
    write_models(cut, own.base, FACTS, outputs, add_bos=True)
    for file in (*(tmp_path / "cut/adapter").iterdir(), *(tmp_path / "cut/chat").iterdir()):
        assert file.read_bytes() == (tmp_path / file.parent.name / file.name).read_bytes(), file


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


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("model", {"heads": 0}, r"aura_adapter\.json: expected sizes of 1 to"),
        ("model", {"width": -32}, r"aura_adapter\.json: expected sizes of 1 to"),
        ("model", {"layers": 10**9}, r"does not fit its aura_adapter\.json"),
        ("model", {"vocab_size": 2**31 - 1, "hidden": 2**31 - 1}, r"does not fit its aura_adapter\.json"),
        ("lora", {"rank": -1}, "expected a rank of at least 0"),
        ("lora", {"rank": 2**31 - 1}, r"does not fit its aura_adapter\.json"),
        ("lora", {"tokens": [10**9]}, "expected token ids below"),
    ],
)
def test_a_record_of_an_impossible_adapter_is_refused(
    made: MiniTokens, tmp_path: Path, part: str, change: dict[str, object], said: str
):
    folder = Made(made, tmp_path).folder / "adapter"
    record = json.loads((folder / "aura_adapter.json").read_text())
    record[part] |= change
    (folder / "aura_adapter.json").write_text(json.dumps(record))
    checksums.write(folder)
    with pytest.raises(UserError, match=said):
        load_adapter(folder)

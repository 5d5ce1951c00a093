"""A Llama folder read back: the model that was exported, and one clear message for any other."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from aura.core import checksums
from aura.core.errors import UserError
from aura.hugging_face import llama_reading, loading
from aura.model.model import LanguageModel
from tests.export.test_export import exported, ids
from tests.mini_tokens import MiniTokens


@pytest.mark.parametrize("changes", [{}, {"tied_embeddings": False, "kv_heads": 4}])
def test_an_exported_model_comes_back_within_rounding(made: MiniTokens, tmp_path: Path, changes: dict[str, object]):
    model = exported(made, tmp_path, **changes)
    got, context = llama_reading.read(tmp_path / "hf", "dvc repro adapt")
    assert context == 64
    assert got.config == model.config
    for expected, weight in zip(jax.tree.leaves(model), jax.tree.leaves(got), strict=True):
        np.testing.assert_allclose(weight, expected, rtol=3e-7)
    logits = jax.jit(LanguageModel.__call__)
    np.testing.assert_allclose(logits(got, ids(made)[None]), logits(model, ids(made)[None]), atol=1e-4)


@pytest.fixture(scope="module")
def folder(made: MiniTokens, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("exported")
    exported(made, place)
    return place / "hf"


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A copy without a record of hashes, as of a download."""
    for name in ("config.json", "model.safetensors", "spiece.model"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    return tmp_path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"architectures": ["MistralForCausalLM"]}, "architectures: expected .*LlamaForCausalLM"),
        ({"rms_norm_eps": 1e-6}, "rms_norm_eps: expected 1e-05, which aura's models have, got 1e-06"),
        ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5}}, "rope_parameters: expected .*llama3"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling: expected None"),
        ({"attention_bias": True}, "attention_bias: expected False"),
        ({"hidden_size": 33}, "expected sizes of 1 to"),
        ({"hidden_size": "many"}, "hidden_size: expected a whole number|hidden_size"),
        ({"vocab_size": 2**62}, "expected sizes of 1 to 2,147,483,647"),
        ({"num_hidden_layers": 10**9}, "expected tensors of 1,000,000,000 layers"),
        ({"num_hidden_layers": 3}, "does not fit its config.json: model.layers.2"),
    ],
)
def test_a_model_of_another_form_is_refused_by_the_key(copy: Path, change: dict[str, object], said: str):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(UserError, match=said):
        llama_reading.read(copy, "dvc repro adapt")


def test_a_llama_without_its_tokenizer_borrows_no_other(made: MiniTokens, copy: Path):
    (copy / "spiece.model").unlink()
    with pytest.raises(UserError, match=r"spiece\.model is missing: expected the model's own tokenizer"):
        loading.load(copy, made.spm / "spiece.model")


def test_damage_and_missing_files_are_named(copy: Path):
    weights = copy / "model.safetensors"
    checksums.write(copy)
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + b"\1")
    with pytest.raises(UserError, match=r"model\.safetensors was altered"):
        llama_reading.read(copy, "dvc repro adapt")
    (copy / checksums.NAME).unlink()
    weights.write_bytes(b"no tensors")
    with pytest.raises(UserError, match=r"expected a safetensors file .* dvc repro adapt"):
        llama_reading.read(copy, "dvc repro adapt")
    weights.unlink()
    with pytest.raises(UserError, match=r"model\.safetensors is missing"):
        llama_reading.read(copy, "dvc repro adapt")


def test_half_precision_is_read_as_float32(copy: Path):
    found = load_file(copy / "model.safetensors")
    save_file({name: array.astype(np.float16) for name, array in found.items()}, copy / "model.safetensors")
    got, _ = llama_reading.read(copy, "")
    assert {leaf.dtype for leaf in jax.tree.leaves(got)} == {np.dtype(np.float32)}
    np.testing.assert_allclose(got.embedding[...] * 32**0.5, found["model.embed_tokens.weight"], atol=1e-3)


def test_each_kind_of_folder_loads_with_its_tokenizer(made: MiniTokens, folder: Path):
    spm = made.spm / "spiece.model"
    ours, theirs = loading.load(folder.parent / "lm", spm), loading.load(folder, folder / "no such file")
    assert (ours.context, theirs.context) == (64, 64)
    assert ours.tokenizer.sha256 == theirs.tokenizer.sha256
    np.testing.assert_allclose(ours.model.embedding[...], theirs.model.embedding[...], rtol=3e-7)


def test_what_is_no_model_is_refused_with_what_to_run(made: MiniTokens, folder: Path, tmp_path: Path):
    spm = made.spm / "spiece.model"
    with pytest.raises(UserError, match=r"chat is missing: .* Run: dvc repro adapt"):
        loading.load(tmp_path / "chat", spm)
    with pytest.raises(UserError, match=r"lm is missing: .* Run: dvc repro pretrain"):
        loading.load(tmp_path / "lm", spm)
    with pytest.raises(UserError, match=r"expected a model in .*, but it has no config\.json"):
        loading.load(tmp_path, spm)
    other = tmp_path / "other.model"
    with pytest.raises(UserError, match="is a file: expected the folder of a model"):
        loading.load(spm, spm)
    other.write_bytes(_other_tokenizer())
    with pytest.raises(UserError, match=r"was trained on the tokenizer .* Name the right one with --tokenizer"):
        loading.load(folder.parent / "lm", other)


def _other_tokenizer() -> bytes:
    from aura.train_tokenizer import artifact
    from tests.mini_tokens import PARAMS

    options = artifact.with_changes(PARAMS.train_tokenizer, vocab_size=310, model_type="bpe")
    return artifact.build_from_texts(["a word, and others"] * 3, options).model

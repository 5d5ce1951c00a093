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
from tests.hugging_face.llamas import LLAMA3, write_llama
from tests.mini_tokens import MiniTokens


@pytest.mark.parametrize(
    "changes", [{}, {"tied_embeddings": False, "kv_heads": 4}, {"qk_norm": True, "own_head_width": 6}]
)
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
        ({"rms_norm_eps": -1e-6}, "expected an epsilon between 0 and 1"),
        ({"rms_norm_eps": float("nan")}, "expected an epsilon between 0 and 1"),
        ({"rope_theta": 0.5, "rope_parameters": None}, "a base and a factor of rotary positions above 1"),
        ({"rope_theta": 5e5}, "rope_theta: expected 500000.0 alone, .* got 10000.0"),
        ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}}, "the key rope_parameters.factor is missing"),
        ({"rope_parameters": LLAMA3 | {"high_freq_factor": 1.0}}, "below the high one, got 1.0 and 1.0"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor: expected no such key"),
        ({"rope_parameters": [1]}, r"rope_parameters: expected keys with values, .* got \[1\]"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rope_parameters.rope_type: expected default or llama3"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling: expected .*as rope_parameters have it"),
        ({"architectures": ["Qwen3ForCausalLM"]}, r"self_attn.k_norm.weight: expected \(8,\), got None"),
        ({"use_sliding_window": True}, "use_sliding_window: expected False"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "layer_types: expected full_attention alone"),
        ({"attention_bias": True}, "attention_bias: expected False"),
        ({"quantization_config": {"quant_method": "fp8"}}, "quantization_config: expected None"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings: expected true or false"),
        ({"hidden_size": 33, "head_dim": None}, "expected sizes of 1 to"),
        ({"head_dim": 7}, "heads that divide width"),
        ({"num_attention_heads": 0}, "expected sizes of 1 to"),
        ({"max_position_embeddings": 10**12}, "max_position_embeddings: expected 1 to 1,048,576 tokens"),
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


def header(text: object, length: int | None = None, data: bytes = b"") -> bytes:
    """A safetensors file with any header, which may lie about its length."""
    encoded = text if isinstance(text, bytes) else json.dumps(text).encode()
    return (len(encoded) if length is None else length).to_bytes(8, "little") + encoded + data


F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        header({}, length=2**63),
        header({}, length=7_000_000),
        header({"a": F32 | {"data_offsets": [0, 2**60]}}, data=bytes(8)),
        header({"a": F32, "b": F32}, data=bytes(8)),
        header({"a": F32, "b": F32 | {"data_offsets": [4, 12]}}, data=bytes(12)),
        header({"a": F32 | {"shape": [-2]}}, data=bytes(8)),
        header({"a": F32 | {"shape": [2**62, 2**62]}}, data=bytes(8)),
        header({"a": F32 | {"dtype": "PICKLE"}}, data=bytes(8)),
        header({"a": F32 | {"dtype": "F64"}}, data=bytes(8)),
        header(b"[" * 100_000),
        header({"a": 1}),
    ],
)
def test_a_hostile_header_is_one_message(copy: Path, content: bytes):
    (copy / "model.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=r"model\.safetensors: expected a safetensors file \(") as caught:
        llama_reading.read(copy, "dvc repro adapt")
    assert len(str(caught.value)) < 700
    assert "\n" not in str(caught.value)


def test_a_header_of_a_gigabyte_is_not_read(copy: Path):
    with (copy / "model.safetensors").open("wb") as file:
        file.write((10**9).to_bytes(8, "little"))
        file.truncate(2 * 10**9)  # of holes
    with pytest.raises(UserError, match="its header would have 1,000,000,000 bytes"):
        llama_reading.read(copy, "dvc repro adapt")


def test_integers_and_quantised_numbers_are_refused(copy: Path):
    found = load_file(copy / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    save_file(found | {name: found[name].astype(np.int8)}, copy / "model.safetensors")
    with pytest.raises(UserError, match=f"{name}: expected numbers in float32, bfloat16, float16, got I8"):
        llama_reading.read(copy, "dvc repro adapt")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a": "../model.safetensors"}, r"expected names of \.safetensors files in this folder, got '\.\./model"),
        ({"a": "/etc/passwd"}, "expected names of .safetensors files"),
        ({"a": "pytorch_model.bin"}, "expected names of .safetensors files"),
        ({"a": "other.safetensors"}, r"other\.safetensors is missing"),
        ({"no such tensor": "model-00001-of-00002.safetensors"}, "expected the tensor no such tensor"),
        (
            {"model.norm.weight": "model-00001-of-00002.safetensors"},
            "expected the tensor model.norm.weight|expected tensors",
        ),
        ({}, "expected tensors of 2 layers, got 0"),
        ({"a": 3}, "weight_map.a: expected a text"),
        ([], "weight_map: expected keys with values"),
    ],
)
def test_a_hostile_index_is_one_message(tmp_path: Path, files: object, said: str):
    write_llama(tmp_path, shards=2)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    with pytest.raises(UserError, match=said):
        llama_reading.read(tmp_path, "the program that saved it")


def test_files_of_json_that_would_fill_the_memory_are_not_read(tmp_path: Path):
    write_llama(tmp_path, shards=2)
    for name in ("model.safetensors.index.json", "config.json"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(10**10)
        with pytest.raises(UserError, match=r"json: expected at most 8,000,000 bytes, got 10,000,000,000"):
            llama_reading.read(tmp_path, "the program that saved it")

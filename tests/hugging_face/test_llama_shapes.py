"""Llamas of other people: read with any of their shapes, and computed as the published formulas say."""

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from aura.hugging_face import llama_reading, loading
from aura.hugging_face.llama_settings import rope_settings
from aura.model.model import LanguageModel
from aura.tokenizer.adopted import AdoptedTokenizer
from aura.training import sampling
from tests.hugging_face.llamas import LLAMA3, QWEN3, write_llama
from tests.llama import NumpyLlama
from tests.mini_tokens import MiniTokens

IDS = np.random.default_rng(1).integers(0, 40, 96)  # past the original context of LLAMA3


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ({}, {}),
        ({"shards": 3}, {"tie_word_embeddings": True, "rms_norm_eps": 1e-3}),
        ({"dtype": "bfloat16"}, {"rope_scaling": LLAMA3}),
        ({"dtype": "float16"}, {"rope_theta": None, "rope_parameters": {**LLAMA3, "rope_theta": 1e4}}),
        ({}, {"head_dim": 10, "num_key_value_heads": 1, "rope_theta": 100, "rope_scaling": LLAMA3 | {"factor": 32}}),
        ({}, {"head_dim": None, "num_key_value_heads": None}),
        ({"dtype": "bfloat16", "shards": 2}, QWEN3 | {"head_dim": 8, "rope_theta": 1_000_000}),
        ({}, QWEN3 | {"tie_word_embeddings": True, "layer_types": ["full_attention"] * 2}),
    ],
)
def test_logits_are_those_of_the_formulas_in_float64(tmp_path: Path, kind: dict, changes: dict):
    write_llama(tmp_path, **kind, **changes)
    model, context = llama_reading.read(tmp_path, "")
    with jax.default_matmul_precision("highest"):
        ours = np.asarray(jax.jit(LanguageModel.__call__)(model, IDS[None]))[0]
    theirs = NumpyLlama(tmp_path).logits(IDS)
    assert context == 128
    assert theirs.std() > 0.1
    assert np.abs(ours - theirs).max() < 1e-4
    assert model.config.record()["epsilon"] == changes.get("rms_norm_eps", 1e-6)


def test_both_forms_of_the_scaling_are_one_shape_and_are_written_for_both(tmp_path: Path):
    write_llama(tmp_path / "four", rope_scaling=LLAMA3)
    write_llama(tmp_path / "five", rope_theta=None, rope_parameters={**LLAMA3, "rope_theta": 500_000})
    four, five = (llama_reading.read(tmp_path / name, "")[0].config for name in ("four", "five"))
    assert four == five
    assert rope_settings(four) == {
        "rope_theta": 5e5,
        "rope_scaling": LLAMA3,
        "rope_parameters": {**LLAMA3, "rope_theta": 5e5},
    }


def test_other_peoples_files_are_sampled_from_as_they_are(made: MiniTokens, tmp_path: Path):
    """The tokenizer's file has its own name, and up to 1,024 rows more than it has ids."""
    write_llama(tmp_path, vocab_size=520, dtype="bfloat16", shards=2)
    shutil.copyfile(made.spm / "spiece.model", tmp_path / "tokenizer.model")
    loaded = loading.load(tmp_path, tmp_path / "no such file")
    assert isinstance(loaded.tokenizer, AdoptedTokenizer)
    assert (loaded.model.config.vocab_size, loaded.context) == (500, 128)
    wish = sampling.Wish(tokens=8)
    said, again = (
        "".join(part for [part] in sampling.continued(loaded.model, loaded.reader, ["def "], wish)) for _ in range(2)
    )
    assert said == again


def test_rows_that_fill_up_a_vocabulary_are_left_out(tmp_path: Path):
    made = write_llama(tmp_path)
    model, _ = llama_reading.read(tmp_path, "", vocab_size=37)
    np.testing.assert_array_equal(model.embedding[...], made["model.embed_tokens.weight"][:37].astype(np.float32))
    np.testing.assert_array_equal(model.head[...], made["lm_head.weight"][:37].astype(np.float32))


def test_parts_of_a_weight_are_those_of_the_whole(tmp_path: Path):
    write_llama(tmp_path, shards=2)
    opened = llama_reading.LlamaWeights.of(tmp_path, "")
    cuts = {"blocks.query": (1, 1), "blocks.output": (1, 3), "blocks.gate": (2, 1), "embedding": (0, 1)}
    for name, axes in cuts.items():
        axes = {*axes}
        whole = opened.part(
            name, [slice(None)] * (2 if name == "embedding" else 3 + (name in ("blocks.query", "blocks.output")))
        )
        index = [slice(1, 2) if axis in axes else slice(None) for axis in range(whole.ndim)]
        np.testing.assert_array_equal(opened.part(name, index), whole[tuple(index)])

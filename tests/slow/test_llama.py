"""The exported folder under transformers itself; needs torch, which this project does not install (4.5 GB)."""

from pathlib import Path

import jax
import numpy as np
import pytest

from aura.hugging_face import llama_reading
from aura.model.model import LanguageModel
from aura.training.generation import continuations
from tests.export.test_export import exported, ids
from tests.mini_tokens import MiniTokens

pytestmark = pytest.mark.slow
torch = pytest.importorskip("torch", reason="needs torch, which only a separate environment has")


@pytest.mark.parametrize("changes", [{}, {"tied_embeddings": False}, {"kv_heads": 4}, {"kv_heads": 1}])
def test_transformers_computes_the_same_logits_and_continuations(made: MiniTokens, tmp_path: Path, changes: dict):
    from transformers import AutoModelForCausalLM

    model = exported(made, tmp_path, **changes)
    theirs, said = AutoModelForCausalLM.from_pretrained(tmp_path / "hf", output_loading_info=True)
    assert not said["missing_keys"] and not said["unexpected_keys"]  # noqa: PT018 - one fact
    assert type(theirs).__name__ == "LlamaForCausalLM"
    prompt = ids(made)[None]
    with jax.default_matmul_precision("highest"), torch.no_grad():
        ours = np.asarray(jax.jit(LanguageModel.__call__)(model, prompt))
        logits = theirs(torch.tensor(prompt)).logits.numpy()
        difference = np.abs(ours - logits).max()
        print(f"{changes}: greatest difference of logits {difference:.1e}, their deviation {logits.std():.2f}")
        assert difference < 1e-4
        greedy = np.asarray(continuations(model, prompt, jax.random.key(0), 0.0, tokens=32))
        generated = theirs.generate(torch.tensor(prompt), do_sample=False, max_new_tokens=32, eos_token_id=None)
    np.testing.assert_array_equal(generated.numpy()[:, prompt.shape[1] :], greedy)


ROPE = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
SHAPES = {
    "tied, plain, float32": {"tie_word_embeddings": True, "rms_norm_eps": 1e-5, "num_key_value_heads": 4},
    "llama3 scaling, bfloat16 in shards": {
        "rms_norm_eps": 1e-6,
        "num_key_value_heads": 2,
        "rope_parameters": ROPE | {"rope_theta": 500_000.0, "original_max_position_embeddings": 64},
    },
    "wide heads, one group, float16": {
        "head_dim": 24,
        "num_key_value_heads": 1,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
    },
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_random_llama_of_transformers_has_the_same_logits_here(tmp_path: Path, name: str):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    plain = {"vocab_size": 300, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3}
    plain |= {"num_attention_heads": 4, "max_position_embeddings": 512, "initializer_range": 0.15}
    dtype = torch.float16 if "float16" in name.split() else torch.bfloat16 if "bfloat16" in name else torch.float32
    saved = LlamaForCausalLM(LlamaConfig(**(plain | SHAPES[name]))).to(dtype)
    saved.save_pretrained(tmp_path, max_shard_size="60KB" if "shards" in name else "5GB")
    assert len([*tmp_path.glob("*.safetensors")]) > 2 or "shards" not in name
    theirs = LlamaForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    model, context = llama_reading.read(tmp_path, "")
    tokens = np.random.default_rng(0).integers(0, 300, (1, 200))
    with jax.default_matmul_precision("highest"), torch.no_grad():
        ours = np.asarray(jax.jit(LanguageModel.__call__)(model, tokens))
        logits = theirs(torch.tensor(tokens)).logits.numpy()
    difference = np.abs(ours - logits).max()
    print(f"{name}: greatest difference of logits {difference:.1e}, their deviation {logits.std():.2f}")
    assert context == 512
    assert logits.std() > 0.5
    assert difference < 1e-4

"""Random Llamas and Qwen3s of transformers itself: their logits there and here, and a run that goes on from them.

They need torch, which this project does not install (4.5 GB): `make .venv-torch/ready` makes an environment for it, and
without that this test is skipped.
"""

import json
import subprocess
from pathlib import Path

import jax
import numpy as np
import pytest

from aura.export.llama import export
from aura.hugging_face import llama_reading
from aura.model import weights
from aura.model.model import LanguageModel
from tests.conftest import REPOSITORY
from tests.mini_tokens import MiniTokens
from tests.pretrain.test_base import run

PYTHON = REPOSITORY / ".venv-torch/bin/python"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="needs torch: make .venv-torch/ready"),
]
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "rope_theta": 5e5}
SHAPES = {
    "float32": {"tie_word_embeddings": True, "rms_norm_eps": 1e-5, "num_key_value_heads": 4},
    "bfloat16": {
        "num_key_value_heads": 2,
        "rope_parameters": LLAMA3 | {"original_max_position_embeddings": 64},
    },
    "float16": {
        "head_dim": 24,
        "num_key_value_heads": 1,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
    },
}
QWEN3 = {"dtype": "bfloat16", "head_dim": 24, "num_key_value_heads": 2, "tie_word_embeddings": True}
QWEN3 |= {"model_type": "qwen3", "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}
SHAPES["qwen3"] = QWEN3
# Makes a Llama or a Qwen3 of the given config in the given type, or loads one; writes its logits.
PROGRAM = """
import json, sys
from pathlib import Path
import numpy as np, torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

folder, asked = Path(sys.argv[1]), json.loads(sys.argv[2])
qwen3 = (asked["config"] or json.loads((folder / "config.json").read_text())).get("model_type") == "qwen3"
kind, settings = (Qwen3ForCausalLM, Qwen3Config) if qwen3 else (LlamaForCausalLM, LlamaConfig)
if asked["config"]:
    torch.manual_seed(0)
    made = kind(settings(**asked["config"]))
    for name, weight in made.named_parameters():
        if name.endswith("_norm.weight"):  # they begin as ones, and would not be missed
            weight.data *= 1 + 0.5 * torch.rand_like(weight)
    made.to(getattr(torch, asked["dtype"]))
    made.save_pretrained(folder, max_shard_size="60KB" if asked["shards"] else "5GB")
model, told = kind.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
assert not told["missing_keys"] and not told["unexpected_keys"], told
with torch.no_grad():
    np.save(folder / "logits.npy", model(torch.tensor([asked["ids"]])).logits[0].numpy())
"""


def logits_there(
    folder: Path, ids: np.ndarray, config: dict | None = None, dtype: str = "", **asked: bool
) -> np.ndarray:
    """The logits in transformers of the model in a folder; with `config` it makes it before."""
    told = json.dumps({"config": config, "dtype": dtype, "ids": ids.tolist(), "shards": False, **asked})
    done = subprocess.run([PYTHON, "-c", PROGRAM, folder, told], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return np.load(folder / "logits.npy")


def logits_here(model: LanguageModel, ids: np.ndarray) -> np.ndarray:
    with jax.default_matmul_precision("highest"):
        return np.asarray(jax.jit(LanguageModel.__call__)(model, ids[None]))[0]


@pytest.mark.parametrize("name", SHAPES)
def test_a_random_model_of_transformers_goes_on_here_and_back(made: MiniTokens, tmp_path: Path, name: str):
    changes = dict(SHAPES[name])
    dtype = changes.pop("dtype", name)
    plain = {"vocab_size": 500, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3}
    plain |= {"num_attention_heads": 4, "max_position_embeddings": 512, "initializer_range": 0.15, "rms_norm_eps": 1e-6}
    ids = np.random.default_rng(0).integers(0, 500, 200)
    base = tmp_path / "base"
    theirs = logits_there(base, ids, plain | changes, dtype, shards=dtype == "bfloat16")
    assert (len([*base.glob("*.safetensors")]) > 2) == (dtype == "bfloat16")
    model, context = llama_reading.read(base, "")
    differences = {"read": np.abs(logits_here(model, ids) - theirs).max()}
    assert context == 512
    assert theirs.std() > 0.5
    run(made, tmp_path, base, steps=2, warmup_steps=1)
    export(tmp_path / "lm", made.spm, tmp_path / "hf", add_bos=True)
    there = logits_there(tmp_path / "hf", ids)
    differences["exported"] = np.abs(logits_here(weights.load(tmp_path / "lm"), ids) - there).max()
    print(f"{name}: greatest differences of logits {differences}, their deviation {theirs.std():.2f}")
    assert np.abs(there - theirs).max() > 1e-3
    assert max(differences.values()) < 1e-4

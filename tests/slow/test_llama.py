"""The exported folder under transformers itself; needs torch, which this project does not install (4.5 GB)."""

from pathlib import Path

import jax
import numpy as np
import pytest

from aura.model.model import LanguageModel
from aura.training.generation import continuations
from tests.export.test_export import exported, ids
from tests.mini_tokens import MiniTokens

pytestmark = pytest.mark.slow
torch = pytest.importorskip("torch", reason="needs torch, which only a separate environment has")


@pytest.mark.parametrize(
    "changes", [{}, {"tied_embeddings": False}, {"kv_heads": 4}, {"kv_heads": 1}, {"qk_norm": True}]
)
def test_transformers_computes_the_same_logits_and_continuations(made: MiniTokens, tmp_path: Path, changes: dict):
    from transformers import AutoModelForCausalLM

    model = exported(made, tmp_path, **changes)
    theirs, said = AutoModelForCausalLM.from_pretrained(tmp_path / "hf", output_loading_info=True)
    assert not said["missing_keys"] and not said["unexpected_keys"]  # noqa: PT018 - one fact
    assert type(theirs).__name__ == ("Qwen3ForCausalLM" if changes.get("qk_norm") else "LlamaForCausalLM")
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

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aura.data.batches import Batches
from aura.data.streams import TokenStream
from aura.errors import UserError
from aura.self_teaching_llm.model import LanguageModel, ModelConfig, initial_model
from aura.self_teaching_llm.training import (
    decays,
    initial_state,
    leaf_name,
    make_optimizer,
    make_step,
    mean_loss,
    train,
)
from tests.mini_tokens import tiny

CONFIG = ModelConfig(vocab_size=40, layers=2, width=16, heads=2, kv_heads=1, hidden=16, tied_embeddings=False)
STREAM = TokenStream([(np.arange(3000) ** 2 % 37).astype(np.uint16)])
OPTIONS = tiny(seq_len=8, steps=4, warmup_steps=1, learning_rate=0.01, weight_decay=0.1, grad_clip=1.0)


def losses(**changes: object) -> list[float]:
    options = OPTIONS.model_copy(update=changes)
    optimizer = make_optimizer(options)
    state = initial_state(initial_model(CONFIG, 0), optimizer)
    return list(train(state, optimizer, Batches(STREAM, 4, 8, seed=0), options.steps))


def by_name(model: LanguageModel) -> dict[str, np.ndarray]:
    return {leaf_name(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(model)}


def test_losses_are_the_golden_numbers():
    np.testing.assert_allclose(losses(), [3.651932, 3.644171, 3.60118, 3.570737], rtol=1e-4)


def test_one_step_is_clipped_adamw_by_hand():
    grad_clip = 0.01
    optimizer = make_optimizer(OPTIONS.model_copy(update={"warmup_steps": 0, "grad_clip": grad_clip}))
    model, batch = initial_model(CONFIG, 0), Batches(STREAM, 4, 8, seed=0).batch(0)
    before, slopes = by_name(model), by_name(jax.jit(jax.grad(mean_loss))(model, batch))
    state, _ = make_step(optimizer)(initial_state(model, optimizer), batch)
    norm = np.sqrt(sum((slope**2).sum() for slope in slopes.values()))
    assert norm > grad_clip
    for name, after in by_name(state["model"]).items():
        slope = slopes[name] * grad_clip / norm
        decay = 0.0 if "norm" in name or name == "embedding" else 0.1
        expected = before[name] - 0.01 * (slope / (np.abs(slope) + 1e-8) + decay * before[name])
        np.testing.assert_allclose(after, expected, atol=2e-6)


def test_decay_is_for_matrices_by_name():
    decayed = {name for name, yes in by_name(decays(initial_model(CONFIG, 0))).items() if yes}
    blocks = {f"blocks.{name}" for name in ("query", "key", "value", "output", "gate", "up", "down")}
    assert decayed == {"head"} | blocks


def test_the_rate_rises_to_its_peak_and_falls_to_a_tenth():
    options = tiny(steps=100, warmup_steps=10, learning_rate=1.0, grad_clip=1000.0, weight_decay=0.0)
    optimizer = make_optimizer(options)
    weight, update_weight = {"head": jnp.zeros(1)}, jax.jit(optimizer.update)
    state, sizes = optimizer.init(weight), []
    for _ in range(100):
        update, state = update_weight(
            weight | {"head": jnp.ones(1)}, state, weight
        )  # equal slopes: Adam's update is the rate
        sizes.append(-float(update["head"][0]))
    assert 0 < sizes[0] < sizes[5] < sizes[10] == max(sizes) == pytest.approx(1, rel=1e-3)
    assert sizes[50] < sizes[20]
    assert sizes[-1] == pytest.approx(0.1, abs=0.01)


def test_a_diverged_run_stops_at_its_step_and_says_what_to_lower():
    with pytest.raises(UserError, match=r"came (nan|inf) at step \d of 4\. Lower pretrain\.learning_rate"):
        losses(learning_rate=1.0, grad_clip=1000.0, weight_decay=1e38)

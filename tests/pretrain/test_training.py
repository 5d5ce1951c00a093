import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aura.core.errors import UserError
from aura.model.mesh import make_mesh
from aura.model.model import Compute, LanguageModel, ModelConfig, initial_model
from aura.pretrain.step.batches import Batches, Source
from aura.pretrain.step.training import REMEDY, batch_layout, initial_state, make_step, mean_loss
from aura.tokens.streams import TokenStream
from aura.training.optimizer import decays, leaf_name, make_optimizer, make_schedule, steps_before_decay
from aura.training.steps import train
from tests.mini_tokens import tiny

CONFIG = ModelConfig(vocab_size=40, layers=2, width=16, heads=2, kv_heads=1, hidden=16, tied_embeddings=False)
STREAM = TokenStream([(np.arange(3000) ** 2 % 37).astype(np.uint16)])
OPTIONS = tiny(
    batch_size=4, seq_len=8, steps=4, warmup_steps=1, learning_rate=0.01, weight_decay=0.1, grad_clip=1.0,
    schedule="cosine", optimizer="adamw",
)  # fmt: skip


def batches() -> Batches:
    return Batches([Source("squares", STREAM)], 4, 8, seed=0)


def outcomes(config: ModelConfig = CONFIG, compute: Compute = Compute(), **changes: object) -> list[dict[str, float]]:  # noqa: B008
    options = OPTIONS.model_copy(update=changes)
    mesh = make_mesh(1, 1)
    with jax.set_mesh(mesh):
        state = jax.jit(partial(initial_state, options, config, compute))()
        layout = batch_layout(options, mesh, affect=False)
        return list(train(state, make_step(options), batches(), layout, 0, options.steps, remedy=REMEDY))


def losses(**changes: object) -> list[float]:
    return [outcome["loss"] for outcome in outcomes(**changes)]


def by_name(model: LanguageModel) -> dict[str, np.ndarray]:
    return {leaf_name(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(model)}


def test_losses_are_the_golden_numbers():
    np.testing.assert_allclose(losses(), [3.651932, 3.644171, 3.60118, 3.570737], rtol=1e-4)


def numpy_loss(weights: dict[str, np.ndarray], windows: np.ndarray) -> float:
    """The model written again, in numpy and float64, with loops where the original scans and batches."""
    total = 0.0
    for window in windows:
        x = weights["embedding"][window[:-1]] * 4.0  # the root of the width
        positions = np.arange(len(x))[:, None]
        for number in range(2):
            layer = {name.split(".")[1]: array[number] for name, array in weights.items() if name.startswith("blocks.")}
            y = _normed(x, layer["attention_norm"])
            mixed = []
            for head in range(2):
                query, key = (_turned(y @ w, positions) for w in (layer["query"][:, head], layer["key"][:, 0]))
                scores = np.where(np.tri(len(x)) > 0, query @ key.T / np.sqrt(8), -np.inf)
                scores = np.exp(scores - scores.max(axis=1, keepdims=True))
                mixed.append(scores / scores.sum(axis=1, keepdims=True) @ (y @ layer["value"][:, 0]))
            x = x + sum(mixed[head] @ layer["output"][head] for head in range(2))
            y = _normed(x, layer["hidden_norm"])
            gate = y @ layer["gate"]
            x = x + (gate / (1 + np.exp(-gate)) * (y @ layer["up"])) @ layer["down"]
        logits = _normed(x, weights["final_norm"]) @ weights["head"].T
        total += (np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(x)), window[1:]]).mean()
    return total / len(windows)


def _normed(x: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-5) * scale


def _turned(x: np.ndarray, positions: np.ndarray) -> np.ndarray:
    pairs = x[:, :4] + 1j * x[:, 4:]  # rotation is a product of complex numbers
    turned = pairs * np.exp(1j * positions * 10_000.0 ** (-np.arange(4) / 4))
    return np.concatenate([turned.real, turned.imag], axis=1)


def test_loss_and_gradient_are_those_of_a_plain_numpy_model():
    """The gradient by central differences in float64: independent of autodiff and of the hand-written one."""
    model, windows = initial_model(CONFIG, 0), batches().batch(0)["tokens"]
    weights = {name: array.astype(np.float64) for name, array in by_name(model).items()}
    (_, nats), slopes = jax.jit(jax.value_and_grad(mean_loss, has_aux=True))(model, {"tokens": windows})
    assert float(nats) == pytest.approx(numpy_loss(weights, windows), abs=2e-6)
    rng = np.random.default_rng(0)
    for name, slope in by_name(slopes).items():
        direction = rng.standard_normal(slope.shape)
        up, down = (numpy_loss(weights | {name: weights[name] + step * direction}, windows) for step in (1e-5, -1e-5))
        assert float((slope * direction).sum()) == pytest.approx((up - down) / 2e-5, rel=1e-3, abs=1e-5), name


@pytest.mark.parametrize("schedule", ["cosine", "wsd"])
def test_one_step_is_clipped_adamw_by_hand(schedule: str):
    grad_clip = 0.01
    options = OPTIONS.model_copy(update={"warmup_steps": 0, "grad_clip": grad_clip, "schedule": schedule})
    batch = batches().batch(0)
    state = initial_state(options, CONFIG, Compute())
    before = by_name(state["model"])
    slopes = by_name(jax.jit(jax.grad(lambda model: mean_loss(model, batch)[0]))(state["model"]))
    state, outcome = make_step(options)(state, {"tokens": batch["tokens"][None]})
    norm = np.sqrt(sum((slope**2).sum() for slope in slopes.values()))
    assert float(outcome["gradient_norm"]) == pytest.approx(norm, rel=1e-5)
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


@pytest.mark.parametrize("schedule", ["cosine", "wsd"])
def test_the_rate_rises_to_its_peak_and_falls_to_a_tenth(schedule: str):
    options = tiny(steps=100, warmup_steps=10, learning_rate=1.0, grad_clip=1000.0, weight_decay=0.0, schedule=schedule)
    optimizer = make_optimizer(options)
    weight, update_weight = {"head": jnp.zeros(1)}, jax.jit(optimizer.update)
    state, sizes = optimizer.init(weight), []
    for _ in range(100):  # equal slopes: Adam's update is the rate
        update, state = update_weight(weight | {"head": jnp.ones(1)}, state, weight)
        sizes.append(-float(update["head"][0]))
    assert 0 < sizes[0] < sizes[5] < sizes[10] <= max(sizes) == pytest.approx(1, rel=1e-3)
    assert sizes[80] < sizes[70] < sizes[40]
    assert sizes[-1] == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize("warmup_steps", [0, 5])
def test_before_its_decay_a_wsd_rate_does_not_depend_on_the_number_of_steps(warmup_steps: int):
    short, long = (tiny(steps=steps, warmup_steps=warmup_steps, schedule="wsd") for steps in (50, 400))
    shared = steps_before_decay(short)
    assert shared == 30
    one, other = make_schedule(short), make_schedule(long)
    assert [float(one(step)) for step in range(shared)] == [float(other(step)) for step in range(shared)]
    assert float(one(shared + 2)) < float(other(shared + 2))
    assert steps_before_decay(tiny(schedule="cosine")) == 0


def test_a_diverged_run_names_its_step_and_batch_and_what_to_lower():
    with pytest.raises(
        UserError, match=r"at step \d of 6: 3 steps in .* (nan|inf) .* squares tokens .* Lower pretrain"
    ):
        losses(learning_rate=1.0, grad_clip=1000.0, weight_decay=1e38, steps=6)


def test_a_batch_in_parts_gives_the_same_step():
    for whole, parts in zip(outcomes(), outcomes(accumulation=2), strict=True):
        assert parts == pytest.approx(whole, rel=2e-5)


def test_computing_activations_again_changes_nothing():
    """Another program: it holds more products of matrices than the plain one."""
    for plain, again in zip(outcomes(), outcomes(compute=Compute(remat=True)), strict=True):
        assert again == pytest.approx(plain, rel=1e-5)
    assert _products(Compute(remat=True)) > _products(Compute())


def _products(compute: Compute) -> int:
    state = jax.eval_shape(partial(initial_state, OPTIONS, CONFIG, compute))
    batch = {"tokens": jax.ShapeDtypeStruct((1, 4, 9), np.int32)}
    return str(make_step(OPTIONS).lower(state, batch).as_text()).count("dot_general")


def test_bfloat16_stays_near_float32():
    for wide, narrow in zip(outcomes(), outcomes(compute=Compute("bfloat16")), strict=True):
        assert narrow["loss"] == pytest.approx(wide["loss"], rel=5e-3)
        assert math.isfinite(narrow["gradient_norm"])


def test_affect_vectors_are_learnt_only_when_asked_for():
    config = ModelConfig(**(vars(CONFIG) | {"affect": True}))
    model, windows = initial_model(config, 0), batches().batch(0)["tokens"]
    affect = np.random.default_rng(0).random((4, 8, 8)).astype(np.float32)
    gradient = jax.jit(jax.grad(lambda model, batch: mean_loss(model, batch)[0]))
    told = gradient(model, {"tokens": windows, "affect": affect})
    untold = gradient(model, {"tokens": windows})
    assert float(jnp.abs(told.affect[...]).max()) > 0
    assert float(jnp.abs(untold.affect[...]).max()) == 0
    np.testing.assert_array_equal(
        model(windows), initial_model(CONFIG, 0)(windows)
    )  # it starts as if it were not there

"""Muon against the same steps in numpy and float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aura.model.model import LanguageModel, ModelConfig, initial_model, leaf_name
from aura.training import muon
from aura.training.optimizer import TABLE_RATE, make_muon
from tests.mini_tokens import tiny

CONFIG = ModelConfig(vocab_size=40, layers=3, width=16, heads=2, kv_heads=1, hidden=24, tied_embeddings=False)
OPTIONS = tiny(
    optimizer="muon", steps=100, warmup_steps=0, learning_rate=0.05, weight_decay=0.1, grad_clip=1e3, schedule="wsd"
)


def by_name(model: LanguageModel) -> dict[str, np.ndarray]:
    return {leaf_name(path): np.asarray(leaf, np.float64) for path, leaf in jax.tree_util.tree_leaves_with_path(model)}


def reference(matrix: np.ndarray) -> np.ndarray:
    """Orthogonalise by the polynomials of singular values, which an exact decomposition gives."""
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    values = values / np.linalg.norm(matrix) / muon.MARGIN
    for a, b, c in muon.STEPS:
        values = a * values + b * values**3 + c * values**5
    return left * values @ right


def test_updates_are_those_of_a_float64_reference():
    """Three steps of all weights: momentum with Nesterov's look ahead, each layer alone, scale by shape, decay."""
    model, optimizer = initial_model(CONFIG, 0), make_muon(OPTIONS, "float32")
    state, update = optimizer.init(model), jax.jit(optimizer.update)
    momenta: dict[str, np.ndarray] = {}
    for step in range(3):
        slopes = jax.tree.map(lambda leaf, step=step: jnp.cos(leaf * 100 * (step + 1)) / 50, model)
        updates, state = update(slopes, state, model)
        of_slopes, of_model = by_name(slopes), by_name(model)
        for name, got in by_name(updates).items():
            short = name.rpartition(".")[2]
            if short not in muon.INPUTS:
                continue
            momenta[name] = muon.MOMENTUM * momenta.get(name, 0) + of_slopes[name]
            ahead = of_slopes[name] + muon.MOMENTUM * momenta[name]
            for layer in range(CONFIG.layers):
                inputs = int(np.prod(ahead.shape[1 : 1 + muon.INPUTS[short]]))
                matrix = ahead[layer].reshape(inputs, -1)
                scale = max(1.0, matrix.shape[1] / inputs) ** 0.5
                expected = scale * reference(matrix).reshape(ahead[layer].shape) + 0.1 * of_model[name][layer]
                np.testing.assert_allclose(got[layer], -0.05 * expected, atol=2e-5, err_msg=f"{name} {layer}")
    assert set(momenta) == {f"blocks.{name}" for name in muon.INPUTS}


def test_tables_and_scales_take_a_step_of_adamw_at_their_own_rate():
    model, optimizer = initial_model(CONFIG, 0), make_muon(OPTIONS, "float32")
    slopes = jax.tree.map(lambda leaf: jnp.cos(leaf * 100) / 50 + 1e-3, model)
    updates, _ = jax.jit(optimizer.update)(slopes, optimizer.init(model), model)
    before, of_slopes = by_name(model), by_name(slopes)
    for name in ("embedding", "head", "final_norm", "blocks.attention_norm", "blocks.hidden_norm"):
        decay = 0.1 * before[name] if name == "head" else 0.0
        expected = -0.05 * TABLE_RATE * (of_slopes[name] / (np.abs(of_slopes[name]) + 1e-8) + decay)
        np.testing.assert_allclose(by_name(updates)[name], expected, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("shape", [(2, 32, 32), (2, 32, 40), (2, 16, 48), (2, 48, 16)])
@pytest.mark.parametrize(("dtype", "widest"), [("float32", 0.16), ("bfloat16", 0.25)])
def test_singular_values_come_near_one(shape: tuple[int, ...], dtype: str, widest: float):
    """Those of matrices with a spectrum like a gradient's: the k-th value is 1 / k."""
    made = []
    for seed in range(2):
        left, _, right = np.linalg.svd(np.random.default_rng(seed).standard_normal(shape[1:]), full_matrices=False)
        made.append(left * (1 / np.arange(1, left.shape[1] + 1)) @ right)
    got = np.asarray(muon.orthogonalised(jnp.asarray(made, dtype)), np.float64)
    assert np.abs(np.linalg.svd(got, compute_uv=False) - 1).max() < widest


@pytest.mark.parametrize("inputs", [80, 32, 384])  # by steps; by Gram matrices, of a wide matrix and of a tall one
@pytest.mark.parametrize("spectrum", ["one direction", "eight directions", "steep", "flat"])
def test_matrices_of_any_spectrum_are_those_of_a_float64_reference(inputs: int, spectrum: str):
    """Steps multiply the smallest singular values, and rounding errors beside them, by up to 1,000."""
    left, _, right = np.linalg.svd(np.random.default_rng(0).standard_normal((inputs, 96)), full_matrices=False)
    index = np.arange(left.shape[1])
    values = {"one direction": index < 1, "eight directions": index < 8, "steep": 0.7**index, "flat": index < 1000}
    matrix = np.float32(left * values[spectrum] @ right)
    got = np.asarray(muon.orthogonalised(jnp.asarray(matrix)[None])[0], np.float64)
    np.testing.assert_allclose(got, reference(np.float64(matrix)), atol=2e-5)


@pytest.mark.parametrize(("shape", "by_gram"), [((1, 16, 32), True), ((1, 32, 16), True), ((1, 16, 24), False)])
def test_gram_matrices_are_for_cpus_and_float32(shape: tuple[int, ...], by_gram: bool):
    """GPUs and TPUs round the factors of float32 products. The loop of steps is seen in the program."""

    def has_loop(platform: str, dtype: str) -> bool:
        traced = jax.jit(muon.orthogonalised).trace(jax.ShapeDtypeStruct(shape, dtype))
        return "stablehlo.while" in traced.lower(lowering_platforms=(platform,)).as_text()

    assert has_loop("cpu", "float32") is not by_gram
    assert has_loop("cpu", "bfloat16")
    assert has_loop("tpu", "float32")
    assert has_loop("cuda", "float32")


def test_no_gradient_is_no_update_and_the_size_of_one_does_not_matter():
    matrix = jax.random.normal(jax.random.key(0), (1, 8, 8))
    assert not np.asarray(muon.orthogonalised(jnp.zeros((1, 8, 8)))).any()
    for size in (1e-12, 1e12):
        np.testing.assert_allclose(muon.orthogonalised(size * matrix), muon.orthogonalised(matrix), atol=1e-4)


def test_the_optimiser_holds_one_number_for_each_weight_of_a_matrix():
    """AdamW holds two."""
    model = initial_model(CONFIG, 0)
    held = sum(leaf.size for leaf in jax.tree.leaves(make_muon(OPTIONS, "float32").init(model)))
    sizes = {name: leaf.size for name, leaf in by_name(model).items()}
    matrices = sum(size for name, size in sizes.items() if name.rpartition(".")[2] in muon.INPUTS)
    assert held == pytest.approx(matrices + 2 * (sum(sizes.values()) - matrices), abs=5)

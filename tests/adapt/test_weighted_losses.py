from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aura.adapt.weighted_losses import Losses, Output, Terms, weighted_losses
from aura.model.mesh import BATCH, make_mesh
from aura.training.cross_entropy import CHUNK, mean_cross_entropy
from tests.strict_dtypes import strict_dtypes  # noqa: F401 - for every test of this module

TERMS = [Terms(), Terms(1.0, 0.7), Terms(0.0, 2.0), Terms(0.5, 1.5, where_certain=True)]


def output(tokens: int, seed: int, width: int = 8) -> Output:
    keys = jax.random.split(jax.random.key(seed))
    return jax.random.normal(keys[0], (tokens, width)), jax.random.normal(keys[1], (40, width))


def targets_and_weights(tokens: int) -> tuple[jax.Array, jax.Array]:
    keys = jax.random.split(jax.random.key(9))
    uniform = jax.random.uniform(keys[0], (tokens,))
    weights = jnp.where(jnp.arange(tokens) % 3 < 2, uniform, 0.0)
    return jax.random.randint(keys[1], (tokens,), 0, 40), weights / weights.sum()


def by_definition(student: Output, targets: jax.Array, weights: jax.Array, teacher: Output | None, terms: Terms):
    log_p = jax.nn.log_softmax(student[0] @ student[1].T)
    nats = -(weights * jnp.take_along_axis(log_p, targets[:, None], axis=1)[:, 0]).sum()
    if teacher is None:
        return Losses(terms.cross_entropy * nats, nats, jnp.zeros(()), jnp.zeros(()))
    log_q = jax.nn.log_softmax(teacher[0] @ teacher[1].T)
    divergences = (jnp.exp(log_p) * (log_p - log_q)).sum(axis=1)
    if terms.where_certain:
        entropies = [-(jnp.exp(each) * each).sum(axis=1) for each in (log_p, log_q)]
        weights = jnp.where(jax.lax.stop_gradient(entropies[1] < entropies[0]), weights, 0.0)
    divergence = (weights * divergences).sum()
    objective = terms.cross_entropy * nats + terms.divergence * divergence
    return Losses(objective, nats, divergence, weights.sum())


@pytest.mark.parametrize("tokens", [1, 7, 2 * CHUNK, CHUNK + 2])
@pytest.mark.parametrize("terms", TERMS)
def test_losses_and_gradients_are_those_of_autodiff(tokens: int, terms: Terms):
    student, teacher = output(tokens, 0), output(tokens, 1, width=6) if terms.divergence else None
    targets, weights = targets_and_weights(tokens)

    def objective(of, student: Output):
        losses = of(student, targets, weights, teacher, terms)
        return 3.0 * losses.objective, losses

    expected, came = (
        jax.value_and_grad(partial(objective, of), has_aux=True)(student) for of in (by_definition, weighted_losses)
    )
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-4, atol=2e-6), came, expected)


def test_with_equal_weights_the_cross_entropy_is_that_of_pretraining():
    student, (targets, _) = output(70, 0), targets_and_weights(70)
    losses = weighted_losses(student, targets, jnp.full(70, 1 / 70), None, Terms())
    np.testing.assert_allclose(losses.nats, mean_cross_entropy(*student, targets)[1], rtol=1e-6)


def test_the_divergence_of_equal_models_is_zero_and_so_is_its_gradient():
    student, (targets, weights) = output(50, 0), targets_and_weights(50)
    losses, slopes = jax.value_and_grad(
        lambda student: weighted_losses(student, targets, weights, output(50, 0), Terms(0.0, 1.0))[0]
    )(student)
    assert float(losses) == 0
    assert all(not np.asarray(slope).any() for slope in slopes)


def test_a_target_of_no_weight_has_no_gradient():
    student, (targets, weights) = output(50, 0), targets_and_weights(50)
    slope = jax.grad(lambda x: weighted_losses((x, student[1]), targets, weights, output(50, 1), Terms(1.0, 1.0))[0])(
        student[0]
    )
    np.testing.assert_array_equal(np.abs(slope).sum(axis=1) > 0, weights > 0)


def test_large_logits_do_not_overflow():
    student, (targets, weights) = output(4, 0), targets_and_weights(4)
    large = (1000 * student[0], student[1])
    losses, slopes = jax.value_and_grad(
        lambda student: weighted_losses(student, targets, weights, output(4, 1), Terms(1.0, 1.0))[0]
    )(large)
    assert np.isfinite(losses)
    assert all(np.isfinite(slope).all() for slope in slopes)


def test_the_logits_of_all_tokens_never_exist_at_once():
    tokens, pieces = 8 * CHUNK, 5000
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((tokens, 8), (pieces, 8))]
    numbers = [jax.ShapeDtypeStruct((tokens,), kind) for kind in (jnp.int32, jnp.float32)]

    def slope(x: jax.Array, table: jax.Array, targets: jax.Array, weights: jax.Array) -> jax.Array:
        return jax.grad(lambda x: weighted_losses((x, table), targets, weights, (x, table), Terms(1.0, 1.0))[0])(x)

    compiled = jax.jit(slope).lower(*shapes, *numbers).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < tokens * pieces * 4 / 2


@pytest.mark.parametrize(("fsdp", "tensor"), [(1, 1), (2, 1), (1, 2)])
def test_two_devices_give_the_numbers_of_one(fsdp: int, tensor: int):
    """The first device has few targets that count, the second many: they take unequal numbers of chunks."""
    tokens = 4 * CHUNK
    student, teacher, (targets, weights) = output(tokens, 0), output(tokens, 1), targets_and_weights(tokens)
    weights = jnp.where((jnp.arange(tokens) < 3) | (jnp.arange(tokens) >= tokens // 2), weights, 0.0)

    def objective(x: jax.Array, table: jax.Array, rest: tuple[jax.Array, ...]) -> tuple[jax.Array, Losses]:
        losses = weighted_losses((x, table), *rest[:2], rest[2:], Terms(1.0, 0.7))
        return losses.objective, losses

    compute = jax.jit(jax.value_and_grad(objective, (0, 1), has_aux=True))
    expected = compute(*student, (targets, weights, *teacher))
    mesh = make_mesh(fsdp, tensor, jax.devices()[:2])
    features, table, rows = (
        jax.NamedSharding(mesh, jax.P(*axes)) for axes in ((BATCH, None), ("tensor", "fsdp"), (BATCH,))
    )
    with jax.set_mesh(mesh):
        of_student = jax.device_put(student, (features, table))
        came = compute(*of_student, jax.device_put((targets, weights, *teacher), (rows, rows, features, table)))
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-7), came, expected)

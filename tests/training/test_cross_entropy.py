import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aura.training.cross_entropy import CHUNK, mean_cross_entropy, token_cross_entropy
from tests.strict_dtypes import strict_dtypes  # noqa: F401 - for every test of this module


def arrays(tokens: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    keys = jax.random.split(jax.random.key(0), 3)
    x, table = jax.random.normal(keys[0], (tokens, 8)), jax.random.normal(keys[1], (40, 8))
    return x, table, jax.random.randint(keys[2], (tokens,), 0, 40)


def by_definition(x: jax.Array, table: jax.Array, targets: jax.Array) -> jax.Array:
    log_probabilities = jax.nn.log_softmax(x @ table.T, axis=-1)
    return -jnp.take_along_axis(log_probabilities, targets[:, None], axis=-1)[:, 0]


@pytest.mark.parametrize("tokens", [1, 7, CHUNK, 3 * CHUNK, CHUNK + 2])
def test_token_losses_are_the_definition(tokens: int):
    np.testing.assert_allclose(
        token_cross_entropy(*arrays(tokens)), by_definition(*arrays(tokens)), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("tokens", [7, 3 * CHUNK])
def test_mean_and_both_gradients_are_those_of_autodiff(tokens: int):
    x, table, targets = arrays(tokens)
    expected = jax.value_and_grad(lambda x, table: by_definition(x, table, targets).mean(), (0, 1))(x, table)
    came = jax.value_and_grad(lambda x, table: mean_cross_entropy(x, table, targets)[0], (0, 1))(x, table)
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6), came, expected)


def test_the_z_loss_and_its_gradients_are_those_of_autodiff():
    x, table, targets = arrays(7)

    def expected(x: jax.Array, table: jax.Array) -> jax.Array:
        z = jax.nn.logsumexp(x @ table.T, axis=-1)
        return by_definition(x, table, targets).mean() + 0.1 * jnp.square(z).mean()

    (came, nats), slopes = jax.value_and_grad(lambda *at: mean_cross_entropy(*at, targets, 0.1), (0, 1), has_aux=True)(
        x, table
    )
    value, expected_slopes = jax.value_and_grad(expected, (0, 1))(x, table)
    np.testing.assert_allclose(came, value, rtol=1e-5)
    np.testing.assert_allclose(nats, by_definition(x, table, targets).mean(), rtol=1e-5)
    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6), slopes, expected_slopes
    )


def test_the_gradient_follows_what_the_loss_is_multiplied_by():
    x, table, targets = arrays(9)
    once = jax.grad(lambda x: mean_cross_entropy(x, table, targets)[0])(x)
    thrice = jax.grad(lambda x: 3 * mean_cross_entropy(x, table, targets)[0])(x)
    np.testing.assert_allclose(thrice, 3 * once, rtol=1e-6)


def test_large_logits_do_not_overflow():
    x, table, targets = arrays(4)
    loss, slope = jax.value_and_grad(lambda x: mean_cross_entropy(x, table, targets)[0])(1000 * x)
    assert np.isfinite(loss)
    assert np.isfinite(slope).all()


def test_the_logits_of_all_tokens_never_exist_at_once():
    tokens, pieces = 8 * CHUNK, 5000
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((tokens, 8), (pieces, 8))]
    compiled = (
        jax.jit(jax.grad(lambda *arrays: mean_cross_entropy(*arrays)[0]))
        .lower(*shapes, jax.ShapeDtypeStruct((tokens,), jnp.int32))
        .compile()
    )
    assert compiled.memory_analysis().temp_size_in_bytes < tokens * pieces * 4 / 2

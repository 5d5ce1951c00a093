"""The next token has the probability that the definition gives it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aura.training.choice import chosen
from tests.strict_dtypes import strict_dtypes  # noqa: F401 - for every test of this module

TEXTS = 20_000


def shares(logits_V: np.ndarray, temperature: float, top_p: float) -> np.ndarray:
    """How often each token is drawn."""
    keys = jax.random.split(jax.random.key(0), TEXTS)
    logits_BxV = jnp.broadcast_to(jnp.asarray(logits_V, jnp.float32), (TEXTS, len(logits_V)))
    drawn_B = np.asarray(jax.jit(chosen)(logits_BxV, keys, temperature, top_p))
    return np.bincount(drawn_B, minlength=len(logits_V)) / TEXTS


def expected(logits_V: np.ndarray, temperature: float, top_p: float) -> np.ndarray:
    """By the definition, with a sort."""
    weights_V = np.exp(logits_V / temperature - np.max(logits_V / temperature))
    weights_V /= weights_V.sum()
    above_V = np.array([weights_V[weights_V > weight].sum() for weight in weights_V])
    weights_V[above_V >= top_p] = 0
    return weights_V / weights_V.sum()


@pytest.mark.parametrize("top_p", [1e-6, 0.3, 0.7, 0.95, 1.0])
def test_tokens_are_drawn_from_the_likeliest_in_proportion(top_p: float):
    logits_V = np.random.default_rng(1).normal(size=23) * 2
    got, wanted = shares(logits_V, 0.8, top_p), expected(logits_V, 0.8, top_p)
    np.testing.assert_allclose(got, wanted, atol=0.015)
    assert not got[wanted == 0].any()


def test_as_few_tokens_as_have_the_probability_together():
    logits_V = np.log([0.1, 0.5, 0.15, 0.25])
    for top_p, kept in ((0.0001, [1]), (0.49, [1]), (0.51, [1, 3]), (0.76, [1, 2, 3]), (1.0, [0, 1, 2, 3])):
        np.testing.assert_array_equal(np.flatnonzero(shares(logits_V, 1.0, top_p)), kept)


@pytest.mark.parametrize("size", [1, 2, 3, 9, 30, 8000])
def test_temperature_zero_takes_the_first_of_the_likeliest(size: int):
    logits_BxV = np.random.default_rng(size).integers(-3, 3, (5, size)).astype(np.float32)
    drawn_B = chosen(jnp.asarray(logits_BxV), jax.random.split(jax.random.key(0), 5), jnp.zeros(()), 1.0)
    np.testing.assert_array_equal(drawn_B, logits_BxV.argmax(axis=1))


def test_a_text_draws_the_same_whatever_stands_beside_it():
    keys = jax.random.split(jax.random.key(0), 6)
    logits_BxV = jnp.asarray(np.random.default_rng(0).normal(size=(6, 40)), jnp.float32)
    together = chosen(logits_BxV, keys, 1.0, 0.5)
    alone = [chosen(logits_BxV[row : row + 1], keys[row : row + 1], 1.0, 0.5)[0] for row in range(6)]
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("top_p", [0.9, 1.0])
def test_logits_that_are_no_numbers_end_the_draw(top_p: float):
    logits_BxV = jnp.full((2, 8), jnp.nan)
    assert np.asarray(jax.jit(chosen)(logits_BxV, jax.random.split(jax.random.key(0), 2), 0.8, top_p)).shape == (2,)

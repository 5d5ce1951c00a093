"""Choosing the next token from logits: the likeliest, or a draw from the likeliest ones (arXiv:1904.09751).

Nothing here sorts or draws for each piece of the vocabulary, which took most of the time of a small model's token. A
token is drawn in two levels, first one of about sqrt(V) groups and then one of its tokens: exact, with 2 sqrt(V)
random numbers in the place of V. With `top_p` a token that does not belong to the likeliest is rejected, and no token
as unlikely is drawn again; the accepted ones have the probabilities of the definition (as in arXiv:2501.01005).
"""

import math

import jax
import jax.numpy as jnp

_Tries = tuple[jax.Array, jax.Array, jax.Array, jax.Array]  # number, drawn_B, floor_B, done_B


def chosen(
    logits_BxV: jax.Array, keys_B: jax.Array, temperature: jax.Array | float, top_p: jax.Array | float
) -> jax.Array:
    """The next token of each text, int32: the likeliest at temperature 0, or a draw from softmax(logits / temperature).

    A token is drawn only if the tokens more likely than it have less than `top_p` together.
    """
    scaled_BxV = logits_BxV.astype(jnp.float32) / jnp.maximum(temperature, 1e-9)
    grouped_BxCxR = _grouped(scaled_BxV)
    next_B: jax.Array = jax.lax.cond(
        temperature > 0,
        lambda: _drawn(grouped_BxCxR, keys_B, jnp.asarray(top_p, jnp.float32)),
        lambda: likeliest(grouped_BxCxR),
    )
    return next_B


def _grouped(logits_BxV: jax.Array) -> jax.Array:
    """Token c R + r stands at (c, r): groups are columns, because CPUs add up along rows several at a time."""
    B, V = logits_BxV.shape
    R = math.ceil(V**0.5)
    C = -(-V // R)
    padded = jnp.pad(logits_BxV, ((0, 0), (0, C * R - V)), constant_values=-jnp.inf)
    return padded.reshape(B, C, R)


def likeliest(logits_BxCxR: jax.Array) -> jax.Array:
    """The first of the likeliest tokens, int32."""
    _, C, R = logits_BxCxR.shape
    most_Bx1x1 = jnp.max(logits_BxCxR, axis=1).max(axis=1)[:, None, None]
    ids_CxR = jnp.arange(C * R, dtype=jnp.int32).reshape(C, R)
    first_B = jnp.min(jnp.where(logits_BxCxR == most_Bx1x1, ids_CxR, C * R), axis=1).min(axis=1)
    return first_B.astype(jnp.int32)


def _drawn(logits_BxCxR: jax.Array, keys_B: jax.Array, top_p: jax.Array) -> jax.Array:
    B = len(logits_BxCxR)
    most_Bx1x1 = jnp.max(logits_BxCxR, axis=1).max(axis=1)[:, None, None]
    weights_BxCxR = jnp.exp(logits_BxCxR - most_Bx1x1)
    limit_B = top_p * _total(weights_BxCxR)

    def try_again(carried: _Tries) -> _Tries:
        number, drawn_B, floor_B, done_B = carried
        left_BxCxR = jnp.where(weights_BxCxR > floor_B[:, None, None], weights_BxCxR, 0.0)
        tried_B, weight_B = _two_levels(left_BxCxR, jax.vmap(jax.random.fold_in, (0, None))(keys_B, number))
        above_B = _total(jnp.where(weights_BxCxR > weight_B[:, None, None], weights_BxCxR, 0.0))
        drawn_B = jnp.where(done_B, drawn_B, tried_B)
        done_B |= ~(above_B >= limit_B) | (top_p >= 1)  # logits that are no numbers end it, too
        return number + 1, drawn_B, jnp.where(done_B, floor_B, weight_B), done_B

    start = jnp.zeros((), jnp.int32), jnp.zeros(B, jnp.int32), jnp.zeros(B, jnp.float32), jnp.zeros(B, bool)
    _, drawn_B, _, _ = jax.lax.while_loop(lambda carried: ~jnp.all(carried[3]), try_again, start)
    return drawn_B


def _two_levels(weights_BxCxR: jax.Array, keys_B: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A token drawn in proportion to the weights, int32, and its weight."""
    _, C, R = weights_BxCxR.shape
    noise_BxN = jax.vmap(lambda key: jax.random.gumbel(key, (R + C,), jnp.float32))(keys_B)
    group_B = jnp.argmax(jnp.log(jnp.sum(weights_BxCxR, axis=1)) + noise_BxN[:, :R], axis=1)
    of_group_BxC = jnp.take_along_axis(weights_BxCxR, group_B[:, None, None], axis=2)[:, :, 0]
    row_B = jnp.argmax(jnp.log(of_group_BxC) + noise_BxN[:, R:], axis=1)
    weight_B = jnp.take_along_axis(of_group_BxC, row_B[:, None], axis=1)[:, 0]
    return (row_B * R + group_B).astype(jnp.int32), weight_B


def _total(weights_BxCxR: jax.Array) -> jax.Array:
    return jnp.sum(jnp.sum(weights_BxCxR, axis=1), axis=1)

"""Cross-entropy that never holds the logits of a whole batch, nor keeps them for the gradient.

With 8,000 pieces and a narrow model, half of a step's time is here. Logits are made a chunk of tokens at a
time, and the gradient of the mean is finished while they are at hand: three products of matrices, as many as
autodiff needs, with fewer passes over a (tokens, vocabulary) array. Measured on 2 cores for 1,024 tokens,
8,000 pieces, width 192: 109 ms against 144 ms by autodiff, and memory for 512 tokens' logits, not 1,024's.

On a mesh each device does so for its own tokens and its own part of the vocabulary; the devices along `tensor`
exchange a few numbers per token, never logits. Logits and sums are float32 whatever the features are.

Letters as in model.py, and T tokens, in C chunks of T / C tokens (Z).
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from aura.model.mesh import BATCH, gathered_part, has_mesh, per_device, placed, summed_part
from aura.model.model import LanguageModel
from aura.training.documents import segments_of

CHUNK = 512  # tokens whose logits exist at once, at most; 64 to 256 were slower, and so was 1,024

_FEATURES, _TABLE, _TOKENS = PartitionSpec(BATCH, None), PartitionSpec("tensor", "fsdp"), PartitionSpec(BATCH)


def features_and_targets(
    model: LanguageModel, tokens_BxS1: jax.Array, affect_BxSxA: jax.Array | None, document_start: int | None = None
) -> tuple[jax.Array, jax.Array]:
    """Return the features of each position and the token after it, with sequences and positions in one axis.

    With `document_start`, the id that begins a document, a position sees its own document alone.
    """
    inputs_BxS = tokens_BxS1[:, :-1]
    segments_BxS = None if document_start is None else segments_of(inputs_BxS, document_start)
    x_BxSxD = model.features(inputs_BxS, affect_BxSxA, segments_BxS)
    B, S, D = x_BxSxD.shape
    x_TxD = jax.lax.reshape(x_BxSxD, (B * S, D), out_sharding=placed(BATCH, None))
    return x_TxD, jax.lax.reshape(tokens_BxS1[:, 1:], (B * S,), out_sharding=placed(BATCH))


def token_cross_entropy(x_TxD: jax.Array, table_VxD: jax.Array, targets_T: jax.Array) -> jax.Array:
    """-ln p(target) of each token: nats_T, float32. For evaluation; gradients go through `mean_cross_entropy`."""

    def local(x_TxD: jax.Array, part: jax.Array, targets_T: jax.Array) -> jax.Array:
        table_VxD = gathered_part(part, 1)

        def chunk_nats(chunk: tuple[jax.Array, ...]) -> jax.Array:
            x_ZxD, targets_Z = chunk
            return _nats(x_ZxD, targets_Z, table_VxD)[0]

        nats_CxZ: jax.Array = jax.lax.map(chunk_nats, chunks(x_TxD, targets_T))
        return nats_CxZ.reshape(-1)

    table_VxD = table_VxD.astype(x_TxD.dtype)
    nats_T: jax.Array = per_device(local, (_FEATURES, _TABLE, _TOKENS), _TOKENS)(x_TxD, table_VxD, targets_T)
    return nats_T


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def mean_cross_entropy(
    x_TxD: jax.Array, table_VxD: jax.Array, targets_T: jax.Array, z_loss: float = 0.0
) -> tuple[jax.Array, jax.Array]:
    """(objective, nats): the mean of `token_cross_entropy`, with and without the z-loss.

    The z-loss is `z_loss` times the mean square of each token's log-sum-exp; it keeps logits from drifting
    (PaLM, arXiv:2204.02311, section 5). The objective is differentiable in features and table; nats is for the log.
    """
    means, _ = _forward(x_TxD, table_VxD, targets_T, z_loss)
    return means


def _forward(
    x_TxD: jax.Array, table_VxD: jax.Array, targets_T: jax.Array, z_loss: float
) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
    """The means, and the objective's gradients: (probability (1 + 2 z lse) - [piece is target]) / T for a logit."""
    T = len(targets_T)

    def local(
        x_TxD: jax.Array, part: jax.Array, targets_T: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        table_VxD = gathered_part(part, 1)

        def chunk(
            slope_DxV: jax.Array, chunk: tuple[jax.Array, ...]
        ) -> tuple[jax.Array, tuple[jax.Array, jax.Array, jax.Array]]:
            x_ZxD, targets_Z = chunk
            nats_Z, lse_Z, weight_ZxV, total_Zx1, wanted_ZxD = _nats(x_ZxD, targets_Z, table_VxD)
            pull_ZxV = weight_ZxV.astype(x_ZxD.dtype)  # times a factor of each token, which its narrow sides carry
            factor_Zx1 = (1 + 2 * z_loss * lse_Z[:, None]) / (total_Zx1 * T)
            slope_ZxD = factor_Zx1 * summed(product("ZV,VD->ZD", pull_ZxV, table_VxD), "tensor") - wanted_ZxD / T
            scaled_ZxD = (factor_Zx1 * x_ZxD).astype(x_ZxD.dtype)
            # As D x V in 8 ms, as V x D in 13: XLA copies a transposed left side on CPU, and here it is the small one.
            return slope_DxV + product("ZD,ZV->DV", scaled_ZxD, pull_ZxV), (nats_Z, jnp.square(lse_Z), slope_ZxD)

        zeros_DxV = jnp.zeros(table_VxD.shape[::-1], jnp.float32)
        slope_DxV, (nats_CxZ, square_CxZ, slope_CxZxD) = jax.lax.scan(chunk, zeros_DxV, chunks(x_TxD, targets_T))
        rows_T = own_rows(targets_T, table_VxD)  # a foreign target's row lies outside, and is dropped
        slope_VxD = slope_DxV.T.at[rows_T].add(-x_TxD.astype(jnp.float32) / T, mode="drop")
        nats = summed(nats_CxZ.sum(), *BATCH) / T
        square = summed(square_CxZ.sum(), *BATCH) / T
        return nats, square, slope_CxZxD.reshape(x_TxD.shape), summed_part(slope_VxD, 1)

    specs = (PartitionSpec(), PartitionSpec(), _FEATURES, _TABLE)
    nats, square, slope_TxD, slope_VxD = per_device(local, (_FEATURES, _TABLE, _TOKENS), specs)(
        x_TxD, table_VxD.astype(x_TxD.dtype), targets_T
    )
    return (nats + z_loss * square, nats), (slope_TxD.astype(x_TxD.dtype), slope_VxD.astype(table_VxD.dtype))


def _backward(
    _: float, slopes: tuple[jax.Array, jax.Array], slope: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array, None]:
    of_objective = slope[0]
    return (of_objective * slopes[0]).astype(slopes[0].dtype), of_objective * slopes[1], None


mean_cross_entropy.defvjp(_forward, _backward)


def _nats(
    x_ZxD: jax.Array, targets_Z: jax.Array, table_VxD: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]:
    """Of a chunk: nats_Z, lse_Z, this device's exp(logit - largest), their total over all devices, targets' rows."""
    logits_ZxV = product("ZD,VD->ZV", x_ZxD, table_VxD)
    largest_Zx1 = largest(logits_ZxV.max(axis=-1, keepdims=True))
    weight_ZxV = jnp.exp(logits_ZxV - largest_Zx1)
    total_Zx1 = summed(weight_ZxV.sum(axis=-1, keepdims=True), "tensor")
    lse_Z = (largest_Zx1 + jnp.log(total_Zx1))[:, 0]
    own_ZxD = table_VxD.at[own_rows(targets_Z, table_VxD)].get(mode="fill", fill_value=0)
    wanted_ZxD = summed(own_ZxD.astype(jnp.float32), "tensor")
    nats_Z = lse_Z - jnp.sum(x_ZxD.astype(jnp.float32) * wanted_ZxD, axis=-1)
    return nats_Z, lse_Z, weight_ZxV, total_Zx1, wanted_ZxD


def product(form: str, one: jax.Array, other: jax.Array) -> jax.Array:
    """An einsum whose result is float32."""
    return jnp.einsum(form, one, other, preferred_element_type=jnp.float32)


def own_rows(targets_T: jax.Array, table_VxD: jax.Array) -> jax.Array:
    """The targets' rows in this device's part of the table; one past its end where another device holds it."""
    V = len(table_VxD)
    rows_T = targets_T - (jax.lax.axis_index("tensor") * V if has_mesh() else 0)
    return jnp.where((rows_T >= 0) & (rows_T < V), rows_T, V)


def summed(array: jax.Array, *axes: str) -> jax.Array:
    """In `per_device`: the sum over the devices along the axes."""
    return jax.lax.psum(array, axes) if has_mesh() else array


def largest(array: jax.Array) -> jax.Array:
    """In `per_device`: the maximum over the devices along `tensor`."""
    return jax.lax.pmax(array, "tensor") if has_mesh() else array


def chunks(*arrays_Tx: jax.Array) -> tuple[jax.Array, ...]:
    """Each array with T cut into C x Z, with the largest Z up to CHUNK that divides T (1 if T is a prime above)."""
    T = len(arrays_Tx[0])
    Z = next(size for size in range(min(CHUNK, T), 0, -1) if T % size == 0)
    return tuple(array.reshape(-1, Z, *array.shape[1:]) for array in arrays_Tx)

"""Causal attention by the fastest kernel of a platform; every one gives the same numbers within rounding.

    splash  TPU   blocks in fast memory, nothing of size S x S; needs S divisible by 128
    cudnn   GPU   the same idea (arXiv:2307.08691); bfloat16, heads of up to 128 features
    plain   any   blocks of queries against the keys they may see: writes down to 5/8 of the S x S scores

With segments a position sees its own segment alone. JAX's cudnn takes them as packed sequences of a number that is
fixed when it compiles, or as a bias of size S x S, so `plain` takes its place. It then computes long sequences in
blocks of 512 queries, and each again on the way back: S x 512 scores of a head are in memory, and not S x S.

Letters as in model.py; L keys that a block may see. On a mesh each device attends for its own sequences and heads.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from aura.model.mesh import BATCH, per_device

SPLASH_BLOCK = 512  # positions a TPU core works on at once, at most; must divide S
PLAIN_BLOCKS, PLAIN_BLOCK = 4, 64  # blocks of queries at most, and positions of one at least
SEGMENT_BLOCK = 512  # queries whose scores exist at once, at most, if there are segments


def implementation_for(platform: str, *, seq_len: int, dtype: str) -> str:
    """The fastest that works: `platform` is JAX's name (cpu, gpu, tpu)."""
    if platform == "tpu" and seq_len % 128 == 0:
        return "splash"
    if platform in ("gpu", "cuda") and dtype == "bfloat16":
        return "cudnn"
    return "plain"


def causal_attention(
    query_BxSxHxE: jax.Array,
    key_BxSxKxE: jax.Array,
    value_BxSxKxE: jax.Array,
    implementation: Any,  # noqa: ANN401 - JAX wants its own literals
    segments_BxS: jax.Array | None = None,
) -> jax.Array:
    """mixed_BxSxHxE: each position's mean of the values up to it; H / K query heads share a key/value head.

    With `segments_BxS`, int32, only values of the position's own segment count. Padding is a segment like others.
    """

    def attend(query: jax.Array, key: jax.Array, value: jax.Array, segments: jax.Array | None = None) -> jax.Array:
        if implementation == "splash":
            return _splash(query, key, value, segments)
        if implementation == "plain" or segments is not None:
            return _plain(query, key, value, segments)
        mixed: jax.Array = jax.nn.dot_product_attention(
            query, key, value, is_causal=True, implementation=implementation
        )
        return mixed

    spec = PartitionSpec(BATCH, None, "tensor", None)
    places, arrays = [spec, spec, spec], [query_BxSxHxE, key_BxSxKxE, value_BxSxKxE]
    if segments_BxS is not None:
        places, arrays = [*places, PartitionSpec(BATCH, None)], [*arrays, segments_BxS]
    mixed: jax.Array = per_device(attend, tuple(places), spec)(*arrays)
    return mixed


def _plain(
    query_BxSxHxE: jax.Array, key_BxSxKxE: jax.Array, value_BxSxKxE: jax.Array, segments_BxS: jax.Array | None = None
) -> jax.Array:
    """Heads that share a key are rows of one product: for these, JAX's own function copies the scores, twice."""
    B, S, H, E = query_BxSxHxE.shape
    K, block = key_BxSxKxE.shape[2], max(PLAIN_BLOCK, math.ceil(S / PLAIN_BLOCKS))
    query_BxKxGxSxE = jnp.transpose(query_BxSxHxE.reshape(B, S, K, H // K, E), (0, 2, 3, 1, 4))
    mixed = []
    for begin in range(0, S, block):
        end = min(begin + block, S)
        rows, keys, values = query_BxKxGxSxE[:, :, :, begin:end], key_BxSxKxE[:, :end], value_BxSxKxE[:, :end]
        if segments_BxS is not None and end - begin > SEGMENT_BLOCK:
            mixed.append(_in_small_blocks(rows, keys, values, segments_BxS[:, :end]))
            continue
        mixed.append(_of_block(rows, keys, values, begin, _segments(segments_BxS, begin, end)))
    return jnp.transpose(jnp.concatenate(mixed, axis=3), (0, 3, 1, 2, 4)).reshape(B, S, H, E)


def _of_block(
    rows_BxKxGxQxE: jax.Array,
    key_BxLxKxE: jax.Array,
    value_BxLxKxE: jax.Array,
    begin: jax.Array | int,
    segments: tuple[jax.Array, jax.Array] | None = None,
) -> jax.Array:
    """mixed_BxKxGxQxE of Q queries that stand from `begin` on; `segments` are theirs (BxQ) and the keys' (BxL)."""
    B, K, G, Q, E = rows_BxKxGxQxE.shape
    L = key_BxLxKxE.shape[1]
    rows = rows_BxKxGxQxE.reshape(B, K, -1, E)  # R of them
    scores_BxKxRxL = jnp.einsum("BKRE,BLKE->BKRL", rows, key_BxLxKxE, preferred_element_type=jnp.float32)
    seen_RxL = jnp.tile((begin + jnp.arange(Q))[:, None] >= jnp.arange(L)[None, :], (G, 1))
    seen_BxKxRxL = seen_RxL[None, None]
    if segments is not None:
        same_BxQxL = segments[0][:, :, None] == segments[1][:, None, :]
        seen_BxKxRxL &= jnp.tile(same_BxQxL, (1, G, 1))[:, None]
    scores_BxKxRxL = jnp.where(seen_BxKxRxL, scores_BxKxRxL * E**-0.5, float(np.finfo(np.float32).min))
    most_BxKxRx1 = jax.lax.stop_gradient(scores_BxKxRxL.max(axis=-1, keepdims=True))
    weights_BxKxRxL = jnp.exp(scores_BxKxRxL - most_BxKxRx1)
    total_BxKxRx1 = weights_BxKxRxL.sum(axis=-1, keepdims=True)  # divides the narrow result, not the weights
    of_rows = jnp.einsum("BKRL,BLKE->BKRE", weights_BxKxRxL.astype(value_BxLxKxE.dtype), value_BxLxKxE)
    divided = of_rows.astype(jnp.float32) / total_BxKxRx1
    return divided.astype(value_BxLxKxE.dtype).reshape(B, K, G, Q, E)


def _segments(segments_BxS: jax.Array | None, begin: int, end: int) -> tuple[jax.Array, jax.Array] | None:
    return None if segments_BxS is None else (segments_BxS[:, begin:end], segments_BxS[:, :end])


def _in_small_blocks(
    rows_BxKxGxQxE: jax.Array, key_BxLxKxE: jax.Array, value_BxLxKxE: jax.Array, segments_BxL: jax.Array
) -> jax.Array:
    """`_of_block` for the last Q of L positions, SEGMENT_BLOCK queries at a time; what fills the last block up goes."""
    Q, L = rows_BxKxGxQxE.shape[3], key_BxLxKxE.shape[1]
    blocks = -(-Q // SEGMENT_BLOCK)
    padding = blocks * SEGMENT_BLOCK - Q

    def cut(array: jax.Array, axis: int) -> jax.Array:
        """The array with its blocks in a first axis."""
        shape = array.shape
        padded = jnp.pad(array, [(0, padding if place == axis else 0) for place in range(array.ndim)])
        parts = padded.reshape(*shape[:axis], blocks, SEGMENT_BLOCK, *shape[axis + 1 :])
        return jnp.moveaxis(parts, axis, 0)

    @jax.checkpoint
    def of_block(block: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        rows, begin, segments = block
        return _of_block(rows, key_BxLxKxE, value_BxLxKxE, begin, (segments, segments_BxL))

    begins = L - Q + SEGMENT_BLOCK * jnp.arange(blocks)
    mixed = jax.lax.map(of_block, (cut(rows_BxKxGxQxE, 3), begins, cut(segments_BxL[:, L - Q :], 1)))
    joined = jnp.moveaxis(mixed, 0, 3)  # BxKxGxCxZxE
    return joined.reshape(*joined.shape[:3], -1, joined.shape[-1])[:, :, :, :Q]


def _splash(
    query_BxSxHxE: jax.Array,
    key_BxSxKxE: jax.Array,
    value_BxSxKxE: jax.Array,
    segments_BxS: jax.Array | None = None,
    *,
    interpret: bool = False,
) -> jax.Array:
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash

    _, S, H, E = query_BxSxHxE.shape
    kernel = _splash_kernel(S, H, interpret=interpret)
    heads_first = [jnp.swapaxes(array, 1, 2) for array in (query_BxSxHxE * E**-0.5, key_BxSxKxE, value_BxSxKxE)]
    segments = [] if segments_BxS is None else [splash.SegmentIds(segments_BxS, segments_BxS)]
    return jnp.swapaxes(jax.vmap(kernel)(*heads_first, *segments), 1, 2)


def _splash_kernel(S: int, H: int, *, interpret: bool) -> Any:  # noqa: ANN401 - the kernel's own class
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

    block = int(np.gcd(S, SPLASH_BLOCK))
    sizes = splash.BlockSizes(
        block_q=block, block_kv=block, block_kv_compute=block,
        block_q_dkv=block, block_kv_dkv=block, block_kv_dkv_compute=block, block_q_dq=block, block_kv_dq=block,
    )  # fmt: skip
    mask = masks.MultiHeadMask([masks.CausalMask((S, S)) for _ in range(H)])
    return splash.make_splash_mha_single_device(mask=mask, block_sizes=sizes, interpret=interpret)

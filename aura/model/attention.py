"""Causal attention by the fastest kernel of a platform; every one gives the same numbers within rounding.

    splash  TPU   blocks in fast memory, nothing of size S x S; needs S divisible by 128
    cudnn   GPU   the same idea (arXiv:2307.08691); bfloat16, heads of up to 128 features
    plain   any   blocks of queries against the keys they may see: writes down to 5/8 of the S x S scores

With segments a position sees its own segment alone. cudnn has no form for them, so `plain` takes its place.

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
        rows = query_BxKxGxSxE[:, :, :, begin:end].reshape(B, K, -1, E)  # R of them
        scores_BxKxRxL = jnp.einsum("BKRE,BLKE->BKRL", rows, key_BxSxKxE[:, :end], preferred_element_type=jnp.float32)
        seen_RxL = jnp.tile(jnp.arange(begin, end)[:, None] >= jnp.arange(end)[None, :], (H // K, 1))
        seen_BxKxRxL = seen_RxL[None, None]
        if segments_BxS is not None:
            same_BxSxL = segments_BxS[:, begin:end, None] == segments_BxS[:, None, :end]
            seen_BxKxRxL &= jnp.tile(same_BxSxL, (1, H // K, 1))[:, None]
        scores_BxKxRxL = jnp.where(seen_BxKxRxL, scores_BxKxRxL * E**-0.5, float(np.finfo(np.float32).min))
        weights_BxKxRxL = jax.nn.softmax(scores_BxKxRxL, axis=-1).astype(value_BxSxKxE.dtype)
        of_rows = jnp.einsum("BKRL,BLKE->BKRE", weights_BxKxRxL, value_BxSxKxE[:, :end])
        mixed.append(of_rows.reshape(B, K, H // K, end - begin, E))
    return jnp.transpose(jnp.concatenate(mixed, axis=3), (0, 3, 1, 2, 4)).reshape(B, S, H, E)


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

"""Causal attention by the fastest kernel of a platform; every one gives the same numbers within rounding.

    splash  TPU   blocks in fast memory, nothing of size S x S; needs S divisible by 128
    cudnn   GPU   the same idea (arXiv:2307.08691); bfloat16, heads of up to 128 features
    xla     any   writes all S x S scores: simple, and on a CPU as fast as anything

Letters as in model.py. On a mesh each device attends for its own sequences and heads.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from aura.self_teaching_llm.mesh import BATCH, per_device

SPLASH_BLOCK = 512  # positions a TPU core works on at once, at most; must divide S


def implementation_for(platform: str, *, seq_len: int, dtype: str) -> str:
    """The fastest that works: `platform` is JAX's name (cpu, gpu, tpu)."""
    if platform == "tpu" and seq_len % 128 == 0:
        return "splash"
    if platform in ("gpu", "cuda") and dtype == "bfloat16":
        return "cudnn"
    return "xla"


def causal_attention(
    query_BxSxHxE: jax.Array,
    key_BxSxKxE: jax.Array,
    value_BxSxKxE: jax.Array,
    implementation: Any,  # noqa: ANN401 - JAX wants its own literals
) -> jax.Array:
    """mixed_BxSxHxE: each position's mean of the values up to it; H / K query heads share a key/value head."""

    def attend(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
        if implementation == "splash":
            return _splash(query, key, value)
        mixed: jax.Array = jax.nn.dot_product_attention(
            query, key, value, is_causal=True, implementation=implementation
        )
        return mixed

    spec = PartitionSpec(BATCH, None, "tensor", None)
    mixed: jax.Array = per_device(attend, (spec, spec, spec), spec)(query_BxSxHxE, key_BxSxKxE, value_BxSxKxE)
    return mixed


def _splash(query_BxSxHxE: jax.Array, key_BxSxKxE: jax.Array, value_BxSxKxE: jax.Array) -> jax.Array:
    _, S, H, E = query_BxSxHxE.shape
    kernel = _splash_kernel(S, H, interpret=False)
    heads_first = (jnp.swapaxes(array, 1, 2) for array in (query_BxSxHxE * E**-0.5, key_BxSxKxE, value_BxSxKxE))
    return jnp.swapaxes(jax.vmap(kernel)(*heads_first), 1, 2)


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

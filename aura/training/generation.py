"""Drawing tokens one after the other, with a cache of the keys and values of those before.

Each new token runs the layers over itself alone and attends to the cache: work in proportion to the length, where
running the whole text again would take its square. The tokens are the same but for rounding.

On a mesh no device holds more of the model than in training: texts are cut along the axes of a batch, heads and
pieces along `tensor`, and only the logits of one token for each text are whole on every device.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from aura.model.mesh import BATCH, gathered, has_mesh, moved, per_device, placed
from aura.model.model import Block, LanguageModel, rms_norm

Cache = tuple[jax.Array, jax.Array]  # keys_NxBxLxKxE and values_NxBxLxKxE, for texts of up to L tokens

HEADS = (BATCH, None, "tensor", None)  # where an array of heads lies: BxLxKxE


@partial(jax.jit, static_argnames="tokens")
def continuations(
    model: LanguageModel,
    prompts_BxP: jax.Array,
    key: jax.Array,
    temperature: float,
    begins_B: jax.Array | None = None,
    *,
    tokens: int,
) -> jax.Array:
    """Draw `tokens` tokens after each prompt: ids_BxT, int32. The same key gives the same ids.

    A temperature of 0 takes the likeliest token each time; 1 draws from the model's own probabilities. With `begins_B`
    a prompt is what stands from there on in its row, and no token sees the ids before.
    """
    B, P = prompts_BxP.shape

    def choose(logits_BxV: jax.Array, position: jax.Array | int) -> jax.Array:
        logits_BxV = moved(logits_BxV)  # whole on each device, which all draw the same
        drawn_B = jax.random.categorical(jax.random.fold_in(key, position), logits_BxV / jnp.maximum(temperature, 1e-9))
        return jnp.where(temperature > 0, drawn_B, jnp.argmax(logits_BxV, axis=-1)).astype(jnp.int32)

    def add_token(carried: tuple[jax.Array, Cache], position: jax.Array) -> tuple[tuple[jax.Array, Cache], jax.Array]:
        last_B, cache = carried
        logits_BxV, cache = next_logits(model, moved(last_B[:, None], BATCH, None), position - 1, cache, begins_B)
        drawn_B = choose(logits_BxV, position)
        return (drawn_B, cache), drawn_B

    logits_BxV, cache = next_logits(model, prompts_BxP, 0, empty_cache(model, B, P + tokens), begins_B)
    first_B = choose(logits_BxV, P)
    _, later_TxB = jax.lax.scan(add_token, (first_B, cache), jnp.arange(P + 1, P + tokens))
    return jnp.concatenate([first_B[:, None], later_TxB.T], axis=1)


def empty_cache(model: LanguageModel, texts: int, length: int) -> Cache:
    """A cache for so many texts of up to `length` tokens."""
    config = model.config
    shape = (config.layers, texts, length, config.kv_heads, config.head_width)
    axes = placed(None, *HEADS)
    return (
        jnp.zeros(shape, model.compute.dtype, out_sharding=axes),
        jnp.zeros(shape, model.compute.dtype, out_sharding=axes),
    )


def next_logits(
    model: LanguageModel,
    tokens_BxS: jax.Array,
    start: jax.Array | int,
    cache: Cache,
    begins_B: jax.Array | None = None,
) -> tuple[jax.Array, Cache]:
    """Logits_BxV of the token after `tokens`, which stand at `start` and follow what the cache holds; the new cache.

    With `begins_B` a text begins there in its row. Its positions do too, but for a distance that attention does not
    see: only differences of positions decide (arXiv:2104.09864).
    """
    positions_S = start + jnp.arange(tokens_BxS.shape[1])
    visible = (jnp.arange(cache[0].shape[2])[None, :] <= positions_S[:, None])[None, None]  # 1x1xSxL, or Bx1xSxL
    seen_by = PartitionSpec()
    if begins_B is not None:
        visible &= (jnp.arange(cache[0].shape[2])[None, :] >= begins_B[:, None])[:, None, None]
        seen_by = PartitionSpec(BATCH)

    def mix(
        query: jax.Array, key: jax.Array, value: jax.Array, held: Cache, visible: jax.Array, begin: jax.Array
    ) -> tuple[jax.Array, Cache]:
        keys, values = (
            jax.lax.dynamic_update_slice_in_dim(one, new, begin, axis=1)
            for one, new in zip(held, (key, value), strict=True)
        )
        return jax.nn.dot_product_attention(query, keys, values, mask=visible), (keys, values)

    heads, whole = PartitionSpec(*HEADS), PartitionSpec()
    mix_parts = per_device(mix, (heads, heads, heads, (heads, heads), seen_by, whole), (heads, (heads, heads)))

    def layer(x_BxSxD: jax.Array, inputs: tuple[Block, jax.Array, jax.Array]) -> tuple[jax.Array, Cache]:
        block, *of_layer_BxLxKxE = inputs
        grown: list[Cache] = []

        def attend(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
            mixed, of_layer = mix_parts(query, key, value, tuple(of_layer_BxLxKxE), visible, jnp.asarray(start))
            grown.append(of_layer)
            result: jax.Array = mixed
            return result

        x_BxSxD = block(x_BxSxD, positions_S, attend)
        return x_BxSxD, grown[0]

    x_BxSxD, cache = jax.lax.scan(layer, model.embedded(tokens_BxS), (model.blocks, *cache))
    last_BxD = rms_norm(x_BxSxD[:, -1:], model.final_norm[...], model.config.epsilon)[:, 0]
    if not has_mesh():
        return last_BxD @ model.output_table.T, cache
    table_VxD = gathered(model.output_table)
    return jnp.einsum("BD,VD->BV", last_BxD, table_VxD, out_sharding=placed(BATCH, "tensor")), cache

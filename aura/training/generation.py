"""Drawing tokens one after the other, with a cache of the keys and values of those before.

Each new token runs the layers over itself alone and attends to the cache: work in proportion to the length, where
running the whole text again would take its square. The tokens are the same but for rounding. Every way to draw text
goes through `read` and `draw`: `continuations` is both in one program, `answers.Answerer` calls them part by part.

On one device the loop has each layer's weights and cache as arrays of their own, which it reads and changes in place.
A loop over stacked layers copied all of them for each token, which was most of the time of 8 texts or more. The price
is a second copy of the layers' weights, and a compile time that grows with depth.

On a mesh of several devices layers stay stacked, and no device holds more of the model than in training: texts are cut
along the axes of a batch, heads and pieces along `tensor`, and only the logits of one token for each text are whole on
every device.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from aura.model.mesh import BATCH, gathered, has_mesh, moved, per_device, placed
from aura.model.model import Block, LanguageModel, rms_norm
from aura.training.choice import chosen

# keys_CxExL and values_CxLxE, for texts of up to L tokens. C is B x K, in one axis as the product takes it: over two,
# XLA writes and copies the cache again for each token on CPU.
LayerCache = tuple[jax.Array, jax.Array]
Cache = list[LayerCache] | LayerCache  # of each layer; on several devices stacked, like the layers themselves

HEADS = (BATCH, None, "tensor", None)  # where an array of heads lies: BxSxHxE
CACHED = ((*BATCH, "tensor"), None, None)  # where the keys or values of a layer lie: C is cut as its B and K are


class Ready(NamedTuple):
    """A model in the form that the loop over tokens wants.

    Attributes:
        model: the model; its embeddings and norms are read from here.
        layers: each apart on one device, stacked on several.
        table: DxV, the output table turned round, which XLA would else do for each token on CPU; None on a mesh.
    """

    model: LanguageModel
    layers: list[Block] | Block
    table: jax.Array | None


class Drawn(NamedTuple):
    """Texts as far as they are drawn.

    Attributes:
        last: B, the last token of each text, int32; the cache does not have it yet.
        place: of these tokens in their rows.
        number: tokens that were drawn so far.
        ended: B, bool, the texts that had their end.
        cache: keys and values of all tokens before.
    """

    last: jax.Array
    place: jax.Array
    number: jax.Array
    ended: jax.Array
    cache: Cache

    @classmethod
    def nothing(cls, last_B: jax.Array, place: int | jax.Array, cache: Cache) -> "Drawn":
        """Texts that were read up to their last token, which stands at `place`."""
        ended_B = jnp.zeros(last_B.shape, bool)
        return cls(last_B, jnp.asarray(place, jnp.int32), jnp.zeros((), jnp.int32), ended_B, cache)


class Choice(NamedTuple):
    """A rule for the next token; see `choice.chosen`.

    Attributes:
        keys: B, of each text; the same key draws the same text, whatever stands beside it.
        temperature: of the draws; 0 takes the likeliest token.
        top_p: share of the likeliest tokens that are drawn from.
        ends: V, bool, the tokens that end a text; None if none does.
    """

    keys: jax.Array
    temperature: jax.Array | float
    top_p: jax.Array | float = 1.0
    ends: jax.Array | None = None


@partial(jax.jit, static_argnames="tokens")
def continuations(
    model: LanguageModel,
    prompts_BxP: jax.Array,
    key: jax.Array,
    temperature: float,
    begins_B: jax.Array | None = None,
    end: int | jax.Array | None = None,
    *,
    tokens: int,
) -> jax.Array:
    """Draw `tokens` tokens after each prompt: ids_BxT, int32. The same key gives the same ids.

    A temperature of 0 takes the likeliest token each time; 1 draws from the model's own probabilities. With `begins_B`
    a prompt is what stands from there on in its row, and no token sees the ids before. A text that has drawn `end` goes
    on with nothing but this token; once all texts have, nothing more is computed.
    """
    B, P = prompts_BxP.shape
    net, cache = ready(model), empty_cache(model, B, P + tokens)
    if P > 1:
        cache = read(net, prompts_BxP[:, :-1], 0, cache, begins_B)
    ends_V = None if end is None else jnp.arange(model.config.vocab_size) == end
    choice = Choice(keys_of(key, B), temperature, ends=ends_V)
    drawn = Drawn.nothing(moved(prompts_BxP[:, -1]), P - 1, cache)
    made_BxT, _ = draw(net, drawn, choice, begins_B, tokens, room=tokens)
    return made_BxT


def keys_of(key: jax.Array, texts: int) -> jax.Array:
    """keys_B: the key of each text, which does not depend on how many there are."""
    keys_B: jax.Array = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(texts))
    return keys_B


def ready(model: LanguageModel) -> Ready:
    """The model for `read` and `draw`."""
    table_DxV = None if has_mesh() else model.output_table.T
    if _several_devices():
        return Ready(model, model.blocks, table_DxV)
    layers = [jax.tree.map(lambda leaf_Nx: leaf_Nx[number], model.blocks) for number in range(model.config.layers)]  # noqa: B023 - used at once
    return Ready(model, layers, table_DxV)


def empty_cache(model: LanguageModel, texts: int, length: int) -> Cache:
    """A cache for so many texts of up to `length` tokens."""
    config = model.config
    C, E, L = texts * config.kv_heads, config.head_width, length
    if _several_devices():
        N, axes = config.layers, placed(None, *CACHED)
        return (
            jnp.zeros((N, C, E, L), model.compute.dtype, out_sharding=axes),
            jnp.zeros((N, C, L, E), model.compute.dtype, out_sharding=axes),
        )
    zeros = partial(jnp.zeros, dtype=model.compute.dtype, out_sharding=placed(*CACHED))
    return [(zeros((C, E, L)), zeros((C, L, E))) for _ in range(config.layers)]


def longer(cache: Cache, length: int) -> Cache:
    """The cache of one device with room for more tokens."""
    pad = length - _length(cache)
    return [
        (jnp.pad(keys, ((0, 0), (0, 0), (0, pad))), jnp.pad(values, ((0, 0), (0, pad), (0, 0))))
        for keys, values in cache
    ]


def read(
    net: Ready,
    tokens_BxS: jax.Array,
    start: jax.Array | int,
    cache: Cache,
    begins_B: jax.Array | None = None,
) -> Cache:
    """The cache after `tokens`, which stand at `start`."""
    return _through_layers(net, tokens_BxS, start, cache, begins_B)[1]


def draw(
    net: Ready,
    drawn: Drawn,
    choice: Choice,
    begins_B: jax.Array | None,
    limit: jax.Array | int,
    *,
    room: int,
) -> tuple[jax.Array, Drawn]:
    """Draw at most `limit` tokens for each text: ids_BxR, int32, and the texts after them.

    Behind its end a text repeats it. The loop stops when all texts have ended; the rest of `room` repeats, too.
    """

    def add(carried: tuple[jax.Array, jax.Array, Drawn]) -> tuple[jax.Array, jax.Array, Drawn]:
        step, made_RxB, drawn = carried
        tokens_Bx1 = moved(drawn.last[:, None], BATCH, None)
        logits_BxV, cache = next_logits(net, tokens_Bx1, drawn.place, drawn.cache, begins_B)
        keys_B = jax.vmap(jax.random.fold_in, (0, None))(choice.keys, drawn.number)
        next_B = chosen(moved(logits_BxV), keys_B, choice.temperature, choice.top_p)  # whole: all devices draw alike
        next_B = jnp.where(drawn.ended, drawn.last, next_B)
        ended_B = drawn.ended if choice.ends is None else drawn.ended | choice.ends[next_B]
        made_RxB = jax.lax.dynamic_update_slice_in_dim(made_RxB, next_B[None], step, axis=0)
        return step + 1, made_RxB, Drawn(next_B, drawn.place + 1, drawn.number + 1, ended_B, cache)

    def goes_on(carried: tuple[jax.Array, jax.Array, Drawn]) -> jax.Array:
        step, _, drawn = carried
        return (step < limit) & ~jnp.all(drawn.ended)

    made_RxB = jnp.zeros((room, len(drawn.last)), jnp.int32)
    step, made_RxB, drawn = jax.lax.while_loop(goes_on, add, (jnp.zeros((), jnp.int32), made_RxB, drawn))
    made_RxB = jnp.where(jnp.arange(room)[:, None] < step, made_RxB, drawn.last[None])
    return made_RxB.T, drawn


def next_logits(
    net: Ready,
    tokens_BxS: jax.Array,
    start: jax.Array | int,
    cache: Cache,
    begins_B: jax.Array | None = None,
) -> tuple[jax.Array, Cache]:
    """Logits_BxV of the token after `tokens`, which stand at `start` and follow what the cache holds; the new cache.

    With `begins_B` a text begins there in its row. Its positions do too, but for a distance that attention does not
    see: only differences of positions decide (arXiv:2104.09864).
    """
    x_BxSxD, cache = _through_layers(net, tokens_BxS, start, cache, begins_B)
    last_BxD = rms_norm(x_BxSxD[:, -1:], net.model.final_norm[...], net.model.config.epsilon)[:, 0]
    if net.table is not None:
        return last_BxD @ net.table, cache
    table_VxD = gathered(net.model.output_table)
    return jnp.einsum("BD,VD->BV", last_BxD, table_VxD, out_sharding=placed(BATCH, "tensor")), cache


def _through_layers(
    net: Ready,
    tokens_BxS: jax.Array,
    start: jax.Array | int,
    cache: Cache,
    begins_B: jax.Array | None,
) -> tuple[jax.Array, Cache]:
    """The stream behind the last layer, and the cache with these tokens."""
    positions_S = jnp.asarray(start) + jnp.arange(tokens_BxS.shape[1])
    mix = _cached_attention(positions_S, start, _length(cache), begins_B)

    def layer(x_BxSxD: jax.Array, inputs: tuple[Block, LayerCache]) -> tuple[jax.Array, LayerCache]:
        block, held = inputs
        grown: list[LayerCache] = []

        def attend(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
            mixed, of_layer = mix(query, key, value, held)
            grown.append(of_layer)
            result: jax.Array = mixed
            return result

        x_BxSxD = block(x_BxSxD, positions_S, attend)
        return x_BxSxD, grown[0]

    x_BxSxD = net.model.embedded(tokens_BxS)
    if not isinstance(cache, list):
        x_BxSxD, stacked = jax.lax.scan(layer, x_BxSxD, (net.layers, cache))  # type: ignore[arg-type] # one for all
        return x_BxSxD, stacked
    grown: list[LayerCache] = []
    once_traced = jax.jit(layer)  # Python runs for the first layer alone
    for block, held in zip(net.layers, cache, strict=True):
        x_BxSxD, of_layer = once_traced(x_BxSxD, (block, held))
        grown.append(of_layer)
    return x_BxSxD, grown


def _cached_attention(positions_S: jax.Array, start: jax.Array | int, length: int, begins_B: jax.Array | None) -> Any:  # noqa: ANN401 - a function of query, key, value and a layer's cache: what attention gives, and the cache
    """Attention to a cache of `length` places, in which the new keys and values are put at `start` first."""
    places_L = jnp.arange(length)
    visible = (places_L[None, :] <= positions_S[:, None])[None, None, None]  # 1x1x1xSxL, or Bx1x1xSxL
    seen_by = PartitionSpec()
    if begins_B is not None:
        visible &= (places_L[None, :] >= begins_B[:, None])[:, None, None, None]
        seen_by = PartitionSpec(BATCH)

    def mix(
        query: jax.Array, key: jax.Array, value: jax.Array, held: LayerCache, visible: jax.Array, begin: jax.Array
    ) -> tuple[jax.Array, LayerCache]:
        _, S, _, E = key.shape
        new_CxExS, new_CxSxE = (
            key.transpose(0, 2, 3, 1).reshape(-1, E, S),
            value.transpose(0, 2, 1, 3).reshape(-1, S, E),
        )
        keys_CxExL = jax.lax.dynamic_update_slice_in_dim(held[0], new_CxExS, begin, axis=2)
        values_CxLxE = jax.lax.dynamic_update_slice_in_dim(held[1], new_CxSxE, begin, axis=1)
        return _mixed(query, keys_CxExL, values_CxLxE, visible), (keys_CxExL, values_CxLxE)

    heads, cached, whole = PartitionSpec(*HEADS), PartitionSpec(*CACHED), PartitionSpec()
    mix_parts = per_device(mix, (heads, heads, heads, (cached, cached), seen_by, whole), (heads, (cached, cached)))
    return lambda query, key, value, held: mix_parts(query, key, value, held, visible, jnp.asarray(start))


def _mixed(query_BxSxHxE: jax.Array, keys_CxExL: jax.Array, values_CxLxE: jax.Array, visible: jax.Array) -> jax.Array:
    """Values by the softmax of query times key, in float32; neighbouring query heads share a key (G of them)."""
    B, S, H, E = query_BxSxHxE.shape
    C, _, L = keys_CxExL.shape
    K, G = C // B, H * B // C
    query_CxQxE = query_BxSxHxE.reshape(B, S, K, G, E).transpose(0, 2, 3, 1, 4).reshape(C, G * S, E)
    scores_CxQxL = jnp.matmul(query_CxQxE, keys_CxExL, preferred_element_type=jnp.float32)
    scores = jnp.where(visible, scores_CxQxL.reshape(B, K, G, S, L) * E**-0.5, -1e30)
    shares_CxQxL = jax.nn.softmax(scores, axis=-1).reshape(C, G * S, L).astype(query_BxSxHxE.dtype)
    mixed_CxQxE = jnp.matmul(shares_CxQxL, values_CxLxE)
    return mixed_CxQxE.reshape(B, K, G, S, E).transpose(0, 3, 1, 2, 4).reshape(B, S, H, E)


def _length(cache: Cache) -> int:
    keys: jax.Array = cache[0][0] if isinstance(cache, list) else cache[0]
    return int(keys.shape[-1])


def _several_devices() -> bool:
    return has_mesh() and jax.sharding.get_abstract_mesh().size > 1

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aura.model.attention import causal_attention
from aura.model.model import EPSILON, Block, LanguageModel, ModelConfig, initial_model, rms_norm, rotate
from tests.strict_dtypes import strict_dtypes  # noqa: F401 - for every test of this module

SIZES = {"vocab_size": 50, "layers": 3, "width": 16, "heads": 4, "kv_heads": 2, "hidden": 24, "tied_embeddings": True}
TOKENS = jax.random.randint(jax.random.key(1), (2, 12), 0, 50)


logits, features = jax.jit(LanguageModel.__call__), jax.jit(LanguageModel.features)
attend = partial(causal_attention, implementation="plain")


@jax.jit
def attention(block: Block, y: jax.Array) -> jax.Array:
    return block.attention(y, jnp.arange(y.shape[1]), attend)


@jax.jit
def layer(block: Block, x: jax.Array) -> jax.Array:
    return block(x, jnp.arange(x.shape[1]), attend)


def model(**changes: object) -> LanguageModel:
    return initial_model(ModelConfig(**(SIZES | changes)), 0)


def close(one: jax.Array, other: jax.Array, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("position", [0, 5, 11])
def test_logits_depend_on_this_and_earlier_tokens_only(position: int):
    net = model()
    x = net.embedding[...][TOKENS]

    def logit_sum(x: jax.Array) -> jax.Array:
        out, _ = jax.lax.scan(lambda x, block: (layer(block, x), None), x, net.blocks)
        return out[:, position].sum()

    slopes = np.abs(jax.jit(jax.grad(logit_sum))(x)).sum(axis=(0, 2))
    assert (slopes[: position + 1] > 0).all()
    assert (slopes[position + 1 :] == 0).all()


def test_rotated_products_depend_on_the_distance_alone():
    query, key = jax.random.normal(jax.random.key(0), (2, 8))
    rotated = [rotate(jnp.broadcast_to(vector, (1, 20, 1, 8)), jnp.arange(20))[0, :, 0] for vector in (query, key)]
    products = rotated[0] @ rotated[1].T  # of positions i and j
    for distance in (-7, 0, 3):
        diagonal = jnp.diagonal(products, offset=distance)
        close(diagonal, jnp.full_like(diagonal, diagonal[0]))
    assert abs(products[0, 0] - products[0, 3]) > 1e-2


def test_rotation_keeps_lengths_and_leaves_the_first_position_alone():
    x = jax.random.normal(jax.random.key(0), (2, 9, 3, 8))
    close(jnp.linalg.norm(rotate(x, jnp.arange(9)), axis=-1), jnp.linalg.norm(x, axis=-1))
    close(rotate(x, jnp.arange(9))[:, 0], x[:, 0])


def test_rms_norm_divides_by_the_root_mean_square():
    x = 5 * jax.random.normal(jax.random.key(0), (2, 3, 16))
    scaled = rms_norm(x, jnp.full(16, 2.0))
    close(jnp.sqrt(jnp.mean(scaled**2, axis=-1)), jnp.full((2, 3), 2.0), tolerance=EPSILON + 1e-5)
    close(scaled / x, jnp.broadcast_to((scaled / x)[..., :1], x.shape))


def test_grouped_query_attention_is_attention_with_each_key_value_head_repeated():
    grouped = model(kv_heads=2, layers=1).blocks
    repeated = model(kv_heads=4, layers=1).blocks
    for name in ("query", "output"):
        setattr(repeated, name, getattr(grouped, name))
    for name in ("key", "value"):
        weights_NxDxKxE = getattr(grouped, name)[...]
        getattr(repeated, name)[...] = jnp.repeat(weights_NxDxKxE, 2, axis=2)
    y = jax.random.normal(jax.random.key(2), (2, 7, 16))
    close(attention(_layer(grouped, 0), y), attention(_layer(repeated, 0), y))


def test_attention_is_the_textbook_formula():
    block = _layer(model(kv_heads=4).blocks, 1)
    y_1xSxD = jax.random.normal(jax.random.key(2), (1, 6, 16))
    query, key = (
        rotate(jnp.stack([y_1xSxD @ weights[...][:, head] for head in range(4)], axis=2), jnp.arange(6))
        for weights in (block.query, block.key)
    )
    expected = jnp.zeros((6, 16))
    for head in range(4):
        scores_SxS = query[0, :, head] @ key[0, :, head].T / jnp.sqrt(4)
        visible_SxS = jnp.where(jnp.tril(jnp.ones((6, 6))) > 0, scores_SxS, -jnp.inf)
        mixed = jax.nn.softmax(visible_SxS, axis=-1) @ (y_1xSxD[0] @ block.value[...][:, head])
        expected += mixed @ block.output[...][head]
    close(attention(block, y_1xSxD)[0], expected)


def test_scanning_over_layers_is_a_loop_over_layers():
    net = model()
    x = 4 * net.embedding[...][TOKENS]  # 4 is the root of the width
    for number in range(net.config.layers):
        x = layer(_layer(net.blocks, number), x)
    close(features(net, TOKENS), rms_norm(x, net.final_norm[...]))


def test_layers_start_with_different_weights():
    first, second = (_layer(model().blocks, number).query[...] for number in (0, 1))
    assert not np.allclose(first, second)


def test_tied_output_weights_are_the_embeddings_and_untied_ones_their_own():
    tied, untied = model(), model(tied_embeddings=False)
    close(logits(tied, TOKENS), features(tied, TOKENS) @ tied.embedding[...].T)
    close(logits(untied, TOKENS), features(untied, TOKENS) @ untied.head[...].T)
    assert _parameters(untied) - _parameters(tied) == 50 * 16


def test_the_number_of_parameters_is_the_closed_form():
    layer = 2 * 16 * 16 + 2 * 16 * 8 + 3 * 16 * 24 + 2 * 16  # query and output, key and value, SwiGLU, scales
    assert _parameters(model()) == 50 * 16 + 3 * layer + 16


def test_a_new_model_gives_every_piece_about_the_same_probability():
    new = logits(model(vocab_size=2000, width=64), TOKENS)
    assert float(jnp.std(new)) < 0.3


def test_the_seed_decides_the_weights():
    config = ModelConfig(**SIZES)
    weights = [initial_model(config, seed).embedding[...] for seed in (0, 0, 1)]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


def _layer(blocks: Block, number: int) -> Block:
    return jax.tree.map(lambda leaf: leaf[number], blocks)


def _parameters(net: LanguageModel) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(net))

"""Several texts in one window: each is computed as if it stood alone."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aura.model import attention
from aura.model.attention import _splash, causal_attention
from aura.model.mesh import make_mesh
from aura.model.model import Compute, LanguageModel, ModelConfig, initial_model, positions_within
from tests.strict_dtypes import strict_dtypes  # noqa: F401 - for every test of this module

CONFIG = ModelConfig(
    vocab_size=50, layers=3, width=16, heads=4, kv_heads=2, hidden=24, tied_embeddings=True, affect=True
)
SEGMENTS = np.array([[1] * 5 + [2] * 1 + [3] * 8 + [0] * 2, [7] * 16], np.int32)
TOKENS = np.random.default_rng(0).integers(0, 50, SEGMENTS.shape).astype(np.int32)
AFFECT = np.random.default_rng(1).normal(size=(*SEGMENTS.shape, 8)).astype(np.float32)
PLAIN = Compute()
WAYS = [PLAIN, Compute("bfloat16", remat=True, unroll=2)]
features = jax.jit(LanguageModel.features)


def model(compute: Compute = PLAIN) -> LanguageModel:
    net = initial_model(CONFIG, 0, compute)
    net.affect[...] = jax.random.normal(jax.random.key(2), net.affect[...].shape)
    return net


def texts(row: int) -> list[slice]:
    """Where each text of a window stands, without the padding."""
    bounds = [0, *np.flatnonzero(np.diff(SEGMENTS[row])) + 1, SEGMENTS.shape[1]]
    found = [slice(begin, end) for begin, end in itertools.pairwise(bounds)]
    return [place for place in found if SEGMENTS[row, place.start]]


@pytest.mark.parametrize("compute", WAYS, ids=str)
def test_a_text_in_a_window_has_the_features_that_it_has_alone(compute: Compute):
    net = model(compute)
    packed = features(net, TOKENS, AFFECT, SEGMENTS)
    assert bool(jnp.isfinite(packed).all()), "padding too"
    tolerance = 1e-5 if compute.dtype == "float32" else 0.05
    for place in texts(0):
        tokens, affect = (
            np.roll(array, -place.start, axis=1) for array in (TOKENS, AFFECT)
        )  # what follows is not seen
        alone = features(net, tokens, affect)[0, : place.stop - place.start]
        close = partial(np.testing.assert_allclose, atol=tolerance, rtol=tolerance)
        close(packed[0, place].astype(jnp.float32), alone.astype(jnp.float32))


def test_nothing_flows_from_one_text_to_another():
    net = model()

    @jax.jit
    @jax.grad
    def slope(affect: jax.Array, weight_BxS: jax.Array) -> jax.Array:
        return (net.features(TOKENS, affect, SEGMENTS) ** 3 * weight_BxS[:, :, None]).sum()

    for place in texts(0):
        weight = np.zeros(SEGMENTS.shape, np.float32)
        weight[0, place] = 1
        found = np.abs(np.asarray(slope(AFFECT, weight))).sum(axis=2)
        assert (found[0, place] > 0).all()
        found[0, place] = 0
        assert (found == 0).all()


def test_positions_begin_anew_with_each_text():
    expected = np.zeros(SEGMENTS.shape, np.int32)
    for row, column in np.ndindex(*SEGMENTS.shape):
        same = column and SEGMENTS[row, column] == SEGMENTS[row, column - 1]
        expected[row, column] = expected[row, column - 1] + 1 if same else 0
    np.testing.assert_array_equal(positions_within(SEGMENTS), expected)
    np.testing.assert_array_equal(positions_within(np.ones((1, 4), np.int32)), [[0, 1, 2, 3]])


@pytest.mark.parametrize("axes", [(1, 1), (2, 1), (1, 2)], ids=["data", "fsdp", "tensor"])
def test_a_mesh_gives_the_numbers_of_one_device(axes: tuple[int, int]):
    expected = features(model(), TOKENS, AFFECT, SEGMENTS)
    with jax.set_mesh(make_mesh(*axes, jax.devices()[:2])):
        net = jax.jit(partial(LanguageModel, CONFIG, 0))()
        place = jax.sharding.PartitionSpec(("data", "fsdp"))
        net.affect[...] = jax.device_put(model().affect[...], jax.sharding.PartitionSpec(None, "fsdp"))
        found = features(net, *(jax.device_put(array, place) for array in (TOKENS, AFFECT, SEGMENTS)))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("seq_len", [5, 100])
def test_the_plain_kernel_masks_as_the_formula_says(seq_len: int):
    query, key, value = _inputs(seq_len, 8)
    segments = jnp.sort(jax.random.randint(jax.random.key(5), (2, seq_len), 0, 4), axis=1)
    same = segments[:, None, :, None] == segments[:, None, None, :]
    expected = jax.nn.dot_product_attention(query, key, value, mask=same, is_causal=True)
    for kernel in ("plain", "cudnn"):  # the latter has no segments, and runs on no CPU
        mixed = jax.jit(causal_attention, static_argnums=3)(query, key, value, kernel, segments)
        np.testing.assert_allclose(mixed, expected, atol=2e-6)


def test_the_tpu_kernel_gives_the_slopes_of_the_plain_one():
    query, key, value = _inputs(128, 128)
    segments = jnp.asarray(np.repeat([[1, 2, 3, 0], [1, 1, 2, 0]], 32, axis=1).astype(np.int32))

    def total(kernel, *arrays: jax.Array) -> jax.Array:
        return (kernel(*arrays) ** 2).sum()

    plain = partial(causal_attention, implementation="plain", segments_BxS=segments)
    splash = partial(_splash, segments_BxS=segments, interpret=True)
    slopes = [jax.jit(jax.value_and_grad(partial(total, kernel), (0, 1, 2))) for kernel in (plain, splash)]
    (ours, our_slopes), (theirs, their_slopes) = (slope(query, key, value) for slope in slopes)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    for one, other in zip(our_slopes, their_slopes, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4)


def test_the_tpu_kernel_with_segments_and_its_gradient_are_lowered_for_a_tpu():
    def total(*arrays: jax.Array) -> jax.Array:
        return (causal_attention(*arrays[:3], "splash", arrays[3]) ** 2).sum()

    shapes = [jax.ShapeDtypeStruct(array.shape, array.dtype) for array in _inputs(128, 128)]
    traced = jax.jit(jax.grad(total, (0, 1, 2))).trace(*shapes, jax.ShapeDtypeStruct((2, 128), np.int32))
    assert "tpu_custom_call" in traced.lower(lowering_platforms=("tpu",)).as_text()


def _inputs(seq_len: int, width: int) -> list[jax.Array]:
    keys = jax.random.split(jax.random.key(3), 3)
    return [jax.random.normal(keys[number], (2, seq_len, heads, width)) for number, heads in enumerate((4, 2, 2))]


@pytest.mark.parametrize(("seq_len", "block"), [(300, 16), (257, 64)])
def test_small_blocks_give_the_numbers_and_slopes_of_large_ones(monkeypatch, seq_len: int, block: int):
    arrays = _inputs(seq_len, 8)
    segments = jnp.sort(jax.random.randint(jax.random.key(5), (2, seq_len), 0, 4), axis=1)

    def total(*arrays: jax.Array) -> jax.Array:
        return (causal_attention(*arrays, "cudnn", segments) ** 2).sum()

    found = []
    for size in (seq_len, block):
        monkeypatch.setattr(attention, "SEGMENT_BLOCK", size)
        found.append(jax.jit(jax.value_and_grad(total, (0, 1, 2)))(*arrays))
        jax.clear_caches()
    for one, other in zip(*(jax.tree.leaves(numbers) for numbers in found), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_the_scores_of_a_long_window_are_never_all_in_memory():
    """Of 8,192 positions and 4 heads, S x S scores would take 1 GB, and their gradient as much again."""
    query, key, value = (jax.ShapeDtypeStruct((1, 8192, heads, 16), np.float32) for heads in (4, 2, 2))

    def total(*arrays: jax.Array) -> jax.Array:
        return (causal_attention(*arrays[:3], "plain", arrays[3]) ** 2).sum()

    lowered = jax.jit(jax.grad(total, (0, 1, 2))).lower(query, key, value, jax.ShapeDtypeStruct((1, 8192), np.int32))
    assert lowered.compile().memory_analysis().temp_size_in_bytes < 300e6

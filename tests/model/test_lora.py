"""Adapters: nothing at first, the sum of matrices at the end, and the same gradients in between."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aura.core.errors import UserError
from aura.model.lora import INPUT_AXES, Adapter, LoraConfig, adapted, merged
from aura.model.mesh import make_mesh
from aura.model.model import Compute, LanguageModel, ModelConfig, initial_model
from aura.training.generation import continuations
from tests.strict_dtypes import strict_dtypes  # noqa: F401 - for every test of this module

CONFIG = ModelConfig(vocab_size=50, layers=3, width=16, heads=4, kv_heads=2, hidden=24, tied_embeddings=False)
ALL = LoraConfig(rank=2, alpha=3.0, tokens=(7, 30, 3))
TOKENS = np.concatenate([np.random.default_rng(0).integers(0, 50, (2, 13)), [[7, 3, 30], [49, 0, 7]]], axis=1)
SEGMENTS = np.array([[1] * 6 + [2] * 8 + [0] * 2, [3] * 16], np.int32)
PLAIN = Compute()
new_adapter, merge = jax.jit(Adapter, static_argnums=(1, 2)), jax.jit(merged)


def model(compute: Compute = PLAIN, **changes: object) -> LanguageModel:
    return initial_model(ModelConfig(**(vars(CONFIG) | changes)), 0, compute)


def trained(net: LanguageModel, config: LoraConfig = ALL) -> Adapter:
    """An adapter with numbers everywhere."""
    fresh = new_adapter(net, config, 4)
    noise = iter(jax.random.split(jax.random.key(9), 99))
    return jax.tree.map(lambda leaf: leaf + 0.3 * jax.random.normal(next(noise), leaf.shape), fresh)


@jax.jit
def logits(net: LanguageModel, segments: jax.Array | None = None) -> jax.Array:
    table = net.output_table.astype(jnp.float32)
    return net.features(TOKENS, segments_BxS=segments).astype(jnp.float32) @ table.T


@jax.jit
@jax.value_and_grad
def loss(adapter: Adapter, net: LanguageModel, tokens: jax.Array) -> jax.Array:
    changed = adapted(net, adapter)
    x = changed.features(tokens)
    products = jnp.einsum("BSD,VD->BSV", x, changed.output_table.astype(x.dtype), preferred_element_type=jnp.float32)
    return (products**2).mean()


@pytest.mark.parametrize("config", [ALL, LoraConfig(rank=0, alpha=1.0), LoraConfig(rank=0, alpha=1.0, tokens=(1, 2))])
def test_a_new_adapter_changes_no_bit(config: LoraConfig):
    net = model()
    adapter = new_adapter(net, config, 0)
    expected = logits(net)
    np.testing.assert_array_equal(logits(adapted(net, adapter)), expected)
    np.testing.assert_array_equal(logits(merge(net, adapter)), expected)
    if not config.rank and not config.tokens:
        assert not jax.tree.leaves(adapter)


@pytest.mark.parametrize(
    ("compute", "changes"),
    [
        (PLAIN, {}),
        (Compute(remat=True, unroll=2), {"tied_embeddings": True}),
        (Compute(unroll=3), {"affect": True, "qk_norm": True}),
    ],
    ids=["plain", "remat, tied", "unrolled, affect"],
)
def test_a_merged_model_gives_the_numbers_of_the_adapted_one(compute: Compute, changes: dict):
    net = model(compute, **changes)
    adapter = trained(net)
    for segments in (None, SEGMENTS):
        apart = logits(adapted(net, adapter), segments)
        np.testing.assert_allclose(logits(merge(net, adapter), segments), apart, atol=1e-5, rtol=1e-5)
        assert float(jnp.abs(apart - logits(net, segments)).max()) > 0.1


def test_merging_is_the_sum_in_float64_and_keeps_the_models_form():
    net = model()
    adapter = trained(net)
    whole = merge(net, adapter)
    assert jax.tree.structure(whole) == jax.tree.structure(net)
    for name, inputs in INPUT_AXES.items():
        a, b, base = (
            np.asarray(leaf, np.float64) for leaf in (*_factors(adapter, name), getattr(net.blocks, name)[...])
        )
        rows = a.shape[1 : 1 + inputs]
        expected = base + 1.5 * np.stack([np.tensordot(one, other, 1) for one, other in zip(a, b, strict=True)])
        assert rows == base.shape[1 : 1 + inputs]
        np.testing.assert_allclose(getattr(whole.blocks, name)[...], expected, atol=1e-6)
    for name in ("embedding", "head"):
        table, rows = (np.array(getattr(one, name)[...]) for one in (net, adapter))
        table[[*ALL.tokens]] = rows
        np.testing.assert_array_equal(getattr(whole, name)[...], table)


def test_gradients_are_those_of_the_sum_by_the_chain_rule():
    """For W + s A B: s dW B' for A, s A' dW for B, and the rows of a table's for rows."""
    net = model()
    adapter = trained(net)
    _, slopes = loss(adapter, net, TOKENS)
    assert jax.tree.structure(slopes) == jax.tree.structure(adapter), "no leaf of the base has a gradient"

    @jax.jit
    @jax.grad
    def of_weights(net: LanguageModel) -> jax.Array:
        return (jnp.einsum("BSD,VD->BSV", net.features(TOKENS), net.output_table) ** 2).mean()

    whole = of_weights(merge(net, adapter))
    for name, inputs in INPUT_AXES.items():
        a, b, dw = (
            np.asarray(leaf, np.float64) for leaf in (*_factors(adapter, name), getattr(whole.blocks, name)[...])
        )
        da, db = _factors(slopes, name)
        for layer in range(CONFIG.layers):
            outputs = b.ndim - 2
            expected = 1.5 * np.tensordot(dw[layer], b[layer], (range(inputs, dw.ndim - 1), range(1, 1 + outputs)))
            np.testing.assert_allclose(da[layer], expected, atol=2e-5, rtol=1e-3)
            expected = 1.5 * np.tensordot(a[layer], dw[layer], (range(inputs), range(inputs)))
            np.testing.assert_allclose(db[layer], expected, atol=2e-5, rtol=1e-3)
    for name in ("embedding", "head"):
        rows = getattr(whole, name)[...][jnp.array(ALL.tokens)]
        np.testing.assert_allclose(getattr(slopes, name)[...], rows, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("axes", [(1, 1), (2, 1), (1, 2)], ids=["data", "fsdp", "tensor"])
def test_a_mesh_gives_the_gradients_of_one_device_and_cuts_what_it_cuts_of_the_matrix(axes: tuple[int, int]):
    net = model()
    expected = loss(trained(net), net, TOKENS)
    with jax.set_mesh(make_mesh(*axes, jax.devices()[:2])):
        net = jax.jit(partial(LanguageModel, CONFIG, 0))()
        adapter = new_adapter(net, ALL, 4)
        target = jax.tree.map(lambda leaf: leaf.sharding, adapter)
        adapter = jax.device_put(jax.device_get(trained(model())), target)
        places = jax.sharding.PartitionSpec(("data", "fsdp"))
        found = loss(adapter, net, jax.device_put(TOKENS, places))
        whole = jax.device_get(merge(net, adapter))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5, rtol=1e-4)
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(merge(model(), trained(model()))), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    cut = {name: [str(leaf.sharding.spec) for leaf in _factors(adapter, name)] for name in ("query", "output")}
    assert ["fsdp" in cut["query"][0], "tensor" in cut["query"][1]] == [True, True]
    assert ["tensor" in cut["output"][0], "fsdp" in cut["output"][1]] == [True, True]
    assert "fsdp" in str(adapter.embedding[...].sharding.spec)


def test_what_is_drawn_for_a_matrix_depends_on_the_seed_and_its_name_alone():
    net = model()
    every, one = (new_adapter(net, LoraConfig(2, 1.0, names), 0) for names in (tuple(INPUT_AXES), ("up",)))
    np.testing.assert_array_equal(every.up.a[...], one.up.a[...])
    assert not np.array_equal(every.up.a[...], every.gate.a[...])
    assert not np.array_equal(every.up.a[...], Adapter(net, LoraConfig(2, 1.0), 1).up.a[...])
    assert not hasattr(one, "gate")
    assert not np.any(every.up.b[...])
    assert abs(float(jnp.std(every.down.a[...])) - 24**-0.5) < 0.06


def test_bfloat16_computes_with_it_and_trains_float32():
    net = model(Compute("bfloat16", remat=True))
    adapter = trained(net)
    value, slopes = loss(adapter, net, TOKENS)
    expected, _ = loss(adapter, model(), TOKENS)
    assert {leaf.dtype for leaf in jax.tree.leaves(slopes)} == {jnp.dtype("float32")}
    np.testing.assert_allclose(value, expected, rtol=0.05)


def test_texts_are_continued_with_an_adapter_as_with_its_sum():
    net = model()
    adapter = trained(net)
    apart, whole = (
        continuations(one, TOKENS, jax.random.key(0), 0.0, tokens=5)
        for one in (adapted(net, adapter), merged(net, adapter))
    )
    np.testing.assert_array_equal(apart, whole)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"matrices": ("query", "q_proj")}, "got q_proj"),
        ({"rank": -1}, "rank of at least 0"),
        ({"tokens": (3, 3)}, "different"),
    ],
)
def test_a_shape_that_no_adapter_has_is_refused(changes: dict, words: str):
    with pytest.raises(UserError, match=words):
        LoraConfig(**({"rank": 1, "alpha": 1.0} | changes))


def test_a_token_that_the_model_does_not_know_is_refused():
    with pytest.raises(UserError, match="below 50, got 50"):
        Adapter(model(), LoraConfig(1, 1.0, tokens=(50,)), 0)


def _factors(adapter: Adapter, name: str) -> tuple[jax.Array, jax.Array]:
    return getattr(adapter, name).a[...], getattr(adapter, name).b[...]

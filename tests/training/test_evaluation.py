import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aura.core.errors import UserError
from aura.model.model import LanguageModel, ModelConfig, initial_model
from aura.training.evaluation import HeldOut, entropy_bits
from tests.strict_dtypes import strict_dtypes  # noqa: F401 - for every test of this module

CONFIG = ModelConfig(vocab_size=16, layers=1, width=8, heads=2, kv_heads=1, hidden=8, tied_embeddings=False)
BYTES = np.array([0, 0, 0, 0, *[3] * 12], np.int32)  # four special tokens, then pieces of three bytes
SOURCES = [*"aaaabbb"]  # of the windows
WINDOWS = np.random.default_rng(0).integers(4, 16, (7, 11)).astype(np.int32)


def uniform_model() -> LanguageModel:
    model = initial_model(CONFIG, 0)
    model.head[...] = jnp.zeros_like(model.head[...])
    return model


def test_a_uniform_model_needs_the_closed_form():
    held_out = HeldOut(WINDOWS, SOURCES, BYTES, batch_size=4)
    assert held_out.bits_per_byte(uniform_model())[0] == pytest.approx(np.log2(16) / 3, rel=1e-6)
    assert (held_out.tokens, held_out.bytes) == (70, 210)


def test_special_targets_are_not_counted():
    windows = WINDOWS.copy()
    windows[:, 5] = 2  # <eos>
    held_out = HeldOut(windows, SOURCES, BYTES, batch_size=4)
    assert held_out.tokens == 63
    assert held_out.bits_per_byte(uniform_model())[0] == pytest.approx(np.log2(16) / 3, rel=1e-6)


def test_the_batch_size_changes_nothing():
    model = initial_model(CONFIG, 0)
    one, other = (HeldOut(WINDOWS, SOURCES, BYTES, batch_size).bits_per_byte(model)[0] for batch_size in (1, 5))
    assert one == pytest.approx(other, rel=1e-5)


def test_bits_per_byte_are_the_models_own_probabilities():
    model = initial_model(CONFIG, 0)
    chosen = jax.nn.log_softmax(model(WINDOWS[:, :-1]))
    nats = -np.take_along_axis(np.asarray(chosen), WINDOWS[:, 1:, None], axis=-1).sum()
    assert HeldOut(WINDOWS, SOURCES, BYTES, 3).bits_per_byte(model)[0] == pytest.approx(
        nats / np.log(2) / 210, rel=1e-5
    )


def test_no_context_free_model_beats_the_baseline():
    held_out = HeldOut(WINDOWS, SOURCES, BYTES, batch_size=7)
    targets = WINDOWS[:, 1:].flatten()
    counts = np.bincount(targets, minlength=16)
    for other in (counts + 1, np.ones(16), np.random.default_rng(1).random(16) + 0.1):
        cost = -np.log2(other / other.sum())[targets].sum() / held_out.bytes
        assert cost > held_out.context_free_bits_per_byte
    best = -np.log2(counts / counts.sum(), where=counts > 0, out=np.zeros(16))[targets].sum() / held_out.bytes
    assert best == pytest.approx(held_out.context_free_bits_per_byte)


def test_entropy_of_four_equal_ids_is_two_bits():
    assert entropy_bits(np.array([3, 5, 7, 9], np.int32)) == 2


def test_held_out_tokens_without_text_say_so():
    with pytest.raises(UserError, match=r"special tokens only. Raise select\.held_out"):
        HeldOut(np.ones((2, 9), np.int32), SOURCES[:2], BYTES, batch_size=2)


def test_each_source_has_its_own_bits_per_byte():
    model = initial_model(CONFIG, 0)
    whole, by_source = HeldOut(WINDOWS, SOURCES, BYTES, 3).bits_per_byte(model)
    alone = HeldOut(WINDOWS[4:], SOURCES[4:], BYTES, 3).bits_per_byte(model)[0]
    assert by_source["b"] == pytest.approx(alone, rel=1e-6)
    assert whole == pytest.approx((4 * by_source["a"] + 3 * by_source["b"]) / 7, rel=1e-6)  # bytes are 4 to 3

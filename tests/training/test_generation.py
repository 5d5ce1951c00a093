import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aura.model.model import LanguageModel, ModelConfig, initial_model
from aura.training.generation import continuations, empty_cache, next_logits, read, ready
from tests.strict_dtypes import strict_dtypes  # noqa: F401 - for every test of this module

CONFIG = ModelConfig(vocab_size=30, layers=2, width=8, heads=2, kv_heads=1, hidden=8, tied_embeddings=False)
PROMPTS = np.random.default_rng(0).integers(0, 30, (3, 5)).astype(np.int32)


def sharp_model() -> LanguageModel:
    """A model so sure of itself that drawing is choosing the likeliest."""
    model = initial_model(CONFIG, 0)
    model.head[...] *= 1e5
    return model


def test_each_token_follows_from_all_before_it():
    model = sharp_model()
    made = np.asarray(continuations(model, PROMPTS, jax.random.key(0), 0.8, tokens=6))
    text = np.concatenate([PROMPTS, made], axis=1)
    likeliest = jnp.argmax(model(text), axis=-1)  # after each position
    np.testing.assert_array_equal(made, likeliest[:, 4:-1])


def test_the_key_decides_what_is_drawn():
    model = initial_model(CONFIG, 0)
    drawn = [np.asarray(continuations(model, PROMPTS, jax.random.key(key), 0.8, tokens=20)) for key in (0, 0, 1)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_tokens_are_drawn_with_the_models_probabilities():
    model = initial_model(CONFIG, 0)
    model.head[...] *= 20
    prompts = np.repeat(PROMPTS[:1], 20_000, axis=0)
    drawn = np.asarray(continuations(model, prompts, jax.random.key(0), 0.8, tokens=1))[:, 0]
    expected = jax.nn.softmax(model(PROMPTS[:1])[0, -1] / 0.8)
    np.testing.assert_allclose(np.bincount(drawn, minlength=30) / 20_000, expected, atol=0.015)


def test_temperature_zero_takes_the_likeliest_as_the_model_without_a_cache_does():
    model = initial_model(CONFIG, 0)
    model.head[...] *= 20
    made = np.asarray(continuations(model, PROMPTS, jax.random.key(0), 0.0, tokens=9))
    text = np.pad(PROMPTS, [(0, 0), (0, 9)])  # one length to compile for; a token does not see those after it
    for end in range(5, 14):
        text[:, end] = np.argmax(model(text)[:, end - 1], axis=-1)
    np.testing.assert_array_equal(made, text[:, 5:])


@pytest.mark.parametrize("cut", [1, 4])
def test_logits_with_a_cache_are_those_without(cut: int):
    model = initial_model(CONFIG, 0)
    net = ready(model)
    cache = read(net, PROMPTS[:, :cut], 0, empty_cache(model, 3, 7))
    came, _ = next_logits(net, PROMPTS[:, cut:], cut, cache)
    np.testing.assert_allclose(came, model(PROMPTS)[:, -1], atol=1e-6)


def test_a_prompt_that_begins_within_its_row_is_continued_as_if_it_stood_alone():
    model, alone = sharp_model(), []
    begins = np.array([0, 3, 1])
    for prompt, begin in zip(PROMPTS, begins, strict=True):
        alone.append(np.asarray(continuations(model, prompt[None, begin:], jax.random.key(0), 0.8, tokens=6))[0])
    together = continuations(model, PROMPTS, jax.random.key(0), 0.8, begins, tokens=6)
    np.testing.assert_array_equal(together, alone)

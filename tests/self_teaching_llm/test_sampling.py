import jax
import jax.numpy as jnp
import numpy as np

from aura.self_teaching_llm.model import LanguageModel, ModelConfig, initial_model
from aura.self_teaching_llm.sampling import TEMPERATURE, continuations

CONFIG = ModelConfig(vocab_size=30, layers=2, width=8, heads=2, kv_heads=1, hidden=8, tied_embeddings=False)
PROMPTS = np.random.default_rng(0).integers(0, 30, (3, 5)).astype(np.int32)


def sharp_model() -> LanguageModel:
    """A model so sure of itself that drawing is choosing the likeliest."""
    model = initial_model(CONFIG, 0)
    model.head[...] *= 1e5
    return model


def test_each_token_follows_from_all_before_it():
    model = sharp_model()
    made = np.asarray(continuations(model, PROMPTS, jax.random.key(0), tokens=6))
    text = np.concatenate([PROMPTS, made], axis=1)
    likeliest = jnp.argmax(model(text), axis=-1)  # after each position
    np.testing.assert_array_equal(made, likeliest[:, 4:-1])


def test_the_key_decides_what_is_drawn():
    model = initial_model(CONFIG, 0)
    drawn = [np.asarray(continuations(model, PROMPTS, jax.random.key(key), tokens=20)) for key in (0, 0, 1)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_tokens_are_drawn_with_the_models_probabilities():
    model = initial_model(CONFIG, 0)
    model.head[...] *= 20
    prompts = np.repeat(PROMPTS[:1], 20_000, axis=0)
    drawn = np.asarray(continuations(model, prompts, jax.random.key(0), tokens=1))[:, 0]
    expected = jax.nn.softmax(model(PROMPTS[:1])[0, -1] / TEMPERATURE)
    np.testing.assert_allclose(np.bincount(drawn, minlength=30) / 20_000, expected, atol=0.015)

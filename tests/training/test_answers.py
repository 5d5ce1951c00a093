"""Answers token by token: those of the model without a cache, whatever was read before."""

from itertools import islice

import jax
import numpy as np
import pytest

from aura.model.model import LanguageModel, ModelConfig, initial_model
from aura.training import answers
from aura.training.answers import Answerer, Drawing
from aura.training.generation import continuations
from tests.strict_dtypes import strict_dtypes  # noqa: F401 - for every test of this module

CONFIG = ModelConfig(vocab_size=30, layers=2, width=8, heads=2, kv_heads=1, hidden=8, tied_embeddings=False)
LIKELIEST = Drawing(temperature=0)


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    made = initial_model(CONFIG, 0)
    made.head[...] *= 20
    return made


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "PART", 4)


def prompt(seed: int, length: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 30, length).astype(np.int32)


def likeliest(model: LanguageModel, ids: np.ndarray, tokens: int) -> list[int]:
    return np.asarray(continuations(model, ids[None], jax.random.key(0), 0.0, tokens=tokens))[0].tolist()


def test_answers_are_the_likeliest_continuations_for_prompts_of_any_length(model: LanguageModel):
    for length in (1, 2, 4, 5, 9):
        ids = prompt(length, length)
        assert [*Answerer(model, 24, LIKELIEST).answer(ids, 6)] == likeliest(model, ids, 6)


def test_what_was_read_before_changes_no_answer(model: LanguageModel):
    answerer, first = Answerer(model, 24, LIKELIEST), prompt(1, 7)
    said = [*answerer.answer(first, 5)]
    longer = np.concatenate([first, np.array(said, np.int32), prompt(2, 3)])  # the next turn of the same chat
    assert [*answerer.answer(longer, 5)] == likeliest(model, longer, 5)
    other = np.concatenate([first[:3], prompt(3, 4)])  # the oldest turns were dropped
    assert [*islice(answerer.answer(other, 5), 2)] == likeliest(model, other, 2)  # and this answer was cut short
    assert [*answerer.answer(other[:5], 5)] == likeliest(model, other[:5], 5)


def test_an_answer_ends_with_the_context(model: LanguageModel):
    answerer = Answerer(model, 10, LIKELIEST)
    assert [*answerer.answer(prompt(0, 7), 99)] == likeliest(model, prompt(0, 7), 3)
    assert len([*answerer.answer(prompt(0, 9), 99)]) == 1
    for length in (0, 10):
        with pytest.raises(ValueError, match=f"expected a prompt of 1 to 9 tokens, got {length}"):
            next(answerer.answer(prompt(0, length), 1))


def test_the_seed_decides_and_no_two_answers_are_drawn_alike(model: LanguageModel):
    def drawn(seed: int) -> list[list[int]]:
        answerer = Answerer(model, 24, Drawing(temperature=2.0, seed=seed))
        return [[*answerer.answer(prompt(0, 4), 12)] for _ in range(2)]

    assert drawn(0) == drawn(0) != drawn(1)
    assert drawn(0)[0] != drawn(0)[1]


def test_a_small_top_p_is_the_likeliest(model: LanguageModel):
    drawn = [*Answerer(model, 24, Drawing(temperature=1.0, top_p=1e-6)).answer(prompt(5, 5), 8)]
    assert drawn == likeliest(model, prompt(5, 5), 8)


def test_a_cache_that_grows_while_it_is_drawn_into_changes_no_answer(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
):
    def drawn() -> list[int]:
        return [*Answerer(model, 64, Drawing(temperature=1.0)).answer(prompt(6, 5), 25)]

    at_once = drawn()
    monkeypatch.setattr(answers, "CACHE_BYTES", 0)
    monkeypatch.setattr(answers, "SHORTEST", 16)
    assert drawn() == at_once

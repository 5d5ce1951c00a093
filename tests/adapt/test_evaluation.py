import jax
import numpy as np
import pytest

from aura.adapt.evaluation import HeldOutAnswers, answered, exact_matches
from aura.adapt.exchanges import Exchanges, Room
from aura.adapt.packing import pack
from tests.adapt import reference
from tests.adapt.test_objective import TEXTS, conversations, in_float64, student, teacher
from tests.strict_dtypes import strict_dtypes  # noqa: F401 - for every test of this module

EOS = 2
PACKED = pack(conversations(), 17, 0)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_loss_and_divergence_are_those_of_the_reference(batch_size: int):
    held_out = HeldOutAnswers(PACKED, 17, 10_000, batch_size)
    measured = held_out.measure(student(), teacher(), lambda: False)
    weights, start = in_float64(student()), in_float64(teacher())
    loss = reference.objective(weights, None, TEXTS, 0.0)
    np.testing.assert_allclose(measured.loss, loss, rtol=1e-5)
    np.testing.assert_allclose(measured.divergence, reference.objective(weights, start, TEXTS, 1.0) - loss, rtol=1e-4)
    assert held_out.learnt_tokens == sum(int(marks.sum()) for _, marks in TEXTS)


def test_few_tokens_take_few_windows_and_at_least_one():
    assert HeldOutAnswers(PACKED, 17, 1, 2).learnt_tokens < HeldOutAnswers(PACKED, 17, 10_000, 2).learnt_tokens


def test_an_interruption_ends_the_measuring():
    assert HeldOutAnswers(PACKED, 17, 10_000, 2).measure(student(), student(), lambda: True) is None


def test_a_model_diverges_from_itself_by_nothing():
    assert HeldOutAnswers(PACKED, 17, 10_000, 2).measure(student(), student(), lambda: False).divergence == 0


def test_answers_are_the_likeliest_tokens_up_to_the_end():
    exchanges = Exchanges(conversations(), PACKED, Room.half(11))
    numbers = exchanges.spread(100)
    model = student()
    answers = answered(model, exchanges, numbers, 2, EOS)
    assert len(answers) == len(exchanges)
    prompts, lengths = exchanges.prompts(numbers)
    for answer, prompt, length in zip(answers, prompts, lengths, strict=True):
        text = np.concatenate([prompt[-length:], answer])
        logits = np.asarray(jax.jit(type(model).__call__)(model, np.pad(text, (0, 20 - len(text)))[None]))[0]
        np.testing.assert_array_equal(logits.argmax(axis=-1)[length - 1 : len(text) - 1], answer)
        assert EOS not in answer[:-1]


def test_an_exact_match_has_every_id_and_the_end():
    answers = [np.array(ids) for ids in ([5, EOS], [5], [5, 6, EOS])]
    references = [np.array(ids) for ids in ([5, EOS], [5, EOS], [5, 7, EOS])]
    assert exact_matches(answers, references) == pytest.approx(1 / 3)
    assert exact_matches([], []) == 0


def test_exchanges_are_spread_evenly():
    exchanges = Exchanges(conversations(), PACKED, Room.half(11))
    assert exchanges.spread(2).tolist() == [0, len(exchanges) // 2]

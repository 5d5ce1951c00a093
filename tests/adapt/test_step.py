import jax
import numpy as np

from aura.adapt.step import Answers, assembled, initial_state, make_own_step, make_step
from tests.adapt.test_objective import student, windows
from tests.adapt.test_own_answers import EOS, batch
from tests.mini_tokens import PARAMS

CHANGES = {"steps": 20, "learning_rate": 0.05, "rank": 2, "alpha": 4.0, "teacher_weight": 0.5, "teacher_decay": 0.9}
OPTIONS = PARAMS.adapt.model_copy(update=CHANGES | {"matrices": ["query", "down"]})
step, own_step = make_step(OPTIONS), make_own_step(OPTIONS, Answers(5, EOS))


def new_state() -> dict[str, object]:
    return initial_state(OPTIONS, (4, 5), student())


def test_steps_lower_the_loss_and_the_teacher_is_the_average_of_the_trained_weights():
    state, losses = new_state(), []
    for _ in range(12):
        before = jax.tree.map(np.asarray, state["teacher"])
        state, outcome = step(state, windows(), student())
        losses.append(float(outcome["loss"]))
        expected = jax.tree.map(lambda one, other: 0.9 * one + 0.1 * np.asarray(other), before, state["trained"])
        for one, other in zip(jax.tree.leaves(state["teacher"]), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    assert losses[-1] < 0.9 * losses[0]
    assert float(outcome["teacher_divergence"]) > 0


def test_own_answers_are_a_function_of_the_steps_taken():
    one, again = (own_step(new_state(), batch(), student()) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, one, again)
    later = new_state() | {"taken": new_state()["taken"] + 1}
    assert own_step(later, batch(), student())[1]["loss"] != one[1]["loss"]


def test_a_new_adapter_is_the_base_and_steps_of_both_kinds_take_the_same_batch():
    state, tokens = new_state(), windows()["tokens"][0]
    same = assembled(student(), state["trained"]).features(tokens)
    np.testing.assert_allclose(same, student().features(tokens), rtol=1e-5, atol=1e-6)
    both = batch() | {name: array[:, :2] for name, array in windows().items()}
    state, _ = step(state, both, student())
    own_step(state, both, student())

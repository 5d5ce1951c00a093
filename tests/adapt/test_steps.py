from functools import partial

import jax
import numpy as np
import optax

from aura.adapt.steps import initial_state, make_own_step, make_step
from aura.adapt.weighted_losses import Terms
from aura.model.lora import Adapter, LoraConfig, adapted
from tests.adapt.test_objective import student, windows
from tests.adapt.test_own_answers import EOS, batch

OPTIMIZER = optax.adam(0.02)
CONFIG = LoraConfig(rank=2, alpha=4.0, tokens=(4, 5))
step = make_step(OPTIMIZER, adapted, Terms(1.0, 0.5), 0.9)
own_step = make_own_step(OPTIMIZER, adapted, 0.9, seed=0, tokens=5, eos=EOS)


def new_state() -> dict[str, object]:
    return initial_state(Adapter(student(), CONFIG, 0), OPTIMIZER, teacher=True)


def test_steps_lower_the_loss_and_the_teacher_follows():
    state, losses, expected = new_state(), [], None
    for _ in range(12):
        before = jax.tree.map(np.asarray, state["teacher"])
        state, outcome = step(student(), state, windows())
        losses.append(float(outcome["loss"]))
        expected = jax.tree.map(lambda one, other: 0.9 * one + 0.1 * np.asarray(other), before, state["trained"])
        close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7)
        jax.tree.map(close, jax.tree.map(np.asarray, state["teacher"]), expected)
    assert losses[-1] < 0.9 * losses[0]
    assert float(outcome["divergence"]) > 0


def test_a_step_from_own_answers_is_a_function_of_its_number():
    one, again, other = (own_step(student(), new_state(), batch(), number) for number in (3, 3, 4))
    jax.tree.map(np.testing.assert_array_equal, one, again)
    assert one[1]["loss"] != other[1]["loss"]


def test_batches_of_both_kinds_may_come_together():
    both = batch() | {name: array[:, :2] for name, array in windows().items()}
    state, _ = step(student(), new_state(), both)
    own_step(student(), state, both, 1)

"""Spikes are found by a rule written again in numpy, and a step with one moves nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aura.core.errors import UserError
from aura.training import spikes
from aura.training.steps import train


class Numbered:
    """Batches of one number: that of the step."""

    def describe(self, step: int) -> str:
        return f"number {step}"


class Layout:
    """Puts a batch nowhere."""

    def __init__(self) -> None:
        self.put_steps: list[int] = []

    def put(self, batches: Numbered, step: int) -> dict[str, jax.Array]:
        del batches
        self.put_steps.append(step)
        return {"number": jnp.array(step)}


def judged_all(losses: list[float], limit: float | None) -> list[dict[str, float]]:
    record, told = spikes.first_record(), []
    judge = jax.jit(lambda record, loss: spikes.judged(record, loss, jnp.float32(1), limit))
    for loss in losses:
        _, record, said = judge(record, jnp.float32(loss))
        told.append({name: float(value) for name, value in said.items()})
    return told


def z_of(kept: list[float], loss: float) -> float:
    """The robust z-score in float64, with the lower of two medians."""
    window = np.sort(np.array(kept[-spikes.WINDOW :]))
    median = window[(len(window) - 1) // 2]
    spread = np.sort(np.abs(window - median))[(len(window) - 1) // 2]
    return float((loss - median) / max(spikes.NORMAL * spread, spikes.FLOOR * abs(median)))


def test_z_scores_are_those_of_numpy_and_spikes_do_not_enter_the_window():
    rng = np.random.default_rng(0)
    losses = [float(np.float32(5 - place / 100 + rng.normal() / 5)) for place in range(300)]
    for place in (100, 200, 201):
        losses[place] = 40.0
    losses[250] = float("nan")
    kept: list[float] = []
    for place, (loss, told) in enumerate(zip(losses, judged_all(losses, 20.0), strict=True)):
        expected = z_of(kept, loss) if len(kept) >= spikes.LEAST else 0.0
        np.testing.assert_allclose(told["loss_z"], expected, rtol=1e-3, atol=1e-4)
        assert told["skipped"] == (place in (100, 200, 201, 250))
        kept += [] if told["skipped"] else [loss]
    assert told["skipped_steps"] == 4


def test_without_a_limit_only_what_is_not_finite_is_a_spike():
    told = judged_all([1.0] * 40 + [1e9, float("inf"), 1.0], None)
    assert [said["skipped"] for said in told[-3:]] == [0, 1, 0]
    assert [said["skipped_in_succession"] for said in told[-3:]] == [0, 1, 0]


def test_before_enough_steps_no_finite_loss_is_a_spike():
    told = judged_all([1.0] * (spikes.LEAST - 1) + [1e6] + [1e6] * 2, 10.0)
    assert [said["skipped"] for said in told[-3:]] == [0, 1, 1]


def step(state: dict[str, jax.Array], batch: dict[str, jax.Array]) -> tuple[dict, dict]:
    loss = jnp.where(batch["number"] >= state["bad_from"], jnp.inf, 1.0)
    is_kept, record, told = spikes.judged(state["spikes"], loss, loss, None)
    weights = spikes.unless_skipped(is_kept, state["weights"] + 1, state["weights"])
    return {"weights": weights, "spikes": record, "bad_from": state["bad_from"]}, {
        "loss": loss,
        "gradient_norm": loss,
        **told,
    }


def first_state(bad_from: int) -> dict:
    return {"weights": jnp.zeros(2), "spikes": spikes.first_record(), "bad_from": jnp.array(bad_from)}


def test_three_spikes_in_succession_end_the_run_and_move_nothing(capsys: pytest.CaptureFixture[str]):
    state = first_state(4)
    with pytest.raises(UserError, match=r"at step 7 of 20: 3 steps in succession .*loss inf.*batch: number 6\. Do"):
        list(train(state, jax.jit(step), Numbered(), Layout(), 0, 20, remedy="Do."))
    assert np.asarray(state["weights"]).tolist() == [4, 4]
    said = capsys.readouterr().err
    assert "step 5 of 20 is a spike and makes no update: loss inf" in said.replace("\n", " ")
    assert spikes.last_kept_loss(state["spikes"]) == 1.0


def test_nothing_is_dispatched_past_a_step_whose_state_is_needed():
    """At all other steps the next one is under way, and its batch is there, when an outcome comes."""
    state, layout = first_state(99), Layout()
    taken = train(state, jax.jit(step), Numbered(), layout, 0, 8, settles=lambda number: number in (3, 4))
    updates = [(int(state["spikes"]["updates"]), max(layout.put_steps)) for _ in taken]
    assert [count for count, _ in updates] == [2, 3, 3, 4, 6, 7, 8, 8]
    assert [put for _, put in updates] == [1, 2, 3, 4, 5, 6, 7, 7]


def test_a_run_that_never_moved_its_weights_has_no_loss():
    with pytest.raises(UserError, match="ended without an update"):
        spikes.last_kept_loss(spikes.first_record())

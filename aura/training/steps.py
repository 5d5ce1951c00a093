"""The steps of a run, one after the other, and gradients of a batch in parts.

Everything a step needs is a function of its number (batch, learning rate), so a run has no data state and the same
devices end in the same bytes every time. The device never waits for this process: a step is dispatched, with its batch
already there, before the numbers of the step before it are fetched. A step's memory is the next one's (donation), so
nothing is dispatched past a step whose state somebody needs.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax

from aura.core.errors import UserError
from aura.training import spikes
from aura.training.batch_layout import Batches, BatchLayout

State = dict[str, Any]  # what a step changes and a checkpoint holds, such as {"model": …, "optimizer": …}
Outcome = dict[str, jax.Array]  # numbers of the batch before the step, such as {"loss": nats per token}
Step = Callable[[State, dict[str, Any]], tuple[State, Outcome]]


def accumulated(of_part: Callable[[dict[str, jax.Array]], Any], batch: dict[str, jax.Array]) -> Any:  # noqa: ANN401
    """Return the mean of a function over a batch's parts (the first axis), taken one after the other.

    Arguments:
        of_part: losses and gradients of a part, or any other pytree of numbers.
        batch: arrays by name.
    """
    parts = len(next(iter(batch.values())))
    first = of_part(jax.tree.map(lambda array: array[0], batch))
    if parts == 1:
        return first

    def add(total: Any, part: dict[str, jax.Array]) -> tuple[Any, None]:  # noqa: ANN401 - what of_part returns
        return jax.tree.map(jax.numpy.add, total, of_part(part)), None

    total, _ = jax.lax.scan(add, first, jax.tree.map(lambda array: array[1:], batch))
    return jax.tree.map(lambda leaf: leaf / parts, total)


def never(_: int) -> bool:
    """No step: what `train` takes where only the state after the last one is needed."""
    return False


def train(
    state: State,
    run_step: Step,
    batches: Batches,
    layout: BatchLayout,
    first: int,
    steps: int,
    *,
    before: Callable[[int, State], None] | None = None,
    settles: Callable[[int], bool] = never,
    remedy: str = "Lower the learning rate.",
) -> Iterator[dict[str, float]]:
    """Take the steps `first` (from 0) to `steps`; yield each one's outcome, while the next one is computed.

    `state` is what a step led to when the outcome of a settled step, or of the last one, is yielded. At other times it
    is that of the step after it, which may still be under way.

    Arguments:
        before: called with the number of a step and the state before it, which it may change.
        settles: asked once after each step (from 1): whether its state is needed before the next one begins.
        remedy: what a message about a run that diverged says to do.

    Raises:
        UserError: a number of an outcome is infinite or none and its step was not skipped, or steps were skipped
            `spikes.SUCCESSION` times in succession; it names the step and its batch.
    """
    late: tuple[int, Outcome] | None = None
    batch = layout.put(batches, first) if first < steps else {}
    for number in range(first, steps):
        if before:
            before(number, state)
        new_state, outcome = run_step(state, batch)
        state.update(new_state)
        if late:
            yield _fetched(*late, steps, batches, remedy)
        late = number, outcome
        if number + 1 < steps:
            batch = layout.put(batches, number + 1)
        if settles(number + 1):
            yield _fetched(*late, steps, batches, remedy)
            late = None
    if late:
        yield _fetched(*late, steps, batches, remedy)


def _fetched(number: int, outcome: Outcome, steps: int, batches: Batches, remedy: str) -> dict[str, float]:
    """The numbers of a step (from 0), which are waited for and looked at."""
    values = {name: float(value) for name, value in jax.device_get(outcome).items()}
    if values.get("skipped"):
        spikes.tell(number, steps, values, batches, remedy)
        return values
    for name, value in values.items():
        if not math.isfinite(value):
            raise UserError(
                f"training stopped: expected a finite {name.replace('_', ' ')}, got {value} at step {number + 1} "
                f"of {steps}. Its batch: {batches.describe(number)}. {remedy}"
            )
    return values

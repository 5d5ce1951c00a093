"""The steps of a run, one after the other, and gradients of a batch in parts.

Everything a step needs is a function of its number (batch, learning rate), so a run has no data state and the same
devices end in the same bytes every time. The loss is fetched each step, which keeps the loop simple and stops a
diverged run at the step that broke it; the wait is under a millisecond on CPU.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax

from aura.core.errors import UserError
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


def train(
    state: State,
    run_step: Step,
    batches: Batches,
    layout: BatchLayout,
    first: int,
    steps: int,
    *,
    before: Callable[[int, State], None] | None = None,
    remedy: str = "Lower the learning rate.",
) -> Iterator[dict[str, float]]:
    """Take the steps `first` (from 0) to `steps`; yield each one's outcome. After each, `state` is what it led to.

    Arguments:
        before: called with the number of a step and the state before it, which it may change.
        remedy: what a message about a run that diverged says to do.

    Raises:
        UserError: a number of an outcome is infinite or none; it names the step and its batch.
    """
    for number in range(first, steps):
        if before:
            before(number, state)
        new_state, outcome = run_step(state, layout.put(batches, number))
        state.update(new_state)
        values = {name: float(value) for name, value in outcome.items()}
        for name, value in values.items():
            if not math.isfinite(value):
                raise UserError(
                    f"training stopped: expected a finite {name.replace('_', ' ')}, got {value} at step {number + 1} "
                    f"of {steps}. Its batch: {batches.describe(number)}. {remedy}"
                )
        yield values

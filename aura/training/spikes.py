"""Spikes: steps whose loss or gradient is far above those before, or not finite; such a step makes no update.

A batch of damaged text, or a fault of arithmetic, can undo weeks of training in one step. The compiled step judges
itself, so a decision costs no wait for the device, and all processes of a mesh take the same one. The last WINDOW kept
losses and gradient norms lie in the state of the run (1 kB), so a resumed run judges as an undisturbed one does.

The measure is the robust z-score: the distance from the median, in units of 1.4826 times the median of all such
distances (Iglewicz and Hoaglin 1993). Mean and deviation would grow with the very spikes that they must find. It is
one-sided: a loss that falls is no fault. Weights and optimiser stay as they were at a skipped step, and so does the
place in the schedule of the learning rate: like a step that was never taken (as `optax.apply_if_finite` does it).
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aura.core import console
from aura.core.errors import UserError
from aura.training import distributed
from aura.training.batch_layout import Batches

WINDOW = 128  # kept steps that a step is compared with: the loss of a young run falls little in so many
LEAST = 32  # of them, before which only numbers that are not finite are spikes: fewer tell no spread
# Skipped steps after each other that end the run. Batches are drawn in random order, so spoilt ones hardly ever follow
# each other: if even the third one spikes, the fault lies in the weights, and no further batch would help.
SUCCESSION = 3
NORMAL = 1.4826  # the median distance of a normal distribution, times this, is its standard deviation
TINY = float(np.finfo(np.float32).tiny)
FLOOR = 0.02  # of the median: the least unit, for runs whose losses are almost equal

Record = dict[str, jax.Array]  # numbers and a ring of them, by name


def first_record() -> Record:
    """The record of a run without a step.

    `kept` is 2xWINDOW, float32: losses and gradient norms, a ring. Three int32 count steps: `updates` those that moved
    the weights, `skipped` the others, and `in_succession` those of them since the last update.
    """
    counts = {name: jnp.zeros((), jnp.int32) for name in ("updates", "skipped", "in_succession")}
    return {"kept": jnp.zeros((2, WINDOW), jnp.float32), **counts}


def judged(
    record: Record, loss: jax.Array, gradient_norm: jax.Array, limit: float | None
) -> tuple[jax.Array, Record, Record]:
    """Judge a step by its loss and the norm of its gradient; to be traced.

    Arguments:
        record: what `first_record` or the step before gave.
        loss: of the batch.
        gradient_norm: before clipping.
        limit: the z-score above which a step is a spike; None: only a number that is not finite is one.

    Returns whether the step is kept, the next record, and for the outcome: both z-scores (0 before LEAST updates),
    `skipped` (0 or 1), `skipped_steps` up to and with this one, and `skipped_in_succession`.
    """
    now_2 = jnp.stack([loss, gradient_norm]).astype(jnp.float32)
    z_2 = _z_scores(record["kept"], record["updates"], now_2)
    is_kept = jnp.isfinite(now_2).all()
    if limit is not None:
        is_kept &= (z_2 <= limit).all()
    place = record["updates"] % WINDOW
    taken_2xW = jnp.where(jnp.arange(WINDOW) == place, now_2[:, None], record["kept"])
    skipped = 1 - is_kept.astype(jnp.int32)
    after = {
        "kept": jnp.where(is_kept, taken_2xW, record["kept"]),
        "updates": record["updates"] + 1 - skipped,
        "skipped": record["skipped"] + skipped,
        "in_succession": (record["in_succession"] + 1) * skipped,
    }
    told = {
        "loss_z": z_2[0],
        "gradient_norm_z": z_2[1],
        "skipped": skipped,
        "skipped_steps": after["skipped"],
        "skipped_in_succession": after["in_succession"],
    }
    return is_kept, after, told


def unless_skipped(is_kept: jax.Array, after: Any, before: Any) -> Any:  # noqa: ANN401 - pytrees of one structure
    """`after` of a step that is kept, otherwise `before`; a choice by element, which the compiler fuses."""
    return jax.tree.map(lambda new, old: jnp.where(is_kept, new, old), after, before)


def last_kept_loss(record: Record) -> float:
    """The loss of the last step that moved the weights.

    Raises:
        UserError: no step did.
    """
    kept_2xW, updates = (np.asarray(record[name]) for name in ("kept", "updates"))
    if not updates:
        raise UserError("training ended without an update: no step had a finite loss and gradient.")
    return float(kept_2xW[0, (updates - 1) % WINDOW])


def tell(number: int, steps: int, values: Mapping[str, float], batches: Batches, remedy: str) -> None:
    """Print that a step (from 0) was skipped; the first process does.

    Raises:
        UserError: so many were skipped in succession.
    """
    loss, norm = (
        f"{name.replace('_', ' ')} {values[name]:.4g} (z-score {values[f'{name}_z']:.3g})"
        for name in ("loss", "gradient_norm")
    )
    of_all, batch = f"step {number + 1:,} of {steps:,}", f"{loss}, {norm}. Its batch: {batches.describe(number)}"
    in_succession = round(values["skipped_in_succession"])
    if in_succession >= SUCCESSION:
        raise UserError(
            f"training stopped at {of_all}: {in_succession} steps in succession were spikes and made no update. The "
            f"last one: {batch}. {remedy}"
        )
    if distributed.is_first():
        console.err.print(f"{of_all} is a spike and makes no update: {batch}", markup=False)


def _z_scores(kept_2xW: jax.Array, updates: jax.Array, now_2: jax.Array) -> jax.Array:
    """Robust z-scores of two numbers, each against its own row; 0 before LEAST updates."""
    count = jnp.minimum(updates, WINDOW)
    is_filled_W, middle = jnp.arange(WINDOW) < count, jnp.maximum(count - 1, 0) // 2

    def medians(rows_2xW: jax.Array) -> jax.Array:
        ordered_2xW = jnp.sort(jnp.where(is_filled_W, rows_2xW, jnp.inf), axis=1)
        median_2x1: jax.Array = jax.lax.dynamic_index_in_dim(ordered_2xW, middle, axis=1)  # the lower one of two
        return median_2x1

    median_2x1 = medians(kept_2xW)
    spread_2x1 = medians(jnp.abs(kept_2xW - median_2x1))
    unit_2x1 = jnp.maximum(NORMAL * spread_2x1, FLOOR * jnp.abs(median_2x1)) + TINY
    z_2 = ((now_2[:, None] - median_2x1) / unit_2x1)[:, 0]
    return jnp.where(count >= LEAST, z_2, 0.0)

"""Optimisers after clipping, AdamW (arXiv:1711.05101) and Muon (muon.py), and the schedules of their rate.

wsd     warm-up, constant, then down in a straight line (arXiv:2404.06395). Before the decay no rate depends
        on the number of steps, so a longer run continues from there exactly.
cosine  warm-up, then a cosine (arXiv:2203.15556). Every rate depends on the number of steps.
"""

from typing import Any, Protocol

import jax
import optax

from aura.model.model import leaf_name
from aura.training import muon

DECAY_SHARE = 0.4  # of the steps, in which wsd falls
FINAL_SHARE = 0.1  # of the peak learning rate, reached at the last step
BETAS = (0.9, 0.95)  # of AdamW; GPT-3's
TABLE_RATE = 0.5  # of AdamW beside Muon, for tables of pieces and scales: a share of the rate of matrices (measured)
MATRICES = ("query", "key", "value", "output", "gate", "up", "down", "head")  # weight decay is for these


class Course(Protocol):
    """The options that decide the optimiser and the learning rate of each step; section `pretrain` is one."""

    @property
    def steps(self) -> int:
        """Optimiser steps of the run."""

    @property
    def warmup_steps(self) -> int:
        """Steps in which the rate rises."""

    @property
    def learning_rate(self) -> float:
        """The rate at its peak."""

    @property
    def schedule(self) -> str:
        """`wsd` or `cosine`."""

    @property
    def weight_decay(self) -> float:
        """Of matrices only."""

    @property
    def grad_clip(self) -> float:
        """Global norm of the gradient, at most."""


def make_optimizer(options: Course) -> optax.GradientTransformation:
    """Return AdamW, which turns gradients into updates."""
    return optax.chain(optax.clip_by_global_norm(options.grad_clip), _adamw(options, make_schedule(options)))


def make_muon(options: Course, dtype: str) -> optax.GradientTransformation:
    """Return Muon for the matrices of layers, at the learning rate, and AdamW for all else, at TABLE_RATE of it.

    Arguments:
        options: of the run.
        dtype: float32 or bfloat16, as `muon.scale_by_muon` takes it.
    """
    rate = make_schedule(options)
    matrices = optax.chain(
        muon.scale_by_muon(dtype),
        optax.add_decayed_weights(options.weight_decay),
        optax.scale_by_learning_rate(rate),
    )

    def kinds(model: Any) -> Any:  # noqa: ANN401 - a pytree like the model
        return jax.tree_util.tree_map_with_path(lambda path, _: "matrices" if muon.is_matrix(path) else "others", model)

    others = _adamw(options, lambda step: TABLE_RATE * rate(step))
    return optax.chain(
        optax.clip_by_global_norm(options.grad_clip), optax.partition({"matrices": matrices, "others": others}, kinds)
    )


def _adamw(options: Course, rate: optax.Schedule) -> optax.GradientTransformation:
    b1, b2 = BETAS
    return optax.adamw(rate, b1=b1, b2=b2, weight_decay=options.weight_decay, mask=decays)


def make_schedule(options: Course) -> optax.Schedule:
    """The learning rate of each step, from 0 on."""
    peak, warmup = options.learning_rate, options.warmup_steps
    first = peak / (warmup + 1)  # so that no step is lost to a rate of 0
    last = FINAL_SHARE * peak
    if options.schedule == "cosine":
        return optax.warmup_cosine_decay_schedule(first, peak, warmup, options.steps + 1, last)
    constant_until = steps_before_decay(options)
    parts = [
        optax.linear_schedule(first, peak, warmup),
        optax.linear_schedule(peak, last, options.steps - constant_until),
    ]
    return optax.join_schedules(parts, [constant_until]) if warmup else _after(parts[1], constant_until)


def rate_at(schedule: optax.Schedule, step: int) -> float:
    """The rate of a step (from 0), for people; computed beside the accelerator, which is busy with the next step."""
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        return float(schedule(step))


def _after(schedule: optax.Schedule, begin: int) -> optax.Schedule:
    """`schedule`, which keeps its first value until step `begin`."""
    return optax.join_schedules([optax.constant_schedule(schedule(0)), schedule], [begin])


def steps_before_decay(options: Course) -> int:
    """Count a run's first steps that are the same however many follow: all before wsd's decay, none of a cosine's."""
    if options.schedule == "cosine":
        return 0
    return max(options.warmup_steps, options.steps - max(1, round(DECAY_SHARE * options.steps)))


def decays(model: Any) -> Any:  # noqa: ANN401 - a pytree like the model
    """Mark the weights that decay: matrices, by name, not scales and embeddings (stacked scales have two axes, too)."""
    return jax.tree_util.tree_map_with_path(lambda path, _: leaf_name(path).rpartition(".")[2] in MATRICES, model)

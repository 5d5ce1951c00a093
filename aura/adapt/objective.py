"""The objective of adaptation: cross-entropy on answers, and divergence from a slow copy of the model.

The teacher is the exponential moving average of the trained weights (as in arXiv:1703.01780). It holds the model near
its recent past: the divergence KL(student ‖ teacher) is 0 at the first step, and grows with what the newest steps
changed. The price is a second forward pass, and a copy of the trained weights, 4 bytes for each. Of an adapter the
matrices are averaged, not their product: the two differ by the products of their changes alone.

A target counts if it is learnt and in the segment of its input. Each counts the same, wherever it stands: the mean is
over the counted targets of the whole batch, not of a device or a part of it.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import optax

from aura.adapt.weighted_losses import Losses, Output, Terms, weighted_losses
from aura.model.mesh import BATCH, placed
from aura.model.model import Compute
from aura.training.steps import accumulated

Arrays = dict[str, jax.Array]  # a batch as `packing.Packed.windows` has it
Weights = Any  # a pytree of trained arrays: those of an adapter, or a whole model


class Model(Protocol):
    """A model with its adapter, or without one."""

    compute: Compute

    def features(
        self, tokens_BxS: jax.Array, affect_BxSxA: jax.Array | None, segments_BxS: jax.Array | None
    ) -> jax.Array:
        """Return the input of the output table: x_BxSxD."""

    @property
    def output_table(self) -> jax.Array:
        """table_VxD."""


Assemble = Callable[[Weights, Weights], Model]  # the weights that stay, those that are trained -> a model


def counted(batch: Mapping[str, Any]) -> Any:  # noqa: ANN401 - arrays of JAX, or of NumPy
    """Mark the targets that count: bool, of the shape (…, S) for windows (…, S + 1)."""
    learnt, segments = batch["learnt"], batch["segments"]
    return learnt[..., 1:] & (segments[..., 1:] == segments[..., :-1]) & (segments[..., 1:] > 0)


def mean_weights(batch: Arrays) -> jax.Array:
    """Return 1 / n at each of the n counted targets of a whole batch and 0 elsewhere: float32, (…, S)."""
    counts: jax.Array = counted(batch).astype(jnp.float32)
    return counts / jnp.maximum(jnp.sum(counts), 1.0)


def output_of(model: Model, batch: Arrays) -> Output:
    """Features of each input of windows, sequences and positions in one axis (T), and the output table."""
    x_BxSxD = model.features(batch["tokens"][:, :-1], batch.get("affect"), batch["segments"][:, :-1])
    return in_one_axis(x_BxSxD, None), model.output_table


def window_losses(student: Model, teacher: Model | None, batch: Arrays, weights_BxS: jax.Array, terms: Terms) -> Losses:
    """Losses of windows; `weights_BxS` are those of `mean_weights`, of the whole batch that the windows belong to."""
    targets_T, weights_T = in_one_axis(batch["tokens"][:, 1:]), in_one_axis(weights_BxS)
    taught_by = output_of(teacher, batch) if teacher is not None else None
    return weighted_losses(output_of(student, batch), targets_T, weights_T, taught_by, terms)


def losses_and_slopes(
    assemble: Assemble, base: Weights, trained: Weights, teacher: Weights | None, batch: Arrays, terms: Terms
) -> tuple[Losses, Weights]:
    """Losses of a batch, and the objective's gradient for the trained weights.

    Arguments:
        assemble: makes a model of `base` and `trained`, or of `base` and `teacher`.
        base: the weights that stay; a pytree, or None where all are trained.
        trained: the weights that the gradient is for.
        teacher: of the shapes of `trained`; None without one.
        batch: windows in parts, which are taken one after the other: each array is (parts, B, …).
        terms: the objective's factors.
    """
    parts = len(batch["tokens"])
    weighted = batch | {"weights": mean_weights(batch) * parts}  # the mean over parts is the mean over the batch

    def objective(trained: Weights, part: Arrays) -> tuple[jax.Array, Losses]:
        taught_by = assemble(base, teacher) if teacher is not None else None
        losses = window_losses(assemble(base, trained), taught_by, part, part["weights"], terms)
        return losses.objective, losses

    def of_part(part: Arrays) -> tuple[Losses, Weights]:
        (_, losses), slopes = jax.value_and_grad(objective, has_aux=True)(trained, part)
        return losses, slopes

    means: tuple[Losses, Weights] = accumulated(of_part, weighted)
    return means


def followed(teacher: Weights, trained: Weights, decay: float) -> Weights:
    """The teacher after a step: decay · teacher + (1 - decay) · trained."""
    return optax.incremental_update(trained, teacher, 1 - decay)


def in_one_axis(array_BxSx: jax.Array, *axes: str | None) -> jax.Array:
    """An array with sequences and positions in one axis; `axes` says where those after lie on the mesh."""
    B, S, *others = array_BxSx.shape
    flat: jax.Array = jax.lax.reshape(array_BxSx, (B * S, *others), out_sharding=placed(BATCH, *axes))
    return flat

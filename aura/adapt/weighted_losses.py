"""Cross-entropy and divergence from a teacher, weighted by target, a chunk of tokens at a time.

The losses of `aura/training/cross_entropy.py`, with a weight per target and a second distribution beside the
first. The logits of a chunk are made for both, and the gradient is finished while they are at hand, so no logits are
kept. Each term's gradient for a logit is one elementwise product away from the probabilities; no target's row is
looked up. Targets that count come first, and chunks without one are left out: with a third of the tokens learnt, a
third of the work. Devices may take unequal numbers of chunks, and those along `tensor`, which exchange, take the same.

Letters as in model.py, and T tokens, in C chunks of Z.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from aura.model.mesh import BATCH, gathered_part, per_device, summed_part
from aura.training.cross_entropy import chunks, largest, own_rows, product, summed

Output = tuple[jax.Array, jax.Array]  # x_TxD and table_VxD: what gives a model's logits
Slopes = tuple[jax.Array, jax.Array]  # of the same shapes

_FEATURES, _TABLE, _TOKENS = PartitionSpec(BATCH, None), PartitionSpec("tensor", "fsdp"), PartitionSpec(BATCH)


class Terms(NamedTuple):
    """Factors of the parts of an objective.

    Attributes:
        cross_entropy: of -ln p(target).
        divergence: of KL(student ‖ teacher), the sum over all pieces of p ln(p / q).
        where_certain: count the divergence only where the teacher's entropy is below the student's.
    """

    cross_entropy: float = 1.0
    divergence: float = 0.0
    where_certain: bool = False


class Losses(NamedTuple):
    """Weighted sums over targets, float32; with weights that add up to 1, means."""

    objective: jax.Array  # differentiable in the student's features and table; the others are for the log
    nats: jax.Array  # -ln p(target)
    divergence: jax.Array  # KL(student ‖ teacher), where it counts; 0 without a teacher
    certain: jax.Array  # weight of the targets whose divergence counts; 0 without a teacher


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def weighted_losses(
    student: Output, targets_T: jax.Array, weights_T: jax.Array, teacher: Output | None, terms: Terms
) -> Losses:
    """Return the losses of a student's outputs, each target times its weight; the teacher is a constant.

    Arguments:
        student: x_TxD, table_VxD.
        targets_T: ids.
        weights_T: float32, 0 for a target that does not count.
        teacher: as `student`; the width may differ. None without one, and then no divergence is asked for.
        terms: the objective's factors.
    """
    losses, _ = _forward(student, targets_T, weights_T, teacher, terms)
    return losses


def _forward(
    student: Output, targets_T: jax.Array, weights_T: jax.Array, teacher: Output | None, terms: Terms
) -> tuple[Losses, Slopes]:
    """The losses, and the objective's gradients; see `_pull` for those of a chunk's logits."""

    def local(
        x_TxD: jax.Array, part: jax.Array, targets_T: jax.Array, weights_T: jax.Array, *of_teacher: jax.Array
    ) -> tuple[Losses, jax.Array, jax.Array]:
        tables = [gathered_part(cut, 1) for cut in (part, *of_teacher[1:])]
        order_T = jnp.argsort(weights_T == 0, stable=True)  # targets that count first, in their own order
        cut = chunks(*(array[order_T] for array in (x_TxD, targets_T, weights_T, *of_teacher[:1])))
        C, Z = cut[1].shape

        def chunk(number: jax.Array, done: tuple[Losses, jax.Array, jax.Array]) -> tuple[Losses, jax.Array, jax.Array]:
            total, slope_CxZxD, slope_VxD = done
            x_ZxD, targets_Z, weights_Z, *teacher_x = (array[number] for array in cut)
            wanted_ZxV = jnp.arange(len(tables[0]))[None, :] == own_rows(targets_Z, tables[0])[:, None]
            log_p_ZxV, *log_q = (
                _log_probabilities(*output) for output in zip((x_ZxD, *teacher_x), tables, strict=True)
            )
            losses, pull_ZxV = _pull(log_p_ZxV, log_q[0] if log_q else None, wanted_ZxV, weights_Z, terms)
            pull_ZxV = pull_ZxV.astype(x_ZxD.dtype)
            slope_ZxD = summed(product("ZV,VD->ZD", pull_ZxV, tables[0]), "tensor")
            slope_VxD += product("ZV,ZD->VD", pull_ZxV, x_ZxD)
            return jax.tree.map(jnp.add, total, losses), slope_CxZxD.at[number].set(slope_ZxD), slope_VxD

        nothing = jnp.zeros((), jnp.float32)
        begun = Losses(*[nothing] * 4), jnp.zeros(cut[0].shape, jnp.float32), jnp.zeros(tables[0].shape, jnp.float32)
        used = jnp.minimum((jnp.sum(weights_T != 0) + Z - 1) // Z, C)
        total, slope_CxZxD, slope_VxD = jax.lax.fori_loop(0, used, chunk, begun)
        slope_TxD = jnp.zeros(x_TxD.shape, jnp.float32).at[order_T].set(slope_CxZxD.reshape(x_TxD.shape))
        losses = jax.tree.map(lambda one: summed(one, *BATCH), total)
        return losses, slope_TxD, summed_part(slope_VxD, 1)

    arrays = [student[0], student[1].astype(student[0].dtype), targets_T, weights_T]
    specs = [_FEATURES, _TABLE, _TOKENS, _TOKENS]
    if teacher is not None:
        arrays += [teacher[0], teacher[1].astype(teacher[0].dtype)]
        specs += [_FEATURES, _TABLE]
    out_specs = (PartitionSpec(), _FEATURES, _TABLE)  # the losses are the same on every device
    losses, slope_TxD, slope_VxD = per_device(local, tuple(specs), out_specs)(*arrays)
    return losses, (slope_TxD.astype(student[0].dtype), slope_VxD.astype(student[1].dtype))


def _backward(_: Terms, slopes: Slopes, slope: Losses) -> tuple[Slopes, None, None, None]:
    of_features, of_table = ((slope.objective * each).astype(each.dtype) for each in slopes)
    return (of_features, of_table), None, None, None


weighted_losses.defvjp(_forward, _backward)


def _pull(
    log_p_ZxV: jax.Array, log_q_ZxV: jax.Array | None, wanted_ZxV: jax.Array, weights_Z: jax.Array, terms: Terms
) -> tuple[Losses, jax.Array]:
    """Losses of a chunk, and the objective's gradient for each logit.

    For a target of weight w that is w (p - [piece is target]) from the cross-entropy, and
    w p (ln(p / q) - KL) from the divergence.
    """
    p_ZxV = jnp.exp(log_p_ZxV)
    nats_Z = -_over_pieces(jnp.where(wanted_ZxV, log_p_ZxV, 0.0))
    pull_ZxV = (terms.cross_entropy * weights_Z)[:, None] * (p_ZxV - wanted_ZxV.astype(jnp.float32))
    nats, nothing = jnp.sum(weights_Z * nats_Z), jnp.zeros((), jnp.float32)
    if log_q_ZxV is None:
        return Losses(terms.cross_entropy * nats, nats, nothing, nothing), pull_ZxV
    ratio_ZxV = log_p_ZxV - log_q_ZxV
    divergence_Z = _over_pieces(p_ZxV * ratio_ZxV)
    if terms.where_certain:
        entropy_Z = -_over_pieces(p_ZxV * log_p_ZxV)
        teachers_Z = -_over_pieces(jnp.exp(log_q_ZxV) * log_q_ZxV)
        weights_Z = jnp.where(teachers_Z < entropy_Z, weights_Z, 0.0)
    pull_ZxV += (terms.divergence * weights_Z)[:, None] * p_ZxV * (ratio_ZxV - divergence_Z[:, None])
    divergence = jnp.sum(weights_Z * divergence_Z)
    objective = terms.cross_entropy * nats + terms.divergence * divergence
    return Losses(objective, nats, divergence, jnp.sum(weights_Z)), pull_ZxV


def _log_probabilities(x_ZxD: jax.Array, table_VxD: jax.Array) -> jax.Array:
    """ln p of this device's pieces, float32."""
    logits_ZxV = product("ZD,VD->ZV", x_ZxD, table_VxD)
    below_ZxV = logits_ZxV - largest(logits_ZxV.max(axis=-1, keepdims=True))
    return below_ZxV - jnp.log(_over_pieces(jnp.exp(below_ZxV)))[:, None]


def _over_pieces(array_ZxV: jax.Array) -> jax.Array:
    return summed(array_ZxV.sum(axis=-1), "tensor")

"""Likelihoods of many sequences of different lengths, in few compiled programs.

Sequences are filled up to one of a few lengths: that of the model, and halves of it down to `SHORTEST`. Attention is
causal, so what stands behind a sequence changes nothing. A batch of each length has about as many tokens as one of the
longest, so memory is that of an evaluation of held-out windows. Up to half of what is computed is filling; packing
several sequences into a window would save it, but needs kernels with segments, which are not the fastest.

On a mesh every process must call `Scorer.scores` with the same requests, and gets the same numbers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.sharding import NamedSharding, PartitionSpec

from aura.evaluation.requests import Request
from aura.model.mesh import BATCH, gathered_part, has_mesh, per_device
from aura.model.model import LanguageModel
from aura.training.cross_entropy import chunks, features_and_targets, own_rows, product, token_cross_entropy

SHORTEST = 64  # tokens; shorter sequences are filled up to it
LANES = 128  # tokens of which TPU kernels take multiples


@dataclass(frozen=True, eq=False)
class Scores:
    """Of each request, in order.

    Attributes:
        nats: (n,) float64: the sum of -ln p over its scored tokens, each float32.
        likeliest: (n,) bool: each of them is the likeliest one (of equal ones the first); empty unless asked for.
    """

    nats: npt.NDArray[np.float64]
    likeliest: npt.NDArray[np.bool_]


class Scorer:
    """Scores requests in batches.

    Arguments:
        context: tokens that the model reads at once.
        rows: sequences of that length in a batch; on a mesh, the devices that share a batch must divide it.
    """

    def __init__(self, context: int, rows: int) -> None:
        self._lengths, self._rows = lengths(context), rows

    def scores(
        self,
        model: LanguageModel,
        requests: Sequence[Request],
        interrupted: Callable[[], bool] = lambda: False,
        *,
        greedy: bool = False,
    ) -> Scores | None:
        """Score `requests`; returns None as soon as `interrupted`, which is asked before each batch, says so.

        With `greedy`, also tell whether the tokens are the likeliest ones: the output weights are applied once more.
        """
        nats, likeliest = np.zeros(len(requests)), np.zeros(len(requests) if greedy else 0, np.bool_)
        for length in self._lengths:
            numbers = [number for number, request in enumerate(requests) if self._length_of(request) == length]
            rows = self._rows * (self._lengths[0] // length)
            for start in range(0, len(numbers), rows):
                if interrupted():
                    return None
                batch = numbers[start : start + rows]
                tokens_BxS1, counted_BxS = _filled([requests[number] for number in batch], rows, length)
                nats_BxS, *likeliest_BxS = _fetched(model, tokens_BxS1, greedy=greedy)
                nats[batch] = np.where(counted_BxS, nats_BxS, 0).sum(axis=1, dtype=np.float64)[: len(batch)]
                if greedy:
                    likeliest[batch] = np.all(likeliest_BxS[0] | ~counted_BxS, axis=1)[: len(batch)]
        return Scores(nats, likeliest)

    def _length_of(self, request: Request) -> int:
        return next(length for length in reversed(self._lengths) if len(request.ids) <= length + 1)


def lengths(context: int) -> list[int]:
    """The lengths of the compiled programs, the longest first: halves that the kernel of the longest can compute."""
    found, multiple = [context], LANES if context % LANES == 0 else 1
    while found[-1] % (2 * multiple) == 0 and found[-1] // 2 >= SHORTEST:
        found.append(found[-1] // 2)
    return found


def _filled(requests: Sequence[Request], rows: int, length: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """Ids of a batch, and which of their targets count."""
    tokens_BxS1, counted_BxS = np.zeros((rows, length + 1), np.int32), np.zeros((rows, length), np.bool_)
    for row, request in enumerate(requests):
        tokens_BxS1[row, : len(request.ids)] = request.ids
        counted_BxS[row, len(request.ids) - 1 - request.scored : len(request.ids) - 1] = True
    return tokens_BxS1, counted_BxS


def _fetched(model: LanguageModel, tokens_BxS1: npt.NDArray[np.int32], *, greedy: bool) -> list[npt.NDArray[Any]]:
    """Fetch what `_token_scores` gives, on every process."""
    mesh = jax.sharding.get_mesh()
    if mesh.empty:
        return [np.asarray(array) for array in _token_scores(model, tokens_BxS1, greedy=greedy)]
    places = NamedSharding(mesh, PartitionSpec(BATCH))
    placed_BxS1 = jax.make_array_from_callback(tokens_BxS1.shape, places, lambda index: tokens_BxS1[index])
    whole = partial(jax.sharding.reshard, out_shardings=NamedSharding(mesh, PartitionSpec()))
    return [np.asarray(whole(array)) for array in _token_scores(model, placed_BxS1, greedy=greedy)]


@partial(jax.jit, static_argnames="greedy")
def _token_scores(model: LanguageModel, tokens_BxS1: jax.Array, *, greedy: bool) -> list[jax.Array]:
    """Nats of each target, and with `greedy` whether it is the likeliest token: BxS each, as they lie on the mesh."""
    x_TxD, targets_T = features_and_targets(model, tokens_BxS1, None)
    found = [token_cross_entropy(x_TxD, model.output_table, targets_T)]
    found += [_likeliest(x_TxD, model.output_table, targets_T)] if greedy else []
    return [array_T.reshape(len(tokens_BxS1), -1) for array_T in found]


def _likeliest(x_TxD: jax.Array, table_VxD: jax.Array, targets_T: jax.Array) -> jax.Array:
    """Tell of each target whether its logit is the largest: likeliest_T. A device holds its part of the pieces alone.

    The logits are computed again: of `token_cross_entropy`, the target's own is another sum, and rounds otherwise.
    """

    def local(x_TxD: jax.Array, part: jax.Array, targets_T: jax.Array) -> jax.Array:
        table_VxD = gathered_part(part, 1)

        def chunk(chunk: tuple[jax.Array, ...]) -> jax.Array:
            x_ZxD, targets_Z = chunk
            logits_ZxV = product("ZD,VD->ZV", x_ZxD, table_VxD)
            best_Z, own_Z = logits_ZxV.max(axis=-1), own_rows(targets_Z, table_VxD)
            first_Z = jnp.argmax(logits_ZxV, axis=-1)
            if not has_mesh():
                return first_Z == own_Z
            V, axis = len(table_VxD), "tensor"
            whole_Z = first_Z + jax.lax.axis_index(axis) * V
            beyond = V * jax.lax.axis_size(axis)
            winner_Z = jax.lax.pmin(jnp.where(best_Z == jax.lax.pmax(best_Z, axis), whole_Z, beyond), axis)
            same_Z: jax.Array = winner_Z == targets_Z
            return same_Z

        found_CxZ: jax.Array = jax.lax.map(chunk, chunks(x_TxD, targets_T))
        return found_CxZ.reshape(-1)

    tokens = PartitionSpec(BATCH)
    specs = (PartitionSpec(BATCH, None), PartitionSpec("tensor", "fsdp"), tokens)
    found_T: jax.Array = per_device(local, specs, tokens)(x_TxD, table_VxD.astype(x_TxD.dtype), targets_T)
    return found_T

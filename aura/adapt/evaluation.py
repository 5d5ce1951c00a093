"""Measures of an adapted model: on held-out answers, and against the model that it began as.

Answers are measured in nats per learnt token, beside the divergence KL(adapted ‖ start) on the same tokens, which says
how far the model has moved. An exact match is an answer, drawn greedily, with the very ids of the reference: the
strictest measure, and on open questions nearly always 0. Forgetting is the rise of bits per byte of the pretraining
held-out text (`HeldOut`).

Every process of a mesh must call these functions, and gets the same numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np
import numpy.typing as npt
from jax.sharding import NamedSharding, PartitionSpec

from aura.adapt.exchanges import Exchanges
from aura.adapt.objective import Arrays, Model, counted, window_losses
from aura.adapt.packing import Packed
from aura.adapt.weighted_losses import Terms
from aura.model.mesh import BATCH
from aura.training.batch_layout import Batch
from aura.training.generation import continuations


@dataclass(frozen=True)
class OnAnswers:
    """Means over held-out learnt tokens, in nats: of -ln p, and of KL(adapted ‖ start)."""

    loss: float
    divergence: float


class HeldOutAnswers:
    """Fixed windows of held-out conversations.

    Arguments:
        packed: the held-out conversations.
        seq_len: inputs of a window.
        tokens: about so many inputs are used, spread evenly over the windows, always the same ones; at least a window.
        batch_size: windows evaluated at once; on a mesh, the devices that share a batch must divide it.

    Attributes:
        learnt_tokens: number of targets that are counted.
    """

    def __init__(self, packed: Packed, seq_len: int, tokens: int, batch_size: int) -> None:
        count = min(max(1, tokens // seq_len), len(packed))
        windows = packed.windows(np.arange(count, dtype=np.int64) * len(packed) // count)
        padding = -count % batch_size  # windows without a segment, so that one shape is compiled
        self._batches: list[Batch] = []
        for start in range(0, count + padding, batch_size):
            rows = {name: array[start : start + batch_size] for name, array in windows.items()}
            self._batches.append({name: _filled(array, batch_size) for name, array in rows.items()})
        self.learnt_tokens = sum(int(counted(batch).sum()) for batch in self._batches)

    def measure(self, model: Model, start: Model, interrupted: Callable[[], bool]) -> OnAnswers | None:
        """Loss of the model, and its divergence from `start`.

        Returns None as soon as `interrupted`, which is asked before each batch, says so.
        """
        sums = []
        for batch in self._batches:
            if interrupted():
                return None
            sums.append([float(number) for number in _sums(model, start, on_mesh(batch))])
        loss, divergence = np.sum(sums, axis=0) / self.learnt_tokens
        return OnAnswers(float(loss), float(divergence))


def answered(
    model: Model, exchanges: Exchanges, numbers: npt.NDArray[np.int64], batch_size: int, eos: int
) -> list[npt.NDArray[np.int32]]:
    """Greedy answers to the prompts of these numbers, each with its <eos> where it has one.

    Arguments:
        model: the model that answers.
        exchanges: the prompts.
        numbers: of the exchanges.
        batch_size: prompts answered at once; on a mesh, the devices that share a batch must divide it.
        eos: the id that ends an answer.
    """
    answers: list[npt.NDArray[np.int32]] = []
    for start in range(0, len(numbers), batch_size):
        prompts, lengths = exchanges.prompts(np.resize(numbers[start : start + batch_size], batch_size))
        rows = on_mesh({"prompts": prompts, "begins": (prompts.shape[1] - lengths).astype(np.int32)})
        key, tokens = jax.random.key(0), exchanges.room.answer  # a greedy answer needs no key
        made = continuations(model, rows["prompts"], key, 0.0, rows["begins"], eos, tokens=tokens)
        answers += [_until_end(ids, eos) for ids in np.asarray(made.addressable_data(0))]
    return answers[: len(numbers)]


def exact_matches(answers: list[npt.NDArray[np.int32]], references: list[npt.NDArray[np.int32]]) -> float:
    """Share of answers whose ids are those of the reference, <eos> included; 0 of none."""
    same = [np.array_equal(answer, reference) for answer, reference in zip(answers, references, strict=True)]
    return sum(same) / max(len(same), 1)


def on_mesh(batch: Batch) -> Arrays:
    """Arrays with their rows cut along the batch axes of the mesh in force; on one device as they are."""
    mesh = jax.sharding.get_mesh()
    if mesh.empty:
        return {name: jax.numpy.asarray(array) for name, array in batch.items()}
    places = NamedSharding(mesh, PartitionSpec(BATCH))
    return {name: jax.make_array_from_callback(array.shape, places, array.__getitem__) for name, array in batch.items()}


@jax.jit
def _sums(model: Model, start: Model, batch: Arrays) -> tuple[jax.Array, jax.Array]:
    """Nats of the counted targets, and the divergence at them."""
    weights_BxS = counted(batch).astype(jax.numpy.float32)
    losses = window_losses(model, start, batch, weights_BxS, Terms())
    return losses.nats, losses.divergence


def _filled(array: npt.NDArray[np.generic], rows: int) -> npt.NDArray[np.generic]:
    return np.concatenate([array, np.zeros((rows - len(array), *array.shape[1:]), array.dtype)])


def _until_end(ids: npt.NDArray[np.int32], eos: int) -> npt.NDArray[np.int32]:
    ends = np.flatnonzero(ids == eos)
    return ids[: ends[0] + 1] if len(ends) else ids

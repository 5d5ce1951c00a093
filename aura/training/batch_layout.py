"""Layout of the batches of a run on a mesh, and the check that they can be shared out among the devices."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import jax
import numpy as np
import numpy.typing as npt
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aura.core.errors import UserError
from aura.model.mesh import BATCH, mesh_shape

Batch = dict[str, npt.NDArray[Any]]  # arrays by name; the first axis of each is the rows of the batch


class Batches(Protocol):
    """Training data by the number of a step, so that a run has no data state."""

    def batch(self, step: int, rows: slice = slice(None)) -> Batch:
        """Return rows of the batch of `step` (from 0); they must not depend on which rows are asked for."""

    def describe(self, step: int) -> str:
        """Describe for a reader where the batch of a step comes from."""


@dataclass(frozen=True)
class BatchLayout:
    """Layout of a global batch on a mesh: `accumulation` parts, each cut along the mesh's batch axes.

    Arguments:
        mesh: of the run.
        batch_size: rows of a global batch.
        accumulation: parts that are taken one after the other.
        arrays: by name, the shape of one row and the type of its numbers.
        section: of params.yaml, which messages name.

    Raises:
        UserError: a part's rows cannot be shared out evenly.
    """

    mesh: Mesh
    batch_size: int
    accumulation: int
    arrays: Mapping[str, tuple[tuple[int, ...], type[np.generic]]] = field(hash=False)
    section: str = "pretrain"

    def __post_init__(self) -> None:
        holders = self.mesh.shape["data"] * self.mesh.shape["fsdp"]
        require_rows(self.batch_size, self.accumulation, holders, self.section)

    @property
    def rows(self) -> int:
        """Rows of one part."""
        return self.batch_size // self.accumulation

    def shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
        """The arrays of a batch, as the arguments of an ahead-of-time compilation."""
        places = NamedSharding(self.mesh, PartitionSpec(None, BATCH))
        return {
            name: jax.ShapeDtypeStruct((self.accumulation, self.rows, *shape), dtype, sharding=places)
            for name, (shape, dtype) in self.arrays.items()
        }

    def put(self, batches: Batches, step: int) -> dict[str, jax.Array]:
        """The batch of a step; every process reads only the rows that its own devices hold."""
        read: dict[tuple[int, int], list[Batch]] = {}

        def part_of(name: str, index: tuple[slice, ...]) -> Any:  # noqa: ANN401 - a numpy array
            start, stop, _ = index[1].indices(self.rows)
            if (start, stop) not in read:
                begins = range(0, self.batch_size, self.rows)
                read[start, stop] = [batches.batch(step, slice(begin + start, begin + stop)) for begin in begins]
            return np.stack([batch[name] for batch in read[start, stop]])

        return {
            name: jax.make_array_from_callback(shape.shape, shape.sharding, partial(part_of, name))
            for name, shape in self.shapes().items()
        }


class Machine(Protocol):
    """The options that state the machine of a run; those of section `pretrain` hold for every stage that trains."""

    @property
    def fsdp(self) -> int:
        """Devices that share weights and optimiser."""

    @property
    def tensor(self) -> int:
        """Devices that share heads, hidden features and vocabulary."""

    @property
    def accumulation(self) -> int:
        """Parts of a batch, taken one after the other."""

    @property
    def precision(self) -> str:
        """The arithmetic: float32 or bfloat16."""

    @property
    def remat(self) -> bool:
        """Return whether activations are computed again on the way back."""

    @property
    def eval_tokens(self) -> int:
        """Held-out tokens per evaluation."""

    @property
    def checkpoint_folder(self) -> str:
        """The folder of all runs' checkpoints, or gs://BUCKET/PREFIX."""

    @property
    def checkpoint_every(self) -> int:
        """Steps between two checkpoints."""


def require_devices(
    machine: Machine, batch_size: int, vocab_size: int, devices: tuple[int, int], section: str = "pretrain"
) -> None:
    """Refuse a run whose vocabulary, weights or batches cannot be shared out evenly among its devices.

    Training and planning both ask this first: without it JAX would fail at the first array that does not divide.

    Arguments:
        machine: section pretrain of params.yaml.
        batch_size: rows of a global batch.
        vocab_size: pieces of the tokenizer.
        devices: those of one slice, and how many slices of TPUs there are.
        section: the one with `batch_size`.

    Raises:
        UserError: it names the option to change.
    """
    if vocab_size % machine.tensor:
        raise UserError(
            f"expected pretrain.tensor ({machine.tensor}) to divide the vocabulary, got {vocab_size} "
            "pieces. Change it, or train_tokenizer.vocab_size."
        )
    per_slice, slices = devices
    data, fsdp, _ = mesh_shape(machine.fsdp, machine.tensor, per_slice, slices)
    require_rows(batch_size, machine.accumulation, data * slices * fsdp, section)


def require_rows(batch_size: int, accumulation: int, holders: int, section: str) -> None:
    """Refuse a batch whose parts cannot be cut evenly among the `holders`, the devices that share a batch."""
    rows = batch_size // accumulation
    if rows % holders or batch_size % accumulation:
        raise UserError(
            f"expected {section}.batch_size / pretrain.accumulation ({rows} sequences) to be divisible by the "
            f"{holders} devices that share a batch. Change one of them, or pretrain.tensor."
        )

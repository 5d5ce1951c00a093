"""One optimiser step, and the loop over steps.

Everything a step needs is a function of its number (batch, learning rate), so a run has no data state and the
same devices end in the same bytes every time. `initial_state` and the function of `make_step` are traced alike
for a run, for a restore and for an ahead-of-time compilation (`mesh.abstract`, `BatchLayout.shapes`). The loss is
fetched each step, which keeps the loop simple and stops a diverged run at the step that broke it; the wait is
under a millisecond on CPU.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aura.core.errors import UserError
from aura.core.terms import EMOTIONS
from aura.model.mesh import BATCH, mesh_shape, placed
from aura.model.model import Compute, LanguageModel, ModelConfig
from aura.pretrain.options import Pretrain
from aura.pretrain.step.batches import Batch, Batches
from aura.pretrain.step.cross_entropy import mean_cross_entropy
from aura.pretrain.step.optimizer import make_optimizer

State = dict[str, Any]  # {"model": LanguageModel, "optimizer": optax state}
Outcome = dict[str, jax.Array]  # {"loss": nats per token, "gradient_norm"}, of the batch before the step
Step = Callable[[State, dict[str, Any]], tuple[State, Outcome]]


def initial_state(options: Pretrain, config: ModelConfig, compute: Compute) -> State:
    """A new model, placed on the mesh in force, and an optimiser that has seen nothing; to be jitted or traced."""
    model = LanguageModel(config, options.seed, compute)
    return {"model": model, "optimizer": make_optimizer(options).init(model)}


def make_step(options: Pretrain) -> Any:  # noqa: ANN401 - a Step that jax.jit made, which can also be lowered
    """The compiled function (state, batch) -> (next state, outcome); it consumes the state's memory."""
    optimizer = make_optimizer(options)

    @partial(jax.jit, donate_argnums=0)
    def step(state: State, batch: dict[str, jax.Array]) -> tuple[State, Outcome]:
        (_, nats), slopes = _accumulated(state["model"], batch, options.z_loss)
        updates, optimizer_state = optimizer.update(slopes, state["optimizer"], state["model"])
        outcome = {"loss": nats, "gradient_norm": optax.tree.norm(slopes)}
        return {"model": optax.apply_updates(state["model"], updates), "optimizer": optimizer_state}, outcome

    return step


def _accumulated(model: LanguageModel, batch: dict[str, jax.Array], z_loss: float) -> Any:  # noqa: ANN401
    """Losses and gradients of a batch, the means over its parts (the first axis), taken one after the other."""
    of_part = jax.value_and_grad(mean_loss, has_aux=True)
    parts = len(batch["tokens"])
    first = of_part(model, jax.tree.map(lambda array: array[0], batch), z_loss)
    if parts == 1:
        return first

    def add(total: Any, part: dict[str, jax.Array]) -> tuple[Any, None]:  # noqa: ANN401 - what of_part returns
        return jax.tree.map(jax.numpy.add, total, of_part(model, part, z_loss)), None

    total, _ = jax.lax.scan(add, first, jax.tree.map(lambda array: array[1:], batch))
    return jax.tree.map(lambda leaf: leaf / parts, total)


def mean_loss(model: LanguageModel, batch: dict[str, jax.Array], z_loss: float = 0.0) -> tuple[jax.Array, jax.Array]:
    """(objective, nats per token) over windows of S inputs and their S targets: batch["tokens"] is BxS+1."""
    tokens_BxS1 = batch["tokens"]
    x_TxD, targets_T = features_and_targets(model, tokens_BxS1, batch.get("affect"))
    return mean_cross_entropy(x_TxD, model.output_table, targets_T, z_loss)


def features_and_targets(
    model: LanguageModel, tokens_BxS1: jax.Array, affect_BxSxA: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """Return the features of each position and the token after it, with sequences and positions in one axis."""
    x_BxSxD = model.features(tokens_BxS1[:, :-1], affect_BxSxA)
    B, S, D = x_BxSxD.shape
    x_TxD = jax.lax.reshape(x_BxSxD, (B * S, D), out_sharding=placed(BATCH, None))
    return x_TxD, jax.lax.reshape(tokens_BxS1[:, 1:], (B * S,), out_sharding=placed(BATCH))


def require_devices(options: Pretrain, vocab_size: int, per_slice: int, slices: int = 1) -> None:
    """Refuse a run whose vocabulary, weights or batches cannot be shared out evenly among its devices.

    Training and planning both ask this first: without it JAX would fail at the first array that does not divide.

    Arguments:
        options: section pretrain of params.yaml.
        vocab_size: pieces of the tokenizer.
        per_slice: devices of one slice.
        slices: how many slices of TPUs there are.

    Raises:
        UserError: it names the option to change.
    """
    if vocab_size % options.tensor:
        raise UserError(
            f"expected pretrain.tensor ({options.tensor}) to divide the vocabulary, got {vocab_size} "
            "pieces. Change it, or train_tokenizer.vocab_size."
        )
    data, fsdp, _ = mesh_shape(options.fsdp, options.tensor, per_slice, slices)
    require_rows(options, data * slices * fsdp)


def require_rows(options: Pretrain, holders: int) -> None:
    """Refuse a batch whose parts cannot be cut evenly among the `holders`, the devices that share a batch."""
    rows = options.batch_size // options.accumulation
    if rows % holders:
        raise UserError(
            f"expected pretrain.batch_size / pretrain.accumulation ({rows} sequences) to be divisible by the "
            f"{holders} devices that share a batch. Change one of them, or pretrain.tensor."
        )


@dataclass(frozen=True)
class BatchLayout:
    """Layout of a global batch on a mesh: `accumulation` parts, each cut along the mesh's batch axes.

    Raises:
        UserError: a part's sequences cannot be shared out evenly.
    """

    options: Pretrain
    mesh: Mesh
    affect: bool

    def __post_init__(self) -> None:
        require_rows(self.options, self.mesh.shape["data"] * self.mesh.shape["fsdp"])

    @property
    def rows(self) -> int:
        """Sequences of one part."""
        return self.options.batch_size // self.options.accumulation

    def shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
        """The arrays of a batch, as the arguments of an ahead-of-time compilation."""
        parts, S = self.options.accumulation, self.options.seq_len
        places = NamedSharding(self.mesh, PartitionSpec(None, BATCH))
        shapes = {"tokens": jax.ShapeDtypeStruct((parts, self.rows, S + 1), np.int32, sharding=places)}
        if self.affect:
            shapes["affect"] = jax.ShapeDtypeStruct((parts, self.rows, S, len(EMOTIONS)), np.float32, sharding=places)
        return shapes

    def put(self, batches: Batches, step: int) -> dict[str, jax.Array]:
        """The batch of a step; every process reads only the rows that its own devices hold."""
        read: dict[tuple[int, int], list[Batch]] = {}

        def part_of(name: str, index: tuple[slice, ...]) -> Any:  # noqa: ANN401 - a numpy array
            start, stop, _ = index[1].indices(self.rows)
            if (start, stop) not in read:
                begins = range(0, self.options.batch_size, self.rows)
                read[start, stop] = [batches.batch(step, slice(begin + start, begin + stop)) for begin in begins]
            return np.stack([batch[name] for batch in read[start, stop]])

        return {
            name: jax.make_array_from_callback(shape.shape, shape.sharding, partial(part_of, name))
            for name, shape in self.shapes().items()
        }


def train(
    state: State, run_step: Step, batches: Batches, layout: BatchLayout, first: int, steps: int
) -> Iterator[dict[str, float]]:
    """Take the steps `first` (from 0) to `steps`; yield each one's outcome. After each, `state` is what it led to.

    Raises:
        UserError: a loss or gradient is infinite or no number; it names the step and its batch.
    """
    for number in range(first, steps):
        new_state, outcome = run_step(state, layout.put(batches, number))
        state.update(new_state)
        values = {name: float(value) for name, value in outcome.items()}
        for name, value in values.items():
            if not math.isfinite(value):
                raise UserError(
                    f"training stopped: expected a finite {name.replace('_', ' ')}, got {value} at step {number + 1} "
                    f"of {steps}. Its batch: {batches.describe(number)}. Lower pretrain.learning_rate or "
                    "pretrain.grad_clip, or raise pretrain.warmup_steps."
                )
        yield values

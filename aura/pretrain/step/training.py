"""One optimiser step of pretraining.

`initial_state` and the function of `make_step` are traced alike for a run, for a restore and for an ahead-of-time
compilation (`mesh.abstract`, `BatchLayout.shapes`).
"""

from functools import partial
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from aura.core.terms import EMOTIONS
from aura.model.lora import TABLES
from aura.model.model import Compute, LanguageModel, ModelConfig, leaf_name
from aura.pretrain.options import Pretrain
from aura.training import spikes
from aura.training.batch_layout import BatchLayout
from aura.training.cross_entropy import features_and_targets, mean_cross_entropy
from aura.training.optimizer import make_muon, make_optimizer
from aura.training.steps import Outcome, State, accumulated

# What helps a run that diverged.
REMEDY = (
    "Pass over such batches with pretrain.skip: [[FIRST, LAST]] (numbers of batches, both ends in): the run goes on "
    "from a checkpoint before them. If other batches spike as well: "
    "Lower pretrain.learning_rate or pretrain.grad_clip, or raise pretrain.warmup_steps."
)


def initial_state(options: Pretrain, config: ModelConfig, compute: Compute) -> State:
    """A new model, placed on the mesh in force, an optimiser and a record of spikes that saw nothing; to be traced."""
    model = LanguageModel(config, options.seed, compute)
    return {"model": model, "optimizer": optimizer_of(options).init(model), "spikes": spikes.first_record()}


def optimizer_of(options: Pretrain) -> optax.GradientTransformation:
    """The optimiser of a run; for the first `train_embeddings_first` steps it changes rows of the tables alone."""
    optimizer = make_muon(options, options.precision) if options.optimizer == "muon" else make_optimizer(options)
    steps = options.train_embeddings_first
    return optax.chain(optimizer, tables_first(steps)) if steps else optimizer


def tables_first(steps: int) -> optax.GradientTransformation:
    """Updates of embeddings and output weights alone, for so many steps; then of all weights.

    The optimiser before it sees every gradient, so its moments are those of the present weights when the others begin
    to move. It counts its own steps, which a checkpoint keeps with the optimiser's state.
    """

    def init(_: Any) -> jax.Array:  # noqa: ANN401 - a pytree like the model
        return jax.numpy.zeros((), jax.numpy.int32)

    def update(updates: Any, count: jax.Array, _: Any = None) -> tuple[Any, jax.Array]:  # noqa: ANN401 - as above
        def kept(path: Any, leaf: jax.Array) -> jax.Array:  # noqa: ANN401 - a key path of JAX
            return leaf if leaf_name(path) in TABLES else jax.numpy.where(count < steps, 0, leaf)

        return jax.tree_util.tree_map_with_path(kept, updates), count + 1

    return optax.GradientTransformation(init, update)


def make_step(
    options: Pretrain, document_start: int | None = None, optimizer: optax.GradientTransformation | None = None
) -> Any:  # noqa: ANN401 - a Step that jax.jit made, which can also be lowered
    """The compiled function (state, batch) -> (next state, outcome); it consumes the state's memory.

    The outcome holds `loss`, nats per token, and `gradient_norm`, both before the step, and what `spikes.judged` says
    of them: a spike moves neither weights nor optimiser.

    Arguments:
        options: of the run.
        document_start: where they mask documents, the id that begins one (`documents.document_start`).
        optimizer: that of `optimizer_of`, if None.
    """
    assert options.masks_documents == (document_start is not None)  # noqa: S101 - a mask must not be forgotten
    optimizer = optimizer or optimizer_of(options)
    of_part = jax.value_and_grad(mean_loss, has_aux=True)

    @partial(jax.jit, donate_argnums=0)
    def step(state: State, batch: dict[str, jax.Array]) -> tuple[State, Outcome]:
        (_, nats), slopes = accumulated(
            lambda part: of_part(state["model"], part, options.z_loss, document_start), batch
        )
        updates, optimizer_state = optimizer.update(slopes, state["optimizer"], state["model"])
        norm = optax.tree.norm(slopes)
        is_kept, record, told = spikes.judged(state["spikes"], nats, norm, options.spike_limit)
        moved = {"model": optax.apply_updates(state["model"], updates), "optimizer": optimizer_state}
        before = {name: state[name] for name in moved}
        next_state = spikes.unless_skipped(is_kept, moved, before) | {"spikes": record}
        return next_state, {"loss": nats, "gradient_norm": norm, **told}

    return step


def mean_loss(
    model: LanguageModel, batch: dict[str, jax.Array], z_loss: float = 0.0, document_start: int | None = None
) -> tuple[jax.Array, jax.Array]:
    """(objective, nats per token) over windows of S inputs and their S targets: batch["tokens"] is BxS+1.

    With `document_start`, the id that begins a document, a position sees its own document alone.
    """
    tokens_BxS1 = batch["tokens"]
    x_TxD, targets_T = features_and_targets(model, tokens_BxS1, batch.get("affect"), document_start)
    return mean_cross_entropy(x_TxD, model.output_table, targets_T, z_loss)


def batch_layout(options: Pretrain, mesh: Mesh, *, affect: bool) -> BatchLayout:
    """The layout of a batch of windows: `tokens`, S + 1 of each row, and with `affect` a vector of each input.

    Raises:
        UserError: a part's sequences cannot be shared out evenly.
    """
    S = options.seq_len
    arrays: dict[str, tuple[tuple[int, ...], type[np.generic]]] = {"tokens": ((S + 1,), np.int32)}
    if affect:
        arrays["affect"] = ((S, len(EMOTIONS)), np.float32)
    return BatchLayout(mesh, options.batch_size, options.accumulation, arrays)

"""Identity of an adaptation: the options, modules and data that decide its losses."""

from pathlib import Path
from typing import Any

from aura.adapt import exchanges, objective, own_answers, packing, step, weighted_losses
from aura.adapt.options import Adapt
from aura.adapt.step import Rates
from aura.core import checksums
from aura.model import attention, lora, mesh, model, weights
from aura.tokens import conversation_shards
from aura.tokens.conversation_shards import ConversationShards
from aura.training import batch_layout, choice, cross_entropy, generation, optimizer, permutation, steps
from aura.training.batch_layout import Machine
from aura.training.run_identity import RunIdentity, code_and_libraries

CODE = (
    *(exchanges, objective, own_answers, packing, step, weighted_losses, conversation_shards),
    *(attention, lora, mesh, model, batch_layout, choice, cross_entropy),
    *(generation, optimizer, permutation, steps),
)
PLACEMENT = {"where"}  # losses are equal to about 1e-4
AFTERWARDS = {"eval_every", "max_forgetting"}  # decide what is measured and judged
# Of the history; the first four of every step. Those of dvc.yaml's plots are among them.
COLUMNS = (
    *("loss", "gradient_norm", "learning_rate", "teacher_divergence"),
    *("response_loss", "start_divergence", "bits_per_byte"),
)


def run_identity(options: Adapt, machine: Machine, data: dict[str, Any]) -> RunIdentity:
    """Return the identity of a run.

    Arguments:
        options: section adapt.
        machine: section pretrain.
        data: what `data_of` returns.
    """
    return RunIdentity(
        task="adapt",
        steps=options.steps,
        decisive=decisive(options, machine, data),
        shared_steps=lambda steps: optimizer.steps_before_decay(Rates(steps, options.learning_rate)),
        checkpoint_folder=machine.checkpoint_folder,
        checkpoint_every=machine.checkpoint_every,
        columns=COLUMNS,
        best="response_loss",
    )


def data_of(model: Path, conversations: ConversationShards) -> dict[str, Any]:
    """Return the part of what decides the losses that is no option: two hashes, and the inputs of a window.

    Raises:
        UserError: the model is incomplete.
    """
    return {
        "the model": checksums.read(model, weights.MADE_BY)["model.safetensors"],
        "the conversations": conversations.sha256,
        "pretrain.seq_len": weights.config(model, seq_len=int)["seq_len"],
    }


def decisive(options: Adapt, machine: Machine, data: dict[str, Any]) -> dict[str, Any]:
    """All that decides the run's losses, by the names that a user knows. Up to its decay a longer run is the same."""
    unused = {"steps"} | PLACEMENT | AFTERWARDS
    if not options.rank:
        unused |= {"alpha", "matrices"}
    if not options.has_teacher:
        unused |= {"teacher_decay"}
    if options.teach == "reference":
        unused |= {"own_every"}
    kept = options.model_dump(exclude=unused)
    if options.rank:
        kept["matrices"] = sorted(options.matrices)
    named = {f"adapt.{name}": value for name, value in kept.items()} | {"pretrain.precision": machine.precision}
    if options.teach == "own":
        named["pretrain.accumulation"] = machine.accumulation  # each part draws its answers with a key of its own
    return data | named | code_and_libraries(CODE)

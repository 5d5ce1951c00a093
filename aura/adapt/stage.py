"""Adaptation in the project's folders: what the stage runs here, and each worker of a pod there."""

from pathlib import Path
from typing import Any

from aura.adapt.adapt import Adapted, Inputs, Metrics, adapt, require_kept
from aura.adapt.facts import facts
from aura.adapt.options import Adapt
from aura.core import console, paths
from aura.hugging_face.adapted_models import Outputs, write_models
from aura.hugging_face.folder import Trained
from aura.training import distributed
from aura.training.batch_layout import Machine


def adapt_here(options: Adapt, machine: Machine, *, add_bos: bool, profile: Path | None = None) -> None:
    """Adapt models/lm as `options` say and print a summary; with `profile`, write a trace of a few steps there.

    Raises:
        UserError: as `adapt.adapt`; or more was forgotten than `adapt.max_forgetting` allows, after all is written.
    """
    distributed.start()
    inputs = Inputs(paths.CONVERSATIONS, paths.LANGUAGE_MODEL, paths.TOKENIZER_MODEL, paths.TOKENS)
    base = Trained.of(paths.LANGUAGE_MODEL, paths.TOKENIZER)
    outputs = Outputs(paths.ADAPTER, paths.CHAT_MODEL)

    def write(adapted: Adapted) -> None:
        told = facts(adapted.metrics)
        write_models(adapted.trained, base, told, outputs, add_bos=add_bos, writes=distributed.is_first())

    metrics = adapt(inputs, paths.ADAPTATION, options, machine, write, profile)
    if distributed.is_first():
        tell(metrics, options)


def machine_here(machine: Any) -> Any:  # noqa: ANN401 - section pretrain, whose folder this one may not import
    """Section pretrain for a run on this machine: a mesh that fits a pod counts as one device, which a line says."""
    if machine.where == "local":
        return machine
    console.err.print("adapt runs on this machine: pretrain.fsdp and pretrain.tensor, which fit the pod, count as 1")
    return machine.model_copy(update={"fsdp": 1, "tensor": 1})


def tell(metrics: Metrics, options: Adapt, also: str = "") -> None:
    """Judge what was kept, and print a summary; `also` ends the line of places to look at.

    Raises:
        UserError: more was forgotten than `adapt.max_forgetting` allows.
    """
    require_kept(metrics, options)
    fall = metrics.response_loss_fall
    change = f"{abs(metrics.forgetting):.1%} {'more' if metrics.forgetting >= 0 else 'less'}"
    console.summary(
        "adapt",
        {
            "trained parameters": f"{metrics.trained_parameters:,}",
            "steps": f"{options.steps:,}",
            "held-out loss on answers": f"{metrics.response_loss:.3f} nats per token, {abs(fall):.1%} "
            f"{'less' if fall >= 0 else 'more'} than the {metrics.response_loss_before:.3f} before",
            "pretraining text": f"{metrics.bits_per_byte:.3f} bits per byte, {change} than before",
        },
        see=f"{paths.CHAT_MODEL}/README.md, {paths.ADAPTATION}/samples.txt{also}; to talk to it: aura chat",
    )

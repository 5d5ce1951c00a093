"""Pretraining in the project's folders: what the stage runs here, and each worker of a pod there."""

from pathlib import Path
from typing import Any

from aura.core import console, paths
from aura.evaluation.measures import STANDARD_ERROR
from aura.model import weights
from aura.model.options import Shape
from aura.pretrain import pretrain
from aura.pretrain.options import Pretrain
from aura.training import distributed
from aura.training.run_identity import RunIdentity


def pretrain_here(options: Pretrain, profile: Path | None = None) -> RunIdentity:
    """Train as `options` say and print a summary; with `profile`, write a trace of a few steps to that folder.

    Returns the identity of the run.

    Raises:
        UserError: as `pretrain.pretrain`.
    """
    distributed.start()
    metrics, identity = pretrain.pretrain_as(
        paths.TOKENS, paths.TOKENIZER_MODEL, paths.LANGUAGE_MODEL, paths.PRETRAINING, options, profile
    )
    if not distributed.is_first():
        return identity
    record = weights.config(paths.LANGUAGE_MODEL)
    told = (*Shape.model_fields, "own_head_width", "qk_norm")  # of the last, those that are not as usual
    shape = {name.removeprefix("own_"): record["model"][name] for name in told if record["model"].get(name)}
    console.summary(
        "pretrain",
        {
            "parameters": f"{metrics.parameters:,}",
            "shape": ", ".join(f"{name} {value}" for name, value in shape.items()),
            **({"began from": f"{options.base}, SHA-256 {record['base']['sha256'][:16]}…"} if options.base else {}),
            "steps": f"{options.steps:,}{f', {metrics.skipped_steps} skipped' if metrics.skipped_steps else ''}",
            "recipe": f"{options.optimizer}, rate {options.learning_rate:.3g} after {options.warmup_steps} steps, "
            f"batches of {options.batch_size}, weight decay {options.weight_decay:g}",
            "tokens": f"{metrics.tokens:,}",
            "held-out bits per byte": f"{metrics.bits_per_byte:.3f}, {abs(metrics.improvement):.1%} "
            f"{'less' if metrics.improvement >= 0 else 'more'} than the {metrics.context_free_bits_per_byte:.3f} of "
            "the best model without context",
            **{f"set {name}": _told(told) for name, told in metrics.evaluations.items()},
        },
        see=f"{paths.LANGUAGE_MODEL}/config.json, {paths.PRETRAINING}/samples.txt, dvc plots show",
    )
    return identity


def _told(evaluation: dict[str, Any]) -> str:
    """The measures of an evaluation set, each with its standard error if it has one."""
    measures = {name: value for name, value in evaluation.items() if isinstance(value, float)}
    errors = {name: f" ± {measures[end]:.3f}" for name in measures if (end := name + STANDARD_ERROR) in measures}
    values = [
        f"{name.replace('_', ' ')} {value:.3f}{errors.get(name, '')}"
        for name, value in measures.items()
        if not name.endswith(STANDARD_ERROR)
    ]
    cut = evaluation.get("cut_contexts")
    return ", ".join([*values, *([f"{cut:,} contexts lost their beginning"] if cut else [])])

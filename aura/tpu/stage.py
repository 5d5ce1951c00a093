"""A stage with `where: tpu` in its section: the run takes place on a pod, its results come into the project.

A remote run is a stage like any other: same inputs, same outputs, hashed by DVC. Interrupted and repeated,
`dvc repro` attaches to the run that goes on there.
"""

import os
from pathlib import Path

from aura.core import console, files, paths
from aura.project import whole_params
from aura.tpu import launch, missing
from aura.tpu.pod_stages import ADAPT, PRETRAIN, PodStage
from aura.tpu.settings import Settings, place, refuse_run_variables


def pretrain_on_pod(values: whole_params.Params) -> None:
    """Run `pretrain` on the pod that NAME, ZONE, ACCELERATOR and the like describe, and stay until it has ended."""
    checkpoint = _run(PRETRAIN, values)
    shape = {"parameters": int, "tokens": int, "bits_per_byte": float}
    metrics = files.read_object(paths.PRETRAINING / "metrics.json", "dvc repro pretrain", **shape)
    console.summary(
        "pretrain",
        {
            "parameters": f"{metrics['parameters']:,}",
            "tokens": f"{metrics['tokens']:,}",
            "held-out bits per byte": f"{metrics['bits_per_byte']:.3f}",
        },
        see=f"{paths.LANGUAGE_MODEL}, {paths.PRETRAINING}, and {checkpoint}",
    )


def adapt_on_pod(values: whole_params.Params) -> None:
    """Run `adapt` as `pretrain_on_pod` does that stage.

    Raises:
        UserError: more was forgotten than `adapt.max_forgetting` allows, after all is here.
    """
    from aura.adapt.adapt import read_metrics  # JAX, which the other stage does not need here
    from aura.adapt.stage import tell

    checkpoint = _run(ADAPT, values)
    tell(read_metrics(paths.ADAPTATION), values.adapt, also=f", {checkpoint}")


def _run(stage: PodStage, values: whole_params.Params) -> str:
    """Run a stage on the pod; say where its last checkpoint is."""
    where = place({}, os.environ)
    refuse_run_variables(values, os.environ, where.devices, stage)
    missing.refuse(where, values, None, None, stage)
    launch.run(Settings(where, values, stage=stage), Path())
    account = files.read_object(stage.model / "checkpoint.json", f"dvc repro {stage.name}", uri=str)
    return f"the checkpoint in {account['uri']}"

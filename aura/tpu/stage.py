"""The stage `pretrain` with `pretrain.where: tpu`: the run takes place on a pod, its results come into the project.

A remote run is a stage like any other: same inputs, same outputs, hashed by DVC. Interrupted and repeated,
`dvc repro` attaches to the run that goes on there.
"""

import os
from pathlib import Path

from aura.core import console, files, paths
from aura.project import whole_params
from aura.tpu import launch, missing
from aura.tpu.settings import Settings, place, refuse_run_variables


def pretrain_on_pod(values: whole_params.Params) -> None:
    """Run the stage on the pod that NAME, ZONE, ACCELERATOR and the like describe, and stay until it has ended."""
    where = place({}, os.environ)
    refuse_run_variables(values, os.environ, where.devices)
    missing.refuse(where, values, None, None)
    settings = Settings(where, values)
    launch.run(settings, Path())
    shape = {"parameters": int, "tokens": int, "bits_per_byte": float}
    metrics = files.read_object(paths.PRETRAINING / "metrics.json", "dvc repro pretrain", **shape)
    checkpoint = files.read_object(paths.LANGUAGE_MODEL / "checkpoint.json", "dvc repro pretrain", uri=str)
    console.summary(
        "pretrain",
        {
            "parameters": f"{metrics['parameters']:,}",
            "tokens": f"{metrics['tokens']:,}",
            "held-out bits per byte": f"{metrics['bits_per_byte']:.3f}",
        },
        see=f"{paths.LANGUAGE_MODEL}, {paths.PRETRAINING}, and the checkpoint in {checkpoint['uri']}",
    )

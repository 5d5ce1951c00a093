"""Stage pretrain: data/tokens and models/spm -> models/lm, reports/pretrain."""

import argparse
from pathlib import Path

from aura import console, libraries, params, stage_inputs
from aura.errors import UserError
from aura.self_teaching_llm import distributed, pretrain

OUTPUT, REPORTS = Path("models/lm"), Path("reports/pretrain")


def main() -> None:
    """Train the language model that params.yaml describes."""
    parser = argparse.ArgumentParser(prog="python -m stages.pretrain", description=main.__doc__)
    parser.add_argument("--profile", type=Path, metavar="FOLDER", help="write a trace of a few steps for TensorBoard")
    profile = parser.parse_args().profile
    libraries.require_locked()
    values = params.load()
    options = values.pretrain
    if options.where == "tpu":
        if profile:
            raise UserError("--profile traces a run on this machine; this one is on a pod. Set pretrain.where: local")
        from aura.tpu import stage  # decides no bytes: the pod runs this stage

        stage.pretrain_on_pod(values)
        return
    distributed.start()
    metrics = pretrain.pretrain(Path("data/tokens"), Path("models/spm/spiece.model"), OUTPUT, REPORTS, options, profile)
    if not distributed.is_first():
        return
    console.summary(
        "pretrain",
        {
            "parameters": f"{metrics.parameters:,}",
            "shape": ", ".join(f"{name} {value}" for name, value in options.shape),
            "steps": f"{options.steps:,}",
            "tokens": f"{metrics.tokens:,}",
            "held-out bits per byte": f"{metrics.bits_per_byte:.3f}, context-free "
            f"{metrics.context_free_bits_per_byte:.3f} ({-metrics.improvement:+.1%})",
        },
        see=f"{OUTPUT}/config.json, {REPORTS}/samples.txt, dvc plots show",
    )


if __name__ == "__main__":
    stage_inputs.run("pretrain", main)

"""Stage pretrain: data/tokens and models/spm -> models/lm, reports/pretrain."""

import argparse
from pathlib import Path

from aura.core import libraries, params, stage_inputs
from aura.core.errors import UserError
from aura.pretrain.stage import pretrain_here


def main() -> None:
    """Train the language model that params.yaml describes."""
    parser = argparse.ArgumentParser(prog="python -m stages.pretrain", description=main.__doc__)
    parser.add_argument("--profile", type=Path, metavar="FOLDER", help="write a trace of a few steps for TensorBoard")
    profile = parser.parse_args().profile
    libraries.require_locked()
    values = params.load()
    if values.pretrain.where == "tpu":
        if profile:
            raise UserError("--profile traces a run on this machine; this one is on a pod. Set pretrain.where: local")
        from aura.tpu.stage import pretrain_on_pod  # decides no bytes: the pod runs this stage

        pretrain_on_pod(values)
        return
    pretrain_here(values.pretrain, profile)


if __name__ == "__main__":
    stage_inputs.run("pretrain", main)

"""adapt: data/conversations and models/lm → models/adapter, models/chat, reports/adapt."""

import argparse
from pathlib import Path

from aura.training.kept_memory import keep_memory

if __name__ == "__main__":
    keep_memory()  # before the imports below start a thread

from aura.adapt.options import Adapt
from aura.adapt.stage import adapt_here, machine_here
from aura.core import params, stage_inputs
from aura.core.errors import UserError
from aura.encode.options import Encode
from aura.pretrain.options import PretrainSection
from aura.stages import preamble


def main() -> None:
    """Adapt the language model to conversations, here or on a pod."""
    parser = argparse.ArgumentParser(prog="python -m aura.stages.adapt", description=main.__doc__)
    parser.add_argument("--profile", type=Path, metavar="FOLDER", help="write a trace of a few steps for TensorBoard")
    profile = parser.parse_args().profile
    preamble.check()
    options, machine = params.section("adapt", Adapt), params.section("pretrain", PretrainSection)
    if options.where == "tpu":
        if profile:
            raise UserError("--profile traces a run on this machine; this one is on a pod. Set adapt.where: local")
        from aura.project import whole_params
        from aura.tpu.stage import adapt_on_pod  # decides no bytes: the pod runs this stage

        adapt_on_pod(whole_params.load())
        return
    adapt_here(options, machine_here(machine), add_bos=params.section("encode", Encode).add_bos, profile=profile)


if __name__ == "__main__":
    stage_inputs.run("adapt", main)

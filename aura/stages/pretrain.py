"""pretrain: data/tokens and models/spm → models/lm, reports/pretrain."""

import argparse
from pathlib import Path

from aura.training.kept_memory import keep_memory

if __name__ == "__main__":
    keep_memory()  # before the imports below start a thread

from aura.core import console, hub_address, params, stage_inputs
from aura.core.errors import UserError
from aura.pretrain import recipe
from aura.pretrain.options import PretrainSection
from aura.pretrain.stage import pretrain_here
from aura.stages import preamble


def main() -> None:
    """Train the language model that params.yaml describes."""
    parser = argparse.ArgumentParser(prog="python -m aura.stages.pretrain", description=main.__doc__)
    parser.add_argument("--profile", type=Path, metavar="FOLDER", help="write a trace of a few steps for TensorBoard")
    profile = parser.parse_args().profile
    preamble.check()
    section = params.section("pretrain", PretrainSection)
    options = recipe.decided(section)
    if numbers := recipe.told(section, options):
        console.out.print(f"pretrain: {numbers} (docs/recipe.md)", markup=False)
    if options.base and not hub_address.is_address(options.base):
        preamble.tell_untracked("pretrain", "pretrain.from", options.base)
    for name, path in options.evaluate.items():
        preamble.tell_untracked("pretrain", f"pretrain.evaluate.{name}", path)
    if options.where == "tpu":
        if profile:
            raise UserError("--profile traces a run on this machine; this one is on a pod. Set pretrain.where: local")
        from aura.project import whole_params
        from aura.tpu.stage import pretrain_on_pod  # decides no bytes: the pod runs this stage

        pretrain_on_pod(whole_params.load())
        return
    pretrain_here(options, profile)


if __name__ == "__main__":
    stage_inputs.run("pretrain", main)

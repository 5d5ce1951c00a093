"""Plan of an adaptation of a model of 8 billion weights on a TPU pod: whether it fits, by the real step's compilation.

    make tpu-tools
    python benchmarks/adapt_plan.py [--accelerator v5p-32] [--rank 16] [--fast]

The shape is that of Llama 3 8B (arXiv:2407.21783, table 3), with low-rank factors beside all matrices and a teacher.
No TPU is asked, and no time of a step is measured.
"""

import argparse

from measure import machine

from aura.model.options import Shape
from aura.project import whole_params
from aura.tpu import plan, report
from aura.tpu.topology import accelerator

SHAPE, PIECES = Shape(layers=32, width=4096, heads=32, kv_heads=8, hidden=14336), 128_256


def main() -> None:
    """Compile the step, and print the plan."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accelerator", default="v5p-32")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--seq-len", type=int, default=4096)
    parser.add_argument("--fast", action="store_true", help="compile without optimisation")
    asked = parser.parse_args()
    pod, params = accelerator(asked.accelerator), whole_params.load()
    adapt = params.adapt.model_copy(update={"rank": asked.rank, "batch_size": asked.batch_size})
    pretrain = params.pretrain.model_copy(
        update={
            "size": SHAPE,
            "tied_embeddings": False,
            "seq_len": asked.seq_len,
            "fsdp": pod.chips_per_slice,
            "precision": "bfloat16",
            "remat": True,
        }
    )
    print(f"{machine()}\n")
    report.show(plan.plan(plan.adapting(pretrain, adapt), PIECES, pod, fast=asked.fast, adapt=adapt))


if __name__ == "__main__":
    main()

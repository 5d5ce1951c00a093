"""aura's side of benchmarks/pretrain.py: the step, batches and placing of the stage pretrain, on random tokens.

python benchmarks/train_aura.py CASE      CASE: a JSON object, see benchmarks/pretrain.py
"""

import gc
import json
import resource
import sys
from functools import partial

from aura.training.kept_memory import keep_memory

if __name__ == "__main__":  # both as the stage has them
    keep_memory()  # before the imports below start a thread
    gc.disable()

import jax
import numpy as np
from turns import serve

from aura.model.mesh import make_mesh
from aura.model.model import Compute, ModelConfig
from aura.pretrain import recipe
from aura.pretrain.step.batches import Batches, Source
from aura.pretrain.step.training import batch_layout, initial_state, make_step
from aura.project import whole_params
from aura.tokens.streams import TokenStream
from aura.training.flops import flops_per_token, peak_flops
from aura.training.steps import train


def main() -> None:
    """Compile, then take steps when told to."""
    gc.freeze()
    gc.enable()
    case = json.loads(sys.argv[1])
    pieces = case.pop("vocab_size")
    case |= {"size": case.pop("shape"), "steps": 1_000_000}
    values = whole_params.changed(whole_params.load(), {f"pretrain.{name}": value for name, value in case.items()})
    options = recipe.decided(values.pretrain)
    device = jax.devices()[0]
    config, compute, mesh = (
        ModelConfig.of(options, pieces),
        Compute.of(options, device.platform),
        make_mesh(1, 1, [device]),
    )
    layout = batch_layout(options, mesh, affect=False)
    tokens = np.random.default_rng(0).integers(pieces, size=4_000_000, dtype=np.uint32)
    batches = Batches([Source("random", TokenStream([tokens]))], options.batch_size, options.seq_len, options.seed)
    with jax.set_mesh(mesh):
        state = jax.jit(partial(initial_state, options, config, compute))()
        step = make_step(options).lower(state, layout.shapes()).compile()
        outcomes = train(state, step, batches, layout, 0, options.steps)
        facts = {
            "version": f"jax {jax.__version__}",
            "device": device.device_kind,
            "peak": peak_flops(device.device_kind),
            "flops_per_token": flops_per_token(config, options.seq_len),
            "parameters": sum(leaf.size for leaf in jax.tree.leaves(state["model"])),
        }

        def take_unread(steps: int) -> None:
            for number in range(steps):
                new_state, outcome = step(state, layout.put(batches, number))
                state.update(new_state)
            outcome["loss"].block_until_ready()

        def memory() -> int:
            of_device = device.memory_stats() or {}
            of_process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            return int(of_device.get("peak_bytes_in_use", of_process))

        # `train` is a step ahead of the loss that it gives.
        serve(lambda: next(outcomes)["loss"], take_unread, memory, facts, lambda: jax.block_until_ready(state))


if __name__ == "__main__":
    main()

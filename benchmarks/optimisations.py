"""What each optimisation is worth: all of them on, then each one off, then all off.

    make tpu-tools
    python benchmarks/optimisations.py [--accelerator v5e-16] [--size medium] [--fast]

Memory per device is the TPU compiler's for the real training step on that pod, at the effort with which it would
run there; no TPU is asked. Seconds are measured here, on CPU, for a small model, where an optimisation has a meaning
there. Prints Markdown.
"""

import argparse
import re
import statistics
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np
from measure import machine

from aura.model.mesh import abstract, make_mesh
from aura.model.model import Compute, ModelConfig
from aura.pretrain import recipe
from aura.pretrain.options import Pretrain
from aura.pretrain.step.batches import Batches, Source
from aura.pretrain.step.training import batch_layout, initial_state, make_step
from aura.project import whole_params
from aura.tokens.streams import TokenStream
from aura.tpu import compiler
from aura.tpu.topology import GIB, accelerator

PIECES = 32_000
SMALL = {"size": {"layers": 6, "width": 320, "heads": 5, "kv_heads": 5, "hidden": 864}, "seq_len": 256, "batch_size": 8}


@dataclass(frozen=True)
class Variant:
    """How a step is computed; `sharding` is whether weights and optimiser are spread over the devices (fsdp)."""

    compute: Compute
    sharding: bool = True
    donation: bool = True


def variants(best: Compute) -> dict[str, Variant]:
    """All on, each off, all off."""
    on = Variant(best)
    return {
        "all on": on,
        "without remat": replace(on, compute=replace(best, remat=False)),
        "without bfloat16 (float32)": replace(on, compute=replace(best, dtype="float32")),
        "without scan (layers unrolled)": replace(on, compute=replace(best, unroll=100)),
        "without fused attention (splash)": replace(on, compute=replace(best, attention="plain")),
        "without sharding (fsdp 1)": replace(on, sharding=False),
        "without donation": replace(on, donation=False),
        "all off": Variant(Compute(unroll=100), sharding=False, donation=False),
    }


def step_of(options: Pretrain, variant: Variant) -> Any:  # noqa: ANN401 - what jax.jit makes
    """The step of training; without donation, its function compiled again."""
    step = make_step(options)
    return step if variant.donation else jax.jit(step.__wrapped__)


def memory(options: Pretrain, variant: Variant, devices: list[Any], *, fast: bool) -> str:
    """GiB that a device holds at once, or what it would need if that is too much."""
    options = options.model_copy(update={"fsdp": len(devices) if variant.sharding else 1})
    mesh, config = make_mesh(options.fsdp, 1, devices), ModelConfig.of(options, PIECES)
    state = abstract(partial(initial_state, options, config, variant.compute), mesh)
    with compiler.effort(fast=fast):
        with jax.set_mesh(mesh):
            lowered = step_of(options, variant).lower(state, batch_layout(options, mesh, affect=False).shapes())
        try:
            found = lowered.compile().memory_analysis()
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            sizes = re.search(r"\(([0-9.]+[GM])\) exceeds", str(error))
            return f"does not fit: {sizes[1]} of temporaries" if sizes else "does not fit"
    held = found.argument_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
    return f"{(held + found.temp_size_in_bytes + found.generated_code_size_in_bytes) / GIB:.2f}"


def seconds(options: Pretrain, variant: Variant, steps: int) -> float:
    """CPU seconds of a step of a small model here; the median."""
    options = Pretrain.model_validate(options.model_dump() | SMALL)
    mesh, config = make_mesh(1, 1, jax.devices()[:1]), ModelConfig.of(options, PIECES)
    compute, layout = replace(variant.compute, attention="plain"), batch_layout(options, mesh, affect=False)
    tokens = np.random.default_rng(0).integers(PIECES, size=100_000, dtype=np.uint16)
    batches = Batches([Source("random", TokenStream([tokens]))], options.batch_size, options.seq_len, seed=0)
    with jax.set_mesh(mesh):
        state = jax.jit(partial(initial_state, options, config, compute))()
        step, taken = step_of(options, variant), []
        for number in range(steps + 1):
            begun = time.process_time()
            state, outcome = step(state, layout.put(batches, number))
            jax.block_until_ready((state, outcome))
            taken.append(time.process_time() - begun)
    return statistics.median(taken[1:])


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accelerator", default="v5e-16", help="the pod to compile for")
    parser.add_argument("--size", default="medium", help="of the model")
    parser.add_argument("--seq-len", type=int, default=2048, help="tokens of a sequence")
    parser.add_argument("--batch-size", type=int, default=64, help="sequences of a step, over all devices")
    parser.add_argument("--steps", type=int, default=5, help="steps measured here")
    parser.add_argument("--fast", action="store_true", help="compile without optimisation; too much memory")
    arguments = parser.parse_args()
    changes = {"size": arguments.size, "seq_len": arguments.seq_len, "batch_size": arguments.batch_size}
    options = recipe.decided(whole_params.load().pretrain).model_copy(update=changes)
    pod = accelerator(arguments.accelerator)
    devices = compiler.devices(pod)
    print(f"{machine()}; {options.size} on {pod}, {options.batch_size} sequences of {options.seq_len}\n")
    print("| | GiB per device | CPU seconds per step here |\n|---|---|---|")
    for name, variant in variants(Compute("bfloat16", remat=True, attention="splash")).items():
        here = "splash" not in name and "fsdp" not in name
        took = f"{seconds(options, variant, arguments.steps):.2f}" if here else ""
        print(f"| {name} | {memory(options, variant, devices, fast=arguments.fast)} | {took} |", flush=True)


if __name__ == "__main__":
    main()

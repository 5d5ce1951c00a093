"""Variants of the network at equal steps on the pipeline's own tokens: held-out bits per byte and CPU time of a step.

    dvc repro encode
    python benchmarks/architecture.py

Each run is a process of its own on one core, so that its CPU time does not depend on what else runs. The time is that
of the steps after the first ten, without compiling and evaluating. `--set optimizer=muon` and the like change options
of `pretrain` for all variants. With --json, the variants are read from there: {NAME: {OPTION: VALUE}}.
"""

import argparse
import json
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

HERE = Path(__file__).resolve().parent
SHAPE = {"layers": 4, "width": 128, "heads": 4, "kv_heads": 2, "hidden": 384}  # that of `tiny`
VARIANTS: dict[str, dict[str, Any]] = {
    "base": {},
    "qk_norm": {"qk_norm": True},
    "document masks": {"document_masks": True},
    "2 heads of 64, 1 for keys": {"size": SHAPE | {"heads": 2, "kv_heads": 1}},
    "4 heads of 64, 2 for keys": {"size": SHAPE | {"head_width": 64}},
    "4 heads for keys": {"size": SHAPE | {"kv_heads": 4}},
    "1 head for keys": {"size": SHAPE | {"kv_heads": 1}},
}
SETTLED = 10  # steps that are not timed


def main() -> None:
    """Run every variant with every seed, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE")
    parser.add_argument("--json", type=json.loads, default=VARIANTS)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--run", type=json.loads, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.run is not None:
        print(json.dumps(run(asked.run)))
        return
    changes = {"steps": asked.steps, "warmup_steps": asked.steps // 20} | dict(map(_option, asked.set))
    print(f"{changes}, {asked.seeds} seeds, one core\n")
    print("| Variant | parameters | bits per byte | of each seed | CPU ms a step |")
    print("|---|---|---|---|---|", flush=True)
    for name, variant in asked.json.items():
        if asked.only and name not in asked.only:
            continue
        found = [_apart(changes | variant | {"seed": seed}, asked.core) for seed in range(asked.seeds)]
        bits = [one["bits_per_byte"] for one in found]
        milliseconds = min(one["milliseconds"] for one in found)
        each = ", ".join(f"{value:.3f}" for value in bits)
        print(f"| {name} | {found[0]['parameters']:,} | {mean(bits):.3f} | {each} | {milliseconds:.1f} |", flush=True)


def _option(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _apart(changes: dict[str, Any], core: int) -> dict[str, float]:
    command = ["taskset", "-c", str(core), sys.executable, __file__, "--run", json.dumps(changes)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def run(changes: dict[str, Any]) -> dict[str, float]:
    """Train in this process; returns bits per byte, CPU time of a step, and the number of weights."""
    import jax

    from aura.core import paths
    from aura.model.mesh import make_mesh
    from aura.model.model import Compute, ModelConfig
    from aura.pretrain import recipe
    from aura.pretrain.pretrain import training_sources
    from aura.pretrain.step.batches import Batches
    from aura.pretrain.step.training import batch_layout, initial_state, make_step
    from aura.project import whole_params
    from aura.tokenizer import opening
    from aura.tokens.token_shards import TokenShards
    from aura.training.documents import document_start
    from aura.training.evaluation import HeldOut, evaluation_windows

    values = whole_params.changed(whole_params.load(), {f"pretrain.{name}": value for name, value in changes.items()})
    options, tokenizer = recipe.decided(values.pretrain), opening.load(paths.TOKENIZER / "spiece.model")
    shards = TokenShards(paths.TOKENS, tokenizer.encoding_sha256)
    config = ModelConfig.of(options, tokenizer.vocab_size)
    mesh = make_mesh(1, 1, jax.devices()[:1])
    layout = batch_layout(options, mesh, affect=False)
    batches = Batches(training_sources(shards, options), options.batch_size, options.seq_len, options.seed)
    streams = {source: shards.stream("held_out", source) for source in shards.sources("held_out")}
    windows, sources = evaluation_windows(streams, options.seq_len, options.eval_tokens)
    start = document_start(shards, tokenizer, masks=options.masks_documents)
    with jax.set_mesh(mesh):
        state = jax.jit(partial(initial_state, options, config, Compute.of(options, "cpu")))()
        step = make_step(options, start).lower(state, layout.shapes()).compile()
        for number in range(options.steps):
            if number == SETTLED:
                begun = time.process_time()
            state, outcome = step(state, layout.put(batches, number))
            float(outcome["loss"])
        milliseconds = 1e3 * (time.process_time() - begun) / (options.steps - SETTLED)
        held_out = HeldOut(windows, sources, tokenizer.byte_lengths, layout.rows, start)
        bits, _ = held_out.bits_per_byte(state["model"])
    size = sum(leaf.size for leaf in jax.tree.leaves(state["model"]))
    return {"bits_per_byte": bits, "milliseconds": milliseconds, "parameters": size}


if __name__ == "__main__":
    main()

"""Sweeps of the learning rate: Muon beside AdamW, and `auto` beside the best rate of each sweep.

    dvc repro encode
    taskset -c 0 python benchmarks/recipe.py run tiny muon 600 0.008 0.016 0.032 auto    size, optimiser, steps, rates
    python benchmarks/recipe.py table                                       Markdown
    python benchmarks/recipe.py picture                                     docs/recipe.svg: the best curves

A run trains on data/tokens by the stage's own step, in windows of 128 and batches of 8, on one core. Points of its
curve are measured on 16,384 held-out tokens, and its end on 65,536. Its numbers become a line of
benchmarks/results/recipe.jsonl, and no run is repeated. Seconds are CPU seconds of training alone: on one core they
are what an idle machine would show.
"""

import argparse
import datetime
import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aura.training.kept_memory import keep_memory

if __name__ == "__main__":
    keep_memory()  # before the imports below start a thread

import jax

from aura.core import files, paths
from aura.pretrain import recipe
from aura.pretrain.options import Pretrain
from aura.pretrain.pretrain import Pretraining
from aura.project import whole_params
from aura.tokenizer import opening
from aura.tokens.token_shards import TokenShards
from aura.training.compiled_programs import keep_compiled
from aura.training.steps import train

PICTURE = Path("docs/recipe.svg")
RESULTS = Path(__file__).parent / "results"
RUNS = RESULTS / "recipe.jsonl"
SIZES: dict[str, Any] = {
    "tiny": "tiny",
    "10m": {"layers": 6, "width": 320, "heads": 5, "kv_heads": 5, "hidden": 864},
    "30m": {"layers": 8, "width": 512, "heads": 8, "kv_heads": 8, "hidden": 1408},
}
CURVE_TOKENS, END_TOKENS = 2**14, 2**16  # held out, evaluated for each point of a curve and at the end


def options_of(run: dict[str, Any]) -> Pretrain:
    """Section pretrain of a run, by its description."""
    changes = {"size": SIZES[run["size"]], "optimizer": run["optimizer"], "steps": run["steps"], "seed": run["seed"]}
    changes |= {
        "learning_rate": run["rate"],
        "warmup_steps": "auto",
        "weight_decay": "auto",
        "eval_tokens": CURVE_TOKENS,
    }
    values = whole_params.changed(whole_params.load(), {f"pretrain.{name}": value for name, value in changes.items()})
    return recipe.decided(values.pretrain)


def measured(run: dict[str, Any], points: int) -> dict[str, Any]:
    """Train; bits per byte and CPU seconds after each of so many equal parts of the steps."""
    tokenizer = opening.load(paths.TOKENIZER_MODEL)
    options, shards = options_of(run), TokenShards(paths.TOKENS, tokenizer.encoding_sha256)
    task = Pretraining(shards, tokenizer, options)
    at_the_end = Pretraining(shards, tokenizer, options.model_copy(update={"eval_tokens": END_TOKENS})).held_out
    with jax.set_mesh(task.mesh):
        state = task.first_state()
        step = task.compiled_step(state)
        seconds, curve = 0.0, []
        every = options.steps // points
        begun = time.process_time()
        taken = train(
            state, step, task.batches, task.layout, 0, options.steps, settles=lambda number: number % every == 0
        )
        for number, _ in enumerate(taken, 1):
            if number % every == 0:
                seconds += time.process_time() - begun
                curve.append((number, round(seconds, 1), round(task.held_out.bits_per_byte(state["model"])[0], 4)))
                begun = time.process_time()
        bits_per_byte = at_the_end.bits_per_byte(state["model"])[0]
    return {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state["model"])),
        "learning_rate": options.learning_rate,
        "tokens": options.steps * options.batch_size * options.seq_len,
        "bits_per_byte": round(bits_per_byte, 4),
        "seconds": curve[-1][1],
        "curve": curve,
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
    }


def kept() -> list[dict[str, Any]]:
    """All runs that have a line."""
    return [json.loads(line) for line in RUNS.read_text(encoding="utf-8").splitlines()] if RUNS.exists() else []


def is_of(run: dict[str, Any], line: dict[str, Any]) -> bool:
    """Whether a line is of this run: rates that were `auto` once are compared as numbers."""
    same = all(line[name] == run[name] for name in ("size", "optimizer", "steps", "seed"))
    return same and math.isclose(line["learning_rate"], run["rate"])


def run_all(size: str, optimizer: str, steps: int, rates: list[str], seeds: list[int], points: int) -> None:
    """Make the runs that have no line yet."""
    keep_compiled()
    for rate in rates:
        for seed in seeds:
            run = {"size": size, "optimizer": optimizer, "steps": steps, "seed": seed}
            run["rate"] = options_of(run | {"rate": rate}).learning_rate if rate == "auto" else float(rate)
            if any(is_of(run, line) for line in kept()):
                continue
            line = json.dumps(run | measured(run, points))
            with RUNS.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()


def rows(lines: list[dict[str, Any]]) -> Iterator[str]:
    """A table row for each sweep: its rates, the best one, and what `auto` loses against that."""
    for sweep in sorted({(line["parameters"], line["steps"], line["optimizer"]) for line in lines}):
        of_sweep = [line for line in lines if (line["parameters"], line["steps"], line["optimizer"]) == sweep]
        by_rate = {line["learning_rate"]: line for line in of_sweep if line["seed"] == 0}
        best = min(by_rate.values(), key=lambda line: line["bits_per_byte"])
        told = ", ".join(f"{rate:.3g}: {by_rate[rate]['bits_per_byte']:.4f}" for rate in sorted(by_rate))
        rule = options_of(best | {"rate": "auto"}).learning_rate
        auto = next((line for rate, line in by_rate.items() if math.isclose(rate, rule)), None)
        loses = f"{auto['bits_per_byte'] / best['bits_per_byte'] - 1:+.2%}" if auto else ""
        yield (
            f"| {sweep[0] / 1e6:.1f} M | {best['tokens'] / 1e3:,.0f} k | {sweep[2]} | {told} "
            f"| {best['learning_rate']:.3g} | {best['bits_per_byte']:.4f} | {best['seconds']:.0f} | {loses} |"
        )


def best_runs(lines: list[dict[str, Any]]) -> Iterator[tuple[int, int, dict[str, Any], dict[str, Any]]]:
    """(weights, steps, best run of AdamW, best run of Muon) of each size and budget that has both; seed 0."""
    best: dict[tuple[int, int], dict[str, dict[str, Any]]] = {}
    for line in sorted(lines, key=lambda line: -line["bits_per_byte"]):
        if line["seed"] == 0:
            best.setdefault((line["parameters"], line["steps"]), {})[line["optimizer"]] = line
    for sweep, found in sorted(best.items()):
        if len(found) == 2:
            yield *sweep, found["adamw"], found["muon"]


def passes(lines: list[dict[str, Any]]) -> Iterator[str]:
    """A row for each size and budget: when the best run of Muon passes the end of the best run of AdamW."""
    for parameters, steps, adamw, muon in best_runs(lines):
        end = adamw["curve"][-1][2]
        passed = next((point for point in muon["curve"] if point[2] <= end), None)
        after = "never"
        if passed:
            after = (
                f"{passed[0]} steps ({passed[0] / steps:.0%}), {passed[1]:.0f} s ({passed[1] / adamw['seconds']:.0%})"
            )
        if len(muon["curve"]) < 5:
            after = "its curve has too few points"
        yield (
            f"| {parameters / 1e6:.1f} M | {steps} | {adamw['bits_per_byte']:.4f} | {muon['bits_per_byte']:.4f} "
            f"| {after} | {muon['seconds'] / adamw['seconds']:.2f} |"
        )


def draw(lines: list[dict[str, Any]]) -> None:
    """Write the picture: each optimiser's best curve for each size's largest budget, over tokens and CPU seconds."""
    import vl_convert

    largest = {f"{parameters / 1e6:.1f} M weights": (adamw, muon) for parameters, _, adamw, muon in best_runs(lines)}
    points = [
        {"size": size, "optimizer": name, "bits": bits, "over": over, "x": x}
        for size, runs in largest.items()
        for name, run in zip(("AdamW", "Muon"), runs, strict=True)
        for step, seconds, bits in run["curve"]
        for over, x in (("thousand tokens", run["tokens"] * step / run["steps"] / 1e3), ("CPU seconds", seconds))
    ]
    scale = {"zero": False}
    shown = {
        "data": {"values": points},
        "facet": {
            "column": {"field": "size", "sort": [*largest], "title": None},
            "row": {"field": "over", "sort": ["thousand tokens", "CPU seconds"], "title": "bits per byte over"},
        },
        "spec": {
            "width": 230,
            "height": 150,
            "mark": {"type": "line", "point": True},
            "encoding": {
                "x": {"field": "x", "type": "quantitative", "title": None},
                "y": {"field": "bits", "type": "quantitative", "title": None, "scale": scale},
                "color": {"field": "optimizer", "title": None, "scale": {"range": ["#9aa0a6", "#245a8f"]}},
            },
        },
        "resolve": {"scale": {"x": "independent", "y": "independent"}},
        "background": "white",
    }
    files.write_bytes(PICTURE, vl_convert.vegalite_to_svg(shown).encode())


def main() -> None:
    """Run a sweep, or tell what all found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run")
    run.add_argument("size", choices=SIZES)
    run.add_argument("optimizer", choices=["muon", "adamw"])
    run.add_argument("steps", type=int)
    run.add_argument("rates", nargs="+", help="numbers, or auto")
    run.add_argument("--points", type=int, default=10, help="of a curve")
    run.add_argument("--seeds", nargs="+", type=int, default=[0])
    commands.add_parser("table")
    commands.add_parser("picture")
    arguments = parser.parse_args()
    if arguments.command == "run":
        if arguments.steps % arguments.points:
            parser.error(f"expected --points that divide {arguments.steps} steps, got {arguments.points}")
        run_all(
            arguments.size, arguments.optimizer, arguments.steps, arguments.rates, arguments.seeds, arguments.points
        )
        return
    lines = kept()
    if arguments.command == "picture":
        draw(lines)
        return
    print("| weights | tokens | optimiser | bits per byte by rate | best rate | bits per byte | CPU s | auto |")
    print("|---|---|---|---|---|---|---|---|")
    print("\n".join(rows(lines)))
    print("\n| weights | steps | AdamW's end | Muon's end | Muon passes AdamW's end after | CPU time, Muon / AdamW |")
    print("|---|---|---|---|---|---|")
    print("\n".join(passes(lines)))


if __name__ == "__main__":
    main()

"""Training steps: aura's beside a nanoGPT-style torch.compile model's, of the same shape, batch and precision.

    make .venv-torch/ready
    python benchmarks/pretrain.py [--cases tiny 10m] [--rounds 7] [--threads 2] [--peak 989e12]
    benchmarks/gpu.sh                               on a GPU: 125M and 350M, at most 8 minutes

Both programs are started, compile, and then take turns: some steps of one, as many of the other, `--rounds` times, so
that a busy machine slows both alike; medians count. aura's side is the pipeline's own step with its batches
(benchmarks/train_aura.py), the peer stands in benchmarks/peers/pretrain.py. On a CPU the figure to look at is CPU
seconds per token, and the peak is a large product of matrices in the same process; of a GPU or TPU it is the vendor's
(aura/training/flops.py), or --peak. "first step" is from the start of the program to the end of its first
step, with an empty compilation cache and then with a filled one; --once leaves the filled one out. "fetch" is the share
of a step's time that is won if no loss is read before the last step's. Prints Markdown.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from measure import machine

HERE = Path(__file__).parent
TORCH = HERE.parent / ".venv-torch/bin/python"
GPT = {"vocab_size": 50_304, "precision": "bfloat16"}
SHAPE_125M = {"layers": 12, "width": 768, "heads": 12, "kv_heads": 12, "hidden": 2048}
SHAPE_350M = {"layers": 24, "width": 1024, "heads": 16, "kv_heads": 16, "hidden": 2816}
CASES: dict[str, dict[str, Any]] = {
    "tiny": {  # the pipeline's own
        "vocab_size": 8000, "seq_len": 128, "batch_size": 8, "precision": "float32",
        "shape": {"layers": 4, "width": 128, "heads": 4, "kv_heads": 2, "hidden": 384},
    },
    "10m": {
        "vocab_size": 8000, "seq_len": 256, "batch_size": 8, "precision": "float32",
        "shape": {"layers": 6, "width": 320, "heads": 5, "kv_heads": 5, "hidden": 864},
    },
    "smallest": {  # to see that the programs run
        "vocab_size": 264, "seq_len": 16, "batch_size": 2, "precision": "float32",
        "shape": {"layers": 1, "width": 16, "heads": 2, "kv_heads": 2, "hidden": 32},
    },
    "125m-1024": GPT | {"seq_len": 1024, "batch_size": 32, "shape": SHAPE_125M},
    "125m-4096": GPT | {"seq_len": 4096, "batch_size": 8, "shape": SHAPE_125M},
    "350m-1024": GPT | {"seq_len": 1024, "batch_size": 16, "shape": SHAPE_350M},
    "350m-4096": GPT | {"seq_len": 4096, "batch_size": 4, "shape": SHAPE_350M},
}  # fmt: skip


class Side:
    """A program that takes steps when told to; `first_step` is the seconds (wall, CPU) until it had taken one."""

    def __init__(self, python: str, script: str, case: dict[str, Any], cache: Path) -> None:
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")]),
            "JAX_COMPILATION_CACHE_DIR": str(cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.05",  # as in aura/training/compiled_programs.py
            "TORCHINDUCTOR_CACHE_DIR": str(cache),
            "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.45",  # of a GPU's memory, which both programs hold at a time
            "OMP_WAIT_POLICY": "PASSIVE",  # else torch's threads spin while they wait, which would count as its work
        }
        begun = time.monotonic()
        self._process = psutil.Popen(
            [python, str(HERE / script), json.dumps(case)],
            env=environment, cwd=HERE.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.facts = self._answer()
        self.first_step = time.monotonic() - begun, _cpu_seconds(self._process)

    def take(self, steps: int, *, unread: bool = False) -> dict[str, float]:
        """Seconds (`wall`, `cpu`) of so many steps, and `memory` in bytes; with `unread`, one loss is read in all."""
        self._process.stdin.write(f"{'unread ' if unread else ''}{steps}\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End it."""
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args[1]} ended with {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _cpu_seconds(process: psutil.Process) -> float:
    times = [one.cpu_times() for one in [process, *process.children(recursive=True)]]
    return sum(one.user + one.system + one.children_user + one.children_system for one in times)


def sides(case: dict[str, Any], torch: str | None, caches: Path) -> dict[str, Side]:
    """Both programs, started one after the other; aura's alone without a Python with torch."""
    ours = {name: value for name, value in case.items() if name != "threads"}
    theirs = {name: value for name, value in case.items() if name != "optimizer"}
    started = {"aura": Side(sys.executable, "train_aura.py", ours, caches / "jax")}
    if torch:
        started["torch.compile"] = Side(torch, "peers/pretrain.py", theirs, caches / "torch")
    return started


def compare(
    case: dict[str, Any], torch: str | None, rounds: int, steps: int, *, once: bool = False
) -> dict[str, dict[str, Any]]:
    """Measure what both took, by name: facts, the first steps (cold, warm), medians of seconds per token, and memory.

    With `once` the programs are started once, with an empty cache.
    """
    tokens = steps * case["batch_size"] * case["seq_len"]
    with tempfile.TemporaryDirectory() as caches:
        running = sides(case, torch, Path(caches))
        first = {name: [side.first_step] for name, side in running.items()}
        if not once:
            for side in running.values():
                side.close()
            running = sides(case, torch, Path(caches))
            for name, side in running.items():
                first[name].append(side.first_step)
        taken: dict[str, list[dict[str, float]]] = {name: [] for name in running}
        unread: dict[str, list[float]] = {name: [] for name in running}
        for _ in range(rounds):
            for name, side in running.items():
                taken[name].append(side.take(steps))
                unread[name].append(side.take(steps, unread=True)["wall"])
        for side in running.values():
            side.close()
    kind = "wall" if on_accelerator(running) else "cpu"
    return {
        name: side.facts
        | {"first": first[name], "memory": taken[name][-1]["memory"]}
        | {kind: statistics.median(one[kind] for one in taken[name]) / tokens for kind in ("wall", "cpu")}
        | {"fetch": 1 - statistics.median(unread[name]) / statistics.median(one["wall"] for one in taken[name])}
        | {"ratios": [one[kind] / other[kind] for one, other in zip(taken["aura"], taken[name], strict=True)]}
        for name, side in running.items()
    }


def on_accelerator(running: dict[str, Side]) -> bool:
    """Tell whether the steps are taken elsewhere than on the CPU, whose time then says nothing."""
    return bool(running["aura"].facts["device"] != "cpu")


def rows(name: str, found: dict[str, dict[str, Any]], peak: float | None) -> list[str]:
    """The table's rows of a case."""
    flops = found["aura"]["flops_per_token"]
    peak = peak or found["aura"]["peak"]
    on_cpu = found.get("torch.compile", {}).get("product_flops")  # per CPU second; None on a GPU
    made = []
    for side, took in found.items():
        share = flops / took["wall"] / peak if peak else flops / took["cpu"] / on_cpu if on_cpu else None
        ratios = sorted(took["ratios"])
        ratio = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})" if side != "aura" else ""
        first = ", ".join(f"{wall:.1f} / {cpu:.1f}" for wall, cpu in took["first"])
        made.append(
            f"| {name}, {took['parameters'] / 1e6:.1f} M | {side}, {took['version']} | {1 / took['wall']:,.0f} "
            f"| {1e6 * took['cpu']:.1f} | {'' if share is None else f'{share:.0%}'} | {ratio} | {first} "
            f"| {took['fetch']:.0%} | {took['memory'] / 1e9:.1f} |"
        )
    return made


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=["tiny", "10m"], help="what to train")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each program; the median counts")
    parser.add_argument("--steps", type=int, default=10, help="steps of a turn")
    parser.add_argument("--threads", type=int, default=len(psutil.Process().cpu_affinity()), help="cores, on a CPU")
    parser.add_argument("--peak", type=float, help="FLOP/s of the device, where it is not in the table")
    parser.add_argument("--torch", default=str(TORCH), help="a Python with torch; '' for aura alone")
    parser.add_argument("--once", action="store_true", help="start each program once, with an empty cache")
    parser.add_argument("--optimizer", choices=("adamw", "muon"), help="aura's; that of params.yaml if left out")
    arguments = parser.parse_args()
    cores = psutil.Process().cpu_affinity()[: arguments.threads]
    psutil.Process().cpu_affinity(cores)  # which the programs inherit
    table = []
    for name in arguments.cases:
        case = CASES[name] | {"threads": len(cores)}
        case |= {"optimizer": arguments.optimizer} if arguments.optimizer else {}
        found = compare(case, arguments.torch, arguments.rounds, arguments.steps, once=arguments.once)
        table += rows(name, found, arguments.peak)
    print(f"{machine()}; {found['aura']['device']}; medians of {arguments.rounds} x {arguments.steps} steps\n")
    print(
        "| model | program | tokens/s | CPU µs per token | of peak | time (CPU's, on a CPU), aura / torch "
        "| first step, wall / CPU s: cold, warm | fetch | memory, GB |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    print("\n".join(table))


if __name__ == "__main__":
    main()

"""What the teacher, own answers and other options of `adapt` are worth, on this project's model and conversations.

    dvc repro pretrain conversations
    python benchmarks/adapt.py [--seeds 3] [--only teacher]

Each row is the mean over seeds, in processes of their own; the smallest and the largest follow in brackets. Seconds are
of the processor, and of the whole adaptation without its files. Prints Markdown.
"""

import argparse
import json
import statistics
import subprocess
import sys

from measure import machine

from aura.core import params

BASE = "options of params.yaml"
ROWS = {
    BASE: {},
    "without a teacher": {"teacher_weight": 0.0},
    "without a teacher, half of the rate": {"teacher_weight": 0.0, "learning_rate": 0.003},
    "without a teacher, a quarter of the rate": {"teacher_weight": 0.0, "learning_rate": 0.0015},
    "a slower teacher": {"teacher_weight": 1.0, "teacher_decay": 0.99},
    "100 steps": {"steps": 100},
    "rank 16": {"rank": 16, "alpha": 16.0},
    "all weights": {"rank": 0, "learning_rate": 0.001},
    "own answers": {"teach": "own", "own_every": 2},
}
# Adapts with the changes of argv to the section adapt; prints what was measured.
PROGRAM = """
import json, sys, tempfile, time
from dataclasses import asdict
from pathlib import Path
from aura.adapt.adapt import Inputs, adapt
from aura.adapt.options import Adapt
from aura.core import params, paths
from aura.pretrain.options import PretrainSection

changes = json.loads(sys.argv[1])
options = Adapt.model_validate(params.section("adapt", Adapt).model_dump() | {"eval_every": 10**8} | changes)
inputs = Inputs(paths.CONVERSATIONS, paths.LANGUAGE_MODEL, paths.TOKENIZER_MODEL, paths.TOKENS)
with tempfile.TemporaryDirectory() as folder:
    machine = params.section("pretrain", PretrainSection).model_copy(update={"checkpoint_folder": folder})
    metrics = adapt(inputs, Path(folder), options, machine, lambda adapted: None)
print(json.dumps(asdict(metrics) | {"cpu": time.process_time()}))
"""


def measured(changes: dict[str, object], seed: int) -> dict[str, float]:
    """The metrics of one adaptation."""
    command = [sys.executable, "-c", PROGRAM, json.dumps(changes | {"seed": seed})]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def shown(values: list[float], digits: str) -> str:
    """The mean of some numbers, and between which they lie."""
    low, high = min(values), max(values)
    return f"{statistics.mean(values):{digits}} ({low:{digits}} to {high:{digits}})"


def main() -> None:
    """Adapt with each row's options and each seed, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="runs of each row")
    parser.add_argument("--only", default="", help="only rows whose name holds this, and the first")
    arguments = parser.parse_args()
    steps = params.parsed(params.read(), params.PARAMS_FILE)["adapt"]["steps"]
    print(f"{machine()}; {arguments.seeds} seeds, {steps} steps unless the row says otherwise\n")
    print("| | Fall of the loss on answers | Loss | Forgetting | KL to the start | Exact | CPU s |")
    print("|---|---|---|---|---|---|---|")
    for name, changes in ROWS.items():
        if name != BASE and arguments.only not in name:
            continue
        runs = [measured(changes, seed) for seed in range(arguments.seeds)]
        of = {key: [run[key] for run in runs] for key in runs[0] if isinstance(runs[0][key], float)}
        cells = [
            shown(of["response_loss_fall"], ".1%"),
            shown(of["response_loss"], ".3f"),
            shown(of["forgetting"], ".1%"),
            shown(of["start_divergence"], ".2f"),
            shown(of["exact_match"], ".1%"),
            f"{statistics.mean(of['cpu']):.0f}",
        ]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

"""Seconds of each stage on the built-in corpus, and of a `dvc repro` that finds nothing to do.

    python benchmarks/stages.py [--runs 3]

Runs every stage by force in a fresh clone, so the working tree is left alone, and prints the median of the
runs. There is no peer to run beside it: the figures are for telling one version of aura from the next.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

STAGES = ("extract@sample", "select", "train_tokenizer", "validate", "encode", "pretrain")


def seconds(folder: Path, *command: str) -> float:
    """Wall time of a command that must succeed."""
    began = time.monotonic()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.monotonic() - began


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="runs of each stage; the median counts")
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as temporary:
        clone = Path(temporary, "clone")
        seconds(Path.cwd(), "git", "clone", "-q", ".", str(clone))
        times: dict[str, list[float]] = {stage: [] for stage in (*STAGES, "nothing to do")}
        for _ in range(runs):
            for stage in STAGES:
                times[stage].append(seconds(clone, "dvc", "repro", "--force", "--single-item", stage))
            times["nothing to do"].append(seconds(clone, "dvc", "repro"))
        timings = json.loads((clone / "reports/pretrain/timings.json").read_text())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    today = datetime.datetime.now(tz=datetime.UTC).date()
    print(f"{today}, {platform.machine()}, {cores} cores, Python {platform.python_version()}; median of {runs} runs\n")
    print("| stage (with DVC's own second) | seconds | all runs |\n|---|---|---|")
    for stage, measured in times.items():
        print(f"| {stage} | {statistics.median(measured):.1f} | {', '.join(f'{one:.1f}' for one in measured)} |")
    print(f"\npretrain: {timings['tokens_per_second']:,.0f} tokens/s in the last run")


if __name__ == "__main__":
    main()

"""Crashes, power cuts, bit flips, failing writes and changed inputs, in loops with seeds: nothing may be silent.

    python benchmarks/torture.py [--kills 200 --cuts 60 --flips 50 --write-faults 100 --changes 20] [--jobs 2]
    python benchmarks/torture.py --seed 17 --only kills

Each try copies a tiny project, disturbs a build, then does what the README advises (`aura repair`, `dvc repro`), and
compares every output, and every object in DVC's cache, with those of an undisturbed build:

- kills: SIGKILL of `dvc repro`, of a stage, of one of its workers, of the whole group.
- cuts: an ext4 file system on a loop device is shut down without flushing, as a power cut would: during a build, within
  15 s after one has ended, and while pretraining. Needs root and loop devices.
- flips: one bit of an artifact turned, size and times as before, for every artifact and every stage that reads it.
- write-faults: the n-th write, sync, rename or opening for writing fails with EIO or ENOSPC. Needs gcc.
- changes: params.yaml, a file of the corpus, code or the lexicon is edited while a stage runs.

A failure is printed with its seed, which repeats it: with the same `--prepared` folder at the same moment, otherwise at
the same share of a stage's time. The exit status is 1 if there was any. Writes
benchmarks/results/torture.md with `--write`.
"""

import argparse
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue

from measure import machine
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY))

from loops import changes, cuts, flips, kills, write_faults  # noqa: E402 - they import the tests' helpers
from loops.outcomes import BUILT, COLUMNS, Judge, Outcome, counts  # noqa: E402
from loops.project import Slot, digests, prepare  # noqa: E402

Try = Callable[[Slot, int], Outcome]
LOOPS = ("kills", "cuts", "flips", "write-faults", "changes")
console = Console(highlight=False, soft_wrap=True)


class Torture:
    """The prepared project, and the loops over it.

    Arguments:
        folder: for the files of all tries.
        prepared: where the tiny project is kept; what an earlier run left there is used again.
    """

    def __init__(self, folder: Path, prepared: Path) -> None:
        self.folder, self.snapshots = folder, prepared / "snapshots"
        began, kept = time.monotonic(), prepared / "seconds.json"
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(prepare(self.snapshots)))
        self.seconds: dict[str, float] = json.loads(kept.read_text())
        stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in self.seconds.items())
        console.print(f"prepared in {time.monotonic() - began:.0f} s ({stages})\n", markup=False)
        help_ = [sys.executable, "-m", "aura", "repair", "--help"]
        known = subprocess.run(help_, cwd=REPOSITORY, capture_output=True, check=False).returncode == 0
        self.repair = ("repair",) if known else ("lock", "repair")
        self.judge = Judge(digests(self.snapshots / BUILT), self.repair)

    def slot(self, loop: str, number: int, stack: ExitStack) -> Slot:
        """A folder for one job of a loop, with what that loop needs; `stack` takes it away."""
        root = self.folder / f"{loop}-{number}"
        if loop == "cuts":
            slot: Slot = cuts.PowerSlot(root, self.snapshots)
        elif loop == "write-faults":
            slot = write_faults.FaultySlot(root, self.snapshots)
        else:
            slot = Slot(root, self.snapshots)
        stack.callback(shutil.rmtree, root, ignore_errors=True)
        stack.callback(slot.close)
        return slot

    def run(self, loop: str, seeds: range, jobs: int) -> list[Outcome]:
        """Run a loop's tries, showing progress and every failure; a try that fails to run is a failure too."""
        modules = {"kills": kills, "cuts": cuts, "flips": flips, "write-faults": write_faults, "changes": changes}
        shared = modules[loop].shared(self.seconds) if hasattr(modules[loop], "shared") else self.seconds
        outcomes: list[Outcome] = []
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with ExitStack() as stack, Progress(*columns, TimeRemainingColumn(), console=console) as progress:
            free: SimpleQueue[Slot] = SimpleQueue()
            for number in range(min(jobs, len(seeds))):
                free.put(self.slot(loop, number, stack))

            def one(seed: int) -> Outcome:
                slot = free.get()
                try:
                    return modules[loop].one_try(slot, self.judge, seed, shared)
                except BaseException:
                    slot.close()  # the next try starts everything anew
                    raise
                finally:
                    slot.kill_all()
                    free.put(slot)

            pool = ThreadPoolExecutor(jobs)
            stack.callback(pool.shutdown, cancel_futures=True)
            futures = {pool.submit(one, seed): seed for seed in seeds}
            task = progress.add_task(loop, total=len(futures))
            for future in as_completed(futures):
                outcomes.append(_outcome(future, loop, futures[future]))
                _show(outcomes[-1])
                progress.advance(task)
        return outcomes


def _outcome(future: "Future[Outcome]", loop: str, seed: int) -> Outcome:
    """A try's outcome; of one that could not be run, an outcome that says why."""
    if error := future.exception():
        wrong = [f"the try itself broke: {type(error).__name__}: {error}"]
        return Outcome(loop, seed, "not run", wrong=wrong, log=[])
    return future.result()


def _end(number: int, _: object) -> None:
    """End at a signal; tries under way end first, and file systems are unmounted. A second signal changes nothing."""
    for other in (signal.SIGINT, signal.SIGTERM):
        signal.signal(other, signal.SIG_IGN)
    sys.exit(128 + number)


def _show(outcome: Outcome) -> None:
    if outcome.failures:
        again = f"--only {outcome.loop} --seed {outcome.seed}"
        console.print(f"{again}: {outcome.what}: {'; '.join(outcome.failures)}", markup=False)
        lines = (line for text in outcome.log for line in text.splitlines())
        errors = [line for line in lines if re.match(r"(error|ERROR|\w+Error)\b", line)]
        for line in errors[-3:]:
            console.print(f"    {line[:300]}", markup=False)


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="kills")
    parser.add_argument("--cuts", type=int, default=60, help="power cuts")
    parser.add_argument("--flips", type=int, default=50, help="bit flips for each pair of an artifact and a reader")
    parser.add_argument("--write-faults", type=int, default=100, help="failing writes")
    parser.add_argument("--changes", type=int, default=20, help="inputs changed while a stage runs")
    parser.add_argument("--only", choices=LOOPS, action="append", help="run this loop; may be given several times")
    parser.add_argument("--first", type=int, default=0, help="begin with this seed, to go on where a run was ended")
    parser.add_argument("--seed", type=int, help="run this one try of the loops, and show all that it printed")
    parser.add_argument("--jobs", type=int, default=2, help="tries at a time, each in a folder of its own")
    parser.add_argument("--folder", type=Path, help="for temporary files; it must be on an ordinary file system")
    parser.add_argument("--prepared", type=Path, help="keep the tiny project there, or use the one that is there")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/torture.md")
    return parser.parse_args()


def _table(found: dict[str, list[Outcome]], skipped: dict[str, str], minutes: dict[str, float]) -> str:
    lines = [f"| loop | {' | '.join(COLUMNS)} | minutes |", "|---|" + "---|" * (len(COLUMNS) + 1)]
    for loop, outcomes in found.items():
        lines.append(f"| {loop} | {' | '.join(counts(outcomes))} | {minutes[loop]:.1f} |")
    of_pairs = {
        pair: [one for one in found.get("flips", []) if one.what.startswith(f"{pair}:")] for pair in flips.NAMES
    }
    lines += [f"| {pair} | {' | '.join(counts(outcomes))} | |" for pair, outcomes in of_pairs.items() if outcomes]
    lines += [f"\n{loop} skipped: {reason}." for loop, reason in skipped.items()]
    return "\n".join(lines)


def main() -> int:
    """Run the loops and print a Markdown table; returns the exit status."""
    options = _parsed()
    for number_ in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number_, _end)
    wanted = options.only or LOOPS
    number = {loop: getattr(options, loop.replace("-", "_")) for loop in LOOPS}
    number["flips"] *= len(flips.NAMES)
    reasons = {"cuts": cuts.unable(), "write-faults": write_faults.unable()}
    skipped = {loop: reason for loop, reason in reasons.items() if reason and loop in wanted}
    found: dict[str, list[Outcome]] = {}
    minutes: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="torture-") as temporary:
        head = machine()
        console.print(head, markup=False)
        torture = Torture(Path(temporary), options.prepared or Path(temporary))
        for loop in (loop for loop in LOOPS if loop in wanted and loop not in skipped and number[loop]):
            seeds = (
                range(options.first, number[loop]) if options.seed is None else range(options.seed, options.seed + 1)
            )
            began = time.monotonic()
            found[loop] = torture.run(loop, seeds, options.jobs)
            minutes[loop] = (time.monotonic() - began) / 60
    failed = sorted((one for outcomes in found.values() for one in outcomes if one.failures), key=lambda one: one.seed)
    if options.seed is not None:
        for outcome in (one for outcomes in found.values() for one in outcomes):
            console.print(f"\n{outcome.what}: {outcome.verdict}\n\n" + "\n\n".join(outcome.log), markup=False)
    table = _table(found, skipped, minutes)
    console.print(f"\nAdvice: aura {' '.join(torture.repair)}, then dvc repro.\n\n{table}\n", markup=False)
    console.print(f"{len(failed)} tries failed.", markup=False)
    if options.write:
        page = (
            f"# Crashes, power cuts, bit flips, failing writes, changed inputs\n\n{head}; `benchmarks/torture.py`\n\n"
        )
        (REPOSITORY / "benchmarks/results/torture.md").write_text(f"{page}{table}\n", encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""What a few changed files cost with the tokenizer frozen: extract, select and encode; and DVC's own time beside it.

    python benchmarks/incremental.py CORPUS [--times 1] [--runs 3]

CORPUS is a folder of .txt files, one document each, as for benchmarks/extract.py; with `--times 4` it is made four
times as large (copies with other words in front). In a fresh clone of the last commit everything is built from scratch;
then, cumulatively, 1, 10 and 100 files are changed, added and removed, and the commands of the three stages are timed
after each; medians of `--runs` rounds count. At the end the outputs must equal those of a build from scratch, byte for
byte. Then one more file is changed for DVC itself: `dvc status` and `dvc repro encode`, with the folder as its
dependency and with a pin in its place.
"""

import argparse
import hashlib
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from extract import grown
from measure import Cost, machine, measure
from ruamel.yaml import YAML

REPOSITORY = Path(__file__).parents[1]
STAGES = (("extract", "bench"), ("select",), ("encode",))
OUTPUTS = ("data/extracted/bench", "data/corpus", "data/tokens")
EDITS = ("changed", "added", "removed")


class Bench:
    """A clone of the repository with the corpus as its one source, and the tokenizer frozen."""

    def __init__(self, folder: Path, corpus: Path, times: int) -> None:
        self.folder, self.rng, self.edits = folder, random.Random(0), 0  # noqa: S311 - files to edit, not secrets
        self.environment = {"PYTHONPATH": str(folder), "AURA_CACHE": str(folder / "cache"), "DVC_NO_ANALYTICS": "1"}
        subprocess.run(["git", "clone", "-q", str(REPOSITORY), str(folder)], check=True)
        (folder / "dvc.lock").unlink()
        grown(corpus, times, folder / "data/bench")
        self.aura("source", "add", "bench", "data/bench", "--only")
        yaml, params = YAML(), folder / "params.yaml"
        values = yaml.load(params)
        values["train_tokenizer"]["model_type"] = "bpe"  # the quickest to train
        values["validate"] = dict.fromkeys(values["validate"])
        yaml.dump(values, params)
        for stage in (*STAGES[:2], ("train_tokenizer",), ("validate",), STAGES[2]):
            self.stage(*stage)
        self.run("dvc", "freeze", "train_tokenizer")

    def run(self, *command: str, **environment: str) -> Cost:
        """Run a command in the clone."""
        return measure(list(command), self.folder, memory=False, **self.environment | environment)

    def aura(self, *arguments: str) -> Cost:
        """Run the `aura` command."""
        return self.run(sys.executable, "-m", "aura", *arguments)

    def stage(self, name: str, *arguments: str, **environment: str) -> Cost:
        """Run a stage's command, as dvc.yaml has it."""
        return self.run(sys.executable, "-m", f"aura.stages.{name}", *arguments, **environment)

    def stages(self, **environment: str) -> list[Cost]:
        """Run the commands of the three stages."""
        return [self.stage(*stage, **environment) for stage in STAGES]

    def edit(self, how: str, number: int) -> None:
        """Change, add or remove some files, chosen by chance."""
        files = sorted((self.folder / "data/bench").rglob("*.txt"))
        for path in self.rng.sample(files, number):
            self.edits += 1
            if how == "removed":
                path.unlink()
            elif how == "changed":
                path.write_bytes(path.read_bytes() + b"\nand one more line, number %d\n" % self.edits)
            else:
                path.with_stem(f"{path.stem}-{self.edits}").write_bytes(path.read_bytes()[::-1] + b"%d" % self.edits)

    def digest(self) -> str:
        """A hash of every output's name and bytes."""
        digest = hashlib.sha256()
        for path in self._outputs():
            digest.update(f"{path.relative_to(self.folder)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    def _outputs(self) -> Iterator[Path]:
        for out in OUTPUTS:
            yield from sorted(path for path in (self.folder / out).rglob("*") if path.is_file())


def row(name: str, runs: list[list[Cost]], allowed: float | None) -> str:
    """A line of the table: medians of the runs, of each command and of their sums."""
    cells = [f"{statistics.median(run[number].wall for run in runs):.2f}" for number in range(len(STAGES))]
    walls, cpus = ([sum(getattr(cost, key) for cost in run) for run in runs] for key in ("wall", "cpu"))
    limit = "" if allowed is None else f"{allowed:.1f}"
    cells += [f"{statistics.median(walls):.2f}", limit, f"{statistics.median(cpus):.1f}"]
    return f"| {name} | {' | '.join(cells)} | {', '.join(f'{wall:.1f}' for wall in walls)} |"


def commands(bench: Bench, runs: int) -> None:
    """Measure the stages' commands, and print their table."""
    scratch = [bench.stages(AURA_CACHE=str(bench.folder / f"scratch-{number}")) for number in range(runs)]
    allowed = 3 + 0.02 * statistics.median(sum(cost.wall for cost in run) for run in scratch)
    print("| files | extract s | select s | encode s | together s | allowed s | CPU s | all runs, s |")
    print("|---|---|---|---|---|---|---|---|")
    print(row("all, from scratch", scratch, None), flush=True)
    bench.stages()
    print(row("none", [bench.stages() for _ in range(runs)], allowed), flush=True)
    for number in (1, 10, 100):
        found: dict[str, list[list[Cost]]] = {how: [] for how in EDITS}
        for _ in range(runs):
            for how in EDITS:
                bench.edit(how, number)
                found[how].append(bench.stages())
        for how in EDITS:
            print(row(f"{number} {how}", found[how], allowed), flush=True)
    incremental = bench.digest()
    bench.stages(AURA_CACHE=str(bench.folder / "scratch-end"))
    if bench.digest() != incremental:
        raise RuntimeError("the outputs after all edits are not those of a build from scratch")
    print("\nThe outputs after all edits equal those of a build from scratch, byte for byte.\n")


def dvc(bench: Bench) -> None:
    """Measure DVC's own time for one changed file, and print its table."""
    print("| one changed file, s | dvc status | aura source scan | dvc repro encode | of it the three commands |")
    print("|---|---|---|---|---|")
    for how in ("folder", "pin"):
        if how == "pin":
            bench.aura("source", "add", "sample", "data/sample.pin.json", "--only")
            bench.aura("source", "add", "bench", "data/bench", "--only", "--pin")
        bench.run("dvc", "commit", "--force", "--quiet", "train_tokenizer")
        bench.run("dvc", "repro", "--quiet", "encode")
        bench.edit("changed", 1)
        scan = bench.aura("source", "scan", "bench").wall if how == "pin" else None
        status, repro = bench.run("dvc", "status", "encode"), bench.run("dvc", "repro", "encode")
        bench.edit("changed", 1)
        if scan is not None:
            bench.aura("source", "scan", "bench")
        alone = sum(cost.wall for cost in bench.stages())
        cells = [f"{status.wall:.1f}", "" if scan is None else f"{scan:.1f}", f"{repro.wall:.1f}", f"{alone:.1f}"]
        print(f"| {how} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Measure and print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, nargs="?", default=Path("data/bench"))
    parser.add_argument("--times", type=int, default=1, help="how many times larger the corpus is made")
    parser.add_argument("--runs", type=int, default=3, help="rounds of edits; the median counts")
    options = parser.parse_args()
    if not options.corpus.is_dir():
        print(f"skipped: no corpus at {options.corpus}; name a folder of .txt files, one document each")
        return
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(Path(temporary, "clone"), options.corpus, options.times)
        files = list((bench.folder / "data/bench").rglob("*.txt"))
        size = sum(path.stat().st_size for path in files)
        print(f"{machine()}; {size / 1e6:.0f} MB in {len(files):,} files; median of {options.runs} runs\n")
        commands(bench, options.runs)
        dvc(bench)


if __name__ == "__main__":
    main()

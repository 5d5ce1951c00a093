"""Speed and memory of extraction, beside a plain Python loader, `datasets` and datatrove.

    python benchmarks/extract.py CORPUS [--runs 3] [--peers .venv-bench/bin/python] [--grow 4]

CORPUS is a folder of .txt files, one document each (such as Debian's documentation packages as text: 140 MB, 29,770
files). Each run is a fresh process with an empty cache; runs of all programs alternate, and medians count. The last
row is aura on a corpus `--grow` times as large (copies with other words in front), to show what memory does.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from measure import Cost, machine, measure
from ruamel.yaml import YAML

REPOSITORY = Path(__file__).parents[1]
WITHOUT_AFFECT = """
import numpy, pyarrow
import aura.extract.rows as rows
def none(texts, lexicon):
    return pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(numpy.zeros(8 * len(texts), numpy.float32)), 8)
rows.affect_vectors = none
"""


def project(folder: Path, corpus: Path) -> None:
    """What the extraction program needs, with the corpus as its one source."""
    for name in ("versions.json", "aura/ingestion/lexicon.tsv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, folder / name)
    values = YAML(typ="safe").load(REPOSITORY / "params.yaml")
    values["extract"]["sources"] = {"corpus": {"kind": "txt", "path": str(corpus.resolve())}}
    YAML().dump(values, folder / "params.yaml")


def aura(folder: Path, corpus: Path, *, affect: bool) -> Cost:
    """One extraction from scratch."""
    project(folder, corpus)
    path = str(REPOSITORY)
    if not affect:
        (folder / "patch").mkdir()
        (folder / "patch/sitecustomize.py").write_text(WITHOUT_AFFECT)
        path = f"{folder / 'patch'}:{path}"
    return measure([sys.executable, "-m", "aura.stages.extract", "corpus"], folder, PYTHONPATH=path, AURA_CACHE="")


def peer(folder: Path, corpus: Path, name: str, python: str, *, affect: bool) -> Cost:
    """One run of a peer."""
    script = REPOSITORY / "benchmarks/peers/extract.py"
    command = [python, str(script), name, str(corpus.resolve()), str(folder), "yes" if affect else "no"]
    return measure(command, folder, HF_HOME=str(folder / "hf"), HF_HUB_OFFLINE="1")


def run(program: str, corpus: Path, python: str, *, affect: bool) -> Cost:
    """One run of a program in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        if program == "aura":
            return aura(Path(folder), corpus, affect=affect)
        return peer(Path(folder), corpus, program, python, affect=affect)


def grown(corpus: Path, times: int, folder: Path) -> Path:
    """A corpus of several copies, each with other words in front of its documents."""
    for copy in range(times):
        for path in corpus.rglob("*.txt"):
            target = folder / str(copy) / path.relative_to(corpus)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(b"copy %d " % copy + path.read_bytes())
    return folder


def row(program: str, affect: bool, size: int, costs: list[Cost]) -> str:
    """A line of the table."""
    wall = statistics.median(cost.wall for cost in costs)
    cpu = statistics.median(cost.cpu for cost in costs)
    runs = ", ".join(f"{cost.wall:.1f}" for cost in costs)
    rss = max(cost.rss for cost in costs) / 1e6
    speeds = f"{size / wall / 1e6:.1f} | {size / cpu / 1e6:.1f}"
    return f"| {program} | {'yes' if affect else 'no'} | {speeds} | {cpu:.1f} | {rss:,.0f} | {runs} |"


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, nargs="?", default=Path("data/bench"))
    parser.add_argument("--runs", type=int, default=3, help="runs of each program; the median counts")
    parser.add_argument("--peers", default=str(REPOSITORY / ".venv-bench/bin/python"), help="Python with the peers")
    parser.add_argument("--grow", type=int, default=4, help="how many times larger the corpus of the last row is")
    options = parser.parse_args()
    if not options.corpus.is_dir():
        print(f"skipped: no corpus at {options.corpus}; name a folder of .txt files, one document each")
        return
    size = sum(path.stat().st_size for path in options.corpus.rglob("*.txt"))
    programs = [(name, affect) for affect in (True, False) for name in ("aura", "datatrove", "datasets", "plain")]
    costs: dict[tuple[str, bool], list[Cost]] = {program: [] for program in programs}
    for _ in range(options.runs):
        for name, affect in programs:
            costs[name, affect].append(run(name, options.corpus, options.peers, affect=affect))
    print(f"{machine()}; {size / 1e6:.0f} MB; median of {options.runs} runs\n")
    print("| program | affect | MB/s | MB per CPU second | CPU s | peak RSS MB | wall s of all runs |")
    print("|---|---|---|---|---|---|---|")
    for (name, affect), found in costs.items():
        print(row(name, affect, size, found))
    with tempfile.TemporaryDirectory() as folder:
        larger = grown(options.corpus, options.grow, Path(folder))
        found = [run("aura", larger, options.peers, affect=True)]
        print(row(f"aura, {options.grow} times the corpus", True, options.grow * size, found))
    print("\n| beside aura | affect | times the wall time | times the CPU time |\n|---|---|---|---|")
    for (name, affect), found in costs.items():
        if name != "aura":
            print(f"| {name} | {'yes' if affect else 'no'} | {times(found, costs['aura', affect])} |")


def times(theirs: list[Cost], ours: list[Cost]) -> str:
    """How many times what we take they take, in wall and in CPU time: medians."""
    walls, cpus = (
        [statistics.median(getattr(cost, key) for cost in costs) for costs in (theirs, ours)] for key in ("wall", "cpu")
    )
    return f"{walls[0] / walls[1]:.1f} | {cpus[0] / cpus[1]:.1f}"


if __name__ == "__main__":
    main()

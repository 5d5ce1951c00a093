"""What extraction of the same text costs in each format, beside datatrove; and how much two workers gain.

    python benchmarks/formats.py CORPUS [--mb 200] [--runs 3] [--peers .venv-bench/bin/python]

CORPUS is a folder of JSON lines with a `text`, compressed or not, such as files of C4. The first megabytes of them are
written as 8 .jsonl.gz, 8 .jsonl.zst, 8 .parquet, one .jsonl and one .txt with a document a line. Each run is a fresh
process with an empty cache; runs of all programs alternate, and medians count. Processor seconds are of all processes,
less those of the same command with a corpus of one document; the driver's are those that `extract` itself takes.
"""

import argparse
import gzip
import json
import os
import random
import re
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from extract import project
from measure import Cost, machine, measure
from ruamel.yaml import YAML

REPOSITORY = Path(__file__).parents[1]
FILES = 8
SOURCES: dict[str, dict[str, Any]] = {
    "8 .jsonl.gz": {"kind": "json"},
    "8 .jsonl.zst": {"kind": "json"},
    "8 .parquet": {"kind": "parquet"},
    "one .jsonl": {"kind": "json"},
    "one .txt": {"kind": "txt", "documents": "line"},
}
DRIVER = """
import sys, time
import aura.stages.extract as script
inner = script.extract
def timed(*arguments):
    began = time.process_time()
    found = inner(*arguments)
    print("driver", time.process_time() - began)
    return found
script.extract = timed
from aura.core import stage_inputs
sys.argv = ["aura.stages.extract", "corpus"]
stage_inputs.run("extract", script.main)
"""


def records(corpus: Path, size: int) -> Iterator[dict[str, Any]]:
    """Yield records until their texts have so many bytes: the corpus's, cut into pieces as long as web pages."""
    rng, number = random.Random(0), 0  # noqa: S311 - lengths, not secrets
    for path in sorted(path for path in corpus.rglob("*") if path.is_file()):
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for line in file:
                text = json.loads(line)["text"]
                start = 0
                while start < len(text):
                    end = start + int(rng.lognormvariate(7, 1)) + 100  # 1,100 characters; 1,800 on average
                    end = text.find(" ", end) + 1 or len(text)
                    piece, number, start = text[start:end].strip(), number + 1, end
                    url = f"https://example.org/pages/{rng.getrandbits(40):x}.html"
                    yield {"text": piece, "timestamp": "2019-04-25T12:57:54Z", "url": url, "score": rng.random()}
                    size -= len(piece.encode())
                    if size <= 0:
                        return


def write(folder: Path, corpus: Path, size: int) -> int:
    """Write every format; returns the number of documents."""
    found = list(records(corpus, size))
    lines = [json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in found]
    parts = [slice(len(found) * number // FILES, len(found) * (number + 1) // FILES) for number in range(FILES)]
    compressors: dict[str, Callable[[bytes], bytes]] = {
        "gz": lambda data: gzip.compress(data, 6, mtime=0),
        "zst": lambda data: zstandard.ZstdCompressor(3, write_checksum=True).compress(data),
    }
    for name in SOURCES:
        (folder / name).mkdir(parents=True)
    for number, part in enumerate(parts):
        for ending, compress in compressors.items():
            path = folder / f"8 .jsonl.{ending}/{number}.jsonl.{ending}"
            path.write_bytes(compress(b"".join(lines[part])))
        table = pa.Table.from_pylist(found[part])
        pq.write_table(table, folder / f"8 .parquet/{number}.parquet", compression="snappy", row_group_size=1000)
    (folder / "one .jsonl/all.jsonl").write_bytes(b"".join(lines))
    texts = (" ".join(record["text"].split()) + "\n" for record in found)
    (folder / "one .txt/all.txt").write_text("".join(texts), encoding="utf-8")
    return len(found)


def aura(corpus: Path, source: dict[str, Any], cores: int) -> tuple[Cost, float]:
    """One extraction from scratch, and the seconds of its driver."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        project(folder, corpus)
        yaml = YAML(typ="safe")
        values = yaml.load(folder / "params.yaml")
        values["extract"]["sources"]["corpus"] |= source
        yaml.dump(values, folder / "params.yaml")
        (folder / "stages").mkdir()  # only a stage's own program forks its workers, and so it must be one
        (folder / "stages/__init__.py").touch()
        (folder / "stages/driver.py").write_text(DRIVER)
        chosen = ",".join(map(str, sorted(os.sched_getaffinity(0))[:cores]))
        command = ["taskset", "-c", chosen, sys.executable, "-m", "stages.driver"]
        path = f"{folder}{os.pathsep}{REPOSITORY}"
        cost = measure(command, folder, memory=False, PYTHONPATH=path, AURA_CACHE="")
    return cost, float(re.findall(r"^driver (\S+)", cost.out, re.MULTILINE)[0])


def peer(corpus: Path, source: dict[str, Any], python: str, cores: int) -> Cost:
    """One run of datatrove's reader of that format, with a writer of Parquet."""
    with tempfile.TemporaryDirectory() as folder:
        script = REPOSITORY / "benchmarks/peers/formats.py"
        command = [python, str(script), source["kind"], str(corpus), folder, str(cores)]
        return measure(command, Path(folder))  # nobody waits for its workers, so they must be watched


def median(costs: list[Cost], key: str) -> float:
    """The median of one of the costs."""
    return statistics.median(getattr(cost, key) for cost in costs)


def main() -> None:
    """Measure and print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--mb", type=int, default=200, help="megabytes of text")
    parser.add_argument("--runs", type=int, default=3, help="runs of each program; the median counts")
    parser.add_argument("--peers", default=str(REPOSITORY / ".venv-bench/bin/python"), help="Python with datatrove")
    parser.add_argument("--formats", nargs="*", default=list(SOURCES), choices=list(SOURCES))
    parser.add_argument("--keep", type=Path, help="a folder for the formats; those that are there are used")
    options = parser.parse_args()
    if not options.corpus.is_dir():
        print(f"skipped: no corpus at {options.corpus}; name a folder of JSON lines with a text")
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary, "formats")
        if not folder.exists():
            write(folder, options.corpus, options.mb * 10**6)
        tiny = Path(temporary, "tiny")
        tiny.mkdir()
        (tiny / "one.jsonl").write_text('{"text": "one document of some words, and no more"}\n')
        compare(folder.resolve(), tiny, options)


def compare(folder: Path, tiny: Path, options: argparse.Namespace) -> None:
    """Print the table of all formats."""
    peers = options.peers if Path(options.peers).exists() else ""
    ours: dict[tuple[str, int], list[tuple[Cost, float]]] = {}
    theirs: dict[str, list[Cost]] = {}
    start: dict[int, list[Cost]] = {}
    print(f"{machine()}; {options.mb} MB of text; median of {options.runs} runs\n")
    for _ in range(options.runs):
        for cores in (1, 2):
            start.setdefault(cores, []).append(aura(tiny, {"kind": "json"}, cores)[0])
        for name in options.formats:
            for cores in (1, 2):
                ours.setdefault((name, cores), []).append(aura(folder / name, SOURCES[name], cores))
            if peers and name != "one .txt":
                theirs.setdefault(name, []).append(peer(folder / name, SOURCES[name], peers, 2))
    print(
        "| format | aura, CPU s, 1 worker | 2 workers | of it the driver | start | wall s, 1 worker | 2 workers | gain "
        "| datatrove, CPU s |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name in options.formats:
        one, two = ([cost for cost, _ in ours[name, cores]] for cores in (1, 2))
        begun = median(start[2], "cpu")
        walls = [median(costs, "wall") - median(start[n], "wall") for n, costs in ((1, one), (2, two))]
        driver = statistics.median(seconds for _, seconds in ours[name, 2])
        cells = [
            f"{median(one, 'cpu') - median(start[1], 'cpu'):.2f}",
            f"{median(two, 'cpu') - begun:.2f}",
            f"{driver:.2f}",
            f"{begun:.2f}",
            *(f"{wall:.2f}" for wall in walls),
        ]
        cells.append(f"{walls[0] / walls[1]:.2f}")
        cells.append(f"{median(theirs[name], 'cpu'):.2f}" if name in theirs else "")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

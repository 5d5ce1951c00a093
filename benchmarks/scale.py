"""The figures of docs/scale.md that one machine can measure, each beside its target.

    python benchmarks/scale.py CORPUS [--only SECTION...] [--folder FOLDER] [--before COMMIT] [--paper]

CORPUS is a folder of .txt files (such as Debian's documentation packages as text: 138 MB). `near` cuts it into 100,000
documents and puts others, with some words changed, in the place of 15 % of them; it alternates with the program of
COMMIT, the last one whose `select` decided in one process. The other sections make their documents themselves. `exact`
needs 12 GB in FOLDER. A figure that misses its target says "missed". `--paper` measures nothing: it computes the tables
for 1 TB to 100 TB from the unit costs in `scale_paper.py`.
"""

import argparse
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import counted_store
import many_shards
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import scale_paper
from measure import machine
from ruamel.yaml import YAML

from aura.core import checksums
from aura.corpus.corpus import SCHEMA, text_hash
from aura.corpus.shards import ShardWriter
from aura.select import candidates, duplicates
from aura.select.candidates import Work
from aura.select.select import number_of_ranges
from aura.storage.cache import Cache

REPOSITORY = Path(__file__).parents[1]
SIMILARITY, PLANTED = 0.8, 0.15
GROUP = 160_000  # documents in 128 MB of Parquet, of 2,000 bytes each
MB = 1e6


@dataclass(frozen=True)
class Figure:
    """A line of the table."""

    what: str
    value: float
    unit: str
    target: float | None = None  # at most

    def row(self) -> str:
        """The line; it says "missed" where the target is missed."""
        target = "" if self.target is None else f"{self.target:,g}"
        missed = ", missed" if self.target is not None and self.value > self.target else ""
        digits = 2 if self.value < 10 and self.value % 1 else 0
        return f"| {self.what} | {self.value:,.{digits}f} {self.unit} | {target}{missed} |"


# Exact duplicates of synthetic documents.


def exact(options: argparse.Namespace) -> Iterator[Figure]:
    """Exact duplicates among documents of which a tenth repeat others, by the function that `select` calls."""
    number, name = options.documents, f"exact duplicates of {options.documents:,} documents"
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        made, found = (json.loads(_of_task(step, folder, number)) for step in ("write", "find"))
    yield Figure(f"{name}: CPU", found["cpu"], "s", 60 * max(number / 1e8, 0.1))
    yield Figure(f"{name}: peak memory", found["rss"] / MB, "MB", 400)
    yield Figure(f"{name}: wrongly dropped or kept", abs(found["dropped"] - made["repeats"]), "documents", 0)
    yield Figure(f"{name}: CPU a document", found["cpu"] / number * 1e6, "µs")
    yield Figure(f"{name}: disk a document", found["bytes"] / number, "bytes")


def _of_task(step: str, folder: str, number: int) -> str:
    """The output of one step in a process of its own, whose memory is then that step's."""
    command = [sys.executable, __file__, "--task", step, "--folder", folder, "--documents", str(number)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def task(step: str, folder: Path, number: int) -> dict[str, float]:
    """Write synthetic documents, or find the duplicates among them."""
    groups = -(-number // GROUP)
    work = Work(folder, (0,) * groups, Cache(folder / "cache"), "", number_of_ranges(number))
    if step == "write":
        (folder / "documents").mkdir()
        return {"repeats": write_synthetic(work, number)}
    began = time.process_time()
    write = partial(duplicates.by_text, work=work)
    duplicates.find(work, "exact", write, range(len(work.ranks)), lambda function, items: list(map(function, items)))
    took = time.process_time() - began
    dropped = sum(len(duplicates.drops(work, "exact", group)) for group in range(groups))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {"cpu": took, "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "dropped": dropped} | {
        "bytes": size
    }


def write_synthetic(work: Work, number: int) -> int:
    """Write the documents of each group; returns how many repeat an earlier one."""
    seen = np.zeros(number, dtype=bool)
    for group in range(len(work.ranks)):
        rows = np.arange(group * GROUP, min((group + 1) * GROUP, number), dtype=np.uint64)
        chance = np.random.default_rng(group)
        repeats = chance.random(len(rows)) < 0.1
        same = np.where(repeats, chance.integers(0, number, len(rows), dtype=np.uint64), rows)
        seen[same] = True
        halves = np.stack([_mixed(same), _mixed(same + np.uint64(number))], axis=1).astype(">u8")
        hashes = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(rows), [None, pa.py_buffer(halves.tobytes())])
        texts = pa.array([f"part-{group:05d}.jsonl.gz#"]), pa.array(rows).cast(pa.string())
        names = pc.binary_join_element_wise(texts[0][0], texts[1], "").cast(pa.large_string())
        columns = [hashes, names, pa.array(np.full(len(rows), 2000))]
        candidates.write_documents(work, group, pa.table(columns, candidates.GROUP_SCHEMA))
    return number - int(seen.sum())


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """Numbers that look random: the last step of SplitMix64."""
    numbers = numbers * np.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


# The stage's own program, in a small project.


@dataclass(frozen=True)
class Cost:
    """The cost of one run of `select`."""

    cpu: float  # seconds, of all its processes
    driver: int  # bytes, the highest of the program's own process
    worker: int  # bytes, the highest of one of its workers


def project(folder: Path, tree: Path, near: float | None) -> None:
    """What the program of `tree` needs in `folder`, with one source, `made`."""
    for name in ("versions.json", "aura/ingestion/lexicon.tsv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tree / name, folder / name)
    values = YAML(typ="safe").load(tree / "params.yaml")
    values["extract"]["sources"] = {"made": {"kind": "txt", "path": "data/made"}}
    values["select"]["near_duplicates"] = near
    YAML().dump(values, folder / "params.yaml")
    pipeline = (tree / "dvc.yaml").read_text().replace("data/extracted/sample", "data/extracted/made")
    (folder / "dvc.yaml").write_text(pipeline)


def run_select(folder: Path, tree: Path, near: float | None, *, cold: bool = True) -> Cost:
    """Run the stage's program; a cold run finds no cache."""
    project(folder, tree, near)
    for left in ("data/corpus", *([".aura"] if cold else [])):
        shutil.rmtree(folder / left, ignore_errors=True)
    with (folder / "log").open("w+") as log:
        environment = os.environ | {"PYTHONPATH": str(tree), "AURA_CACHE": ""}
        command = [sys.executable, "-m", "aura.stages.select"]
        process = psutil.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
        highest = {process.pid: 0}
        while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
            for pid in [process.pid, *_children(process)]:
                highest[pid] = max(highest.get(pid, 0), _peak(pid))
            time.sleep(0.02)
        if ended[1]:
            log.seek(0)
            raise RuntimeError(f"select ended with {ended[1]}:\n{log.read()[-3000:]}")
    driver = highest.pop(process.pid)
    return Cost(ended[2].ru_utime + ended[2].ru_stime, driver, max(highest.values(), default=0))


def _children(process: psutil.Process) -> list[int]:
    try:
        return [child.pid for child in process.children(recursive=True)]
    except psutil.NoSuchProcess:  # it has ended
        return []


def _peak(pid: int) -> int:
    """The most memory that a process ever held, in bytes; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def write_extracted(folder: Path, number: int, document: Callable[[int], tuple[str, str]], shards: int = 16) -> None:
    """Lay named texts out as `extract` does, some at a time."""
    folder = folder / "data/extracted/made"
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        writer = ShardWriter(folder / f"{shard:04d}.parquet")
        for start in range(shard, number, shards * 10_000):
            rows = range(start, min(start + shards * 10_000, number), shards)
            names, texts = zip(*map(document, rows), strict=True)
            affect = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(8 * len(rows), np.float32)), 8)
            hashes = pa.array([text_hash(text.encode()) for text in texts], pa.binary(16))
            columns = [
                pa.array(texts, pa.large_string()),
                pa.array(names),
                pa.array(["made"] * len(rows)),
                affect,
                hashes,
            ]
            writer.add(pa.table(columns, SCHEMA))
        writer.close()
    checksums.write(folder)


# Sections that run it.


def select(options: argparse.Namespace) -> Iterator[Figure]:
    """The driver's memory for a million documents, and for ten."""
    found = []
    for number in (options.tiny, 10 * options.tiny):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            write_extracted(Path(folder), number, partial(tiny, number=number))
            cost = run_select(Path(folder), REPOSITORY, None)
        found.append(cost)
        name = f"select of {number:,} tiny documents"
        yield Figure(f"{name}: CPU", cost.cpu, "s")
        yield Figure(f"{name}: memory of the driver", cost.driver / MB, "MB")
        yield Figure(f"{name}: memory of the largest worker", cost.worker / MB, "MB")
    yield Figure("growth of the driver's memory", (found[1].driver - found[0].driver) / MB, "MB", 30)


def tiny(row: int, *, number: int) -> tuple[str, str]:
    """A document of some bytes; one in twenty repeats another."""
    return f"part.jsonl#{row}", f"text {row % (number - number // 20)}"


def near(options: argparse.Namespace) -> Iterator[Figure]:
    """Near duplicates of real documents, beside the program of an earlier commit."""
    name = f"near duplicates of {options.real:,} real documents"
    documents = planted(real(options.corpus, options.real))
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        folder, before = Path(temporary, "project"), Path(temporary, "before")
        write_extracted(folder, len(documents), documents.__getitem__)
        checkout(options.before, before)
        found: dict[tuple[Path, str], list[Cost]] = {}
        for _ in range(options.runs):
            for tree in (before, REPOSITORY):
                for kind, rule, cold in (("near", SIMILARITY, True), ("warm", SIMILARITY, False), ("off", None, True)):
                    found.setdefault((tree, kind), []).append(run_select(folder, tree, rule, cold=cold))
                    if tree == REPOSITORY and kind == "near":
                        kept = names_kept(folder)
        wrong = kept ^ {documents[row][0] for row in sequential(documents)}
    cpu = {key: statistics.median(cost.cpu for cost in costs) for key, costs in found.items()}
    old, new = (cpu[tree, "near"] - cpu[tree, "off"] for tree in (before, REPOSITORY))
    yield Figure(f"{name}: documents unlike the sequential rule's", len(wrong), "documents", 0)
    yield Figure(f"{name}: dropped", len(documents) - len(kept), "documents")
    yield Figure(f"{name}: CPU at {options.before}, beside a run without the rule", old, "s")
    yield Figure(f"{name}: CPU now", new, "s", old / 3)
    yield Figure(f"{name}: CPU of the whole stage at {options.before}", cpu[before, "near"], "s")
    yield Figure(f"{name}: CPU of the whole stage now", cpu[REPOSITORY, "near"], "s")
    yield Figure(f"{name}: the same with the signatures kept, at {options.before}", cpu[before, "warm"], "s")
    yield Figure(f"{name}: the same with the signatures kept, now", cpu[REPOSITORY, "warm"], "s")
    costs = found[REPOSITORY, "near"]
    yield Figure(f"{name}: memory of the driver", max(cost.driver for cost in costs) / MB, "MB", 300)
    yield Figure(f"{name}: memory of the largest worker", max(cost.worker for cost in costs) / MB, "MB")


def bucket(options: argparse.Namespace) -> Iterator[Figure]:
    """Documents that all share a band of their signatures."""
    chance, name = random.Random(0), f"one bucket of {options.bucket:,} documents"  # noqa: S311 - no secrets
    words = [f"word{number}" for number in range(300)]
    documents = []
    for row in range(options.bucket):
        mine = list(words)
        for place in chance.sample(range(300), 3):
            mine[place] = f"other{chance.randrange(1000)}"
        documents.append((f"{row:06d}.txt", " ".join(mine)))
    documents += [(f"x{row:06d}.txt", f"another text {row}") for row in range(100)]
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        write_extracted(Path(folder), len(documents), documents.__getitem__)
        cost = run_select(Path(folder), REPOSITORY, SIMILARITY)
        wrong = names_kept(Path(folder)) ^ {documents[row][0] for row in sequential(documents)}
    yield Figure(f"{name}: documents unlike the sequential rule's", len(wrong), "documents", 0)
    yield Figure(f"{name}: CPU of the whole stage", cost.cpu, "s")
    yield Figure(f"{name}: memory of the driver", cost.driver / MB, "MB", 300)


def real(corpus: Path, number: int) -> list[str]:
    """Parts of the corpus's files, cut at the first line end after 800 characters, in the order of the files."""
    texts: list[str] = []
    for path in sorted(corpus.rglob("*.txt")):
        part = ""
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
            part += line
            if len(part) >= 800:
                texts.append(part)
                part = ""
        if len(texts) >= number:
            return texts[:number]
    raise SystemExit(f"{corpus}: expected {number:,} parts of 800 characters, got {len(texts):,}. Lower --real")


def planted(texts: list[str]) -> list[tuple[str, str]]:
    """Named documents; a part of them are others with some words changed."""
    chance = random.Random(0)  # noqa: S311 - documents, not secrets
    for row in range(len(texts)):
        if chance.random() < PLANTED:
            words = chance.choice(texts).split(" ")
            for _ in range(max(1, len(words) // chance.randrange(20, 400))):
                words[chance.randrange(len(words))] = f"zz{chance.randrange(1000)}"
            texts[row] = " ".join(words)
    return [(f"{row * 7919 % len(texts):06d}.txt", text) for row, text in enumerate(texts)]


def sequential(documents: Sequence[tuple[str, str]]) -> list[int]:
    """The rows that stay by the rule of docs/contracts.md, one document after another, with datasketch's index."""
    from datasketch import MinHash, MinHashLSH

    from aura.select.signatures import signature

    index, kept, texts = MinHashLSH(threshold=SIMILARITY, num_perm=128), {}, set[str]()
    for row in sorted(range(len(documents)), key=lambda row: documents[row][0]):
        text = documents[row][1]
        if text in texts:
            continue
        texts.add(text)
        mine = signature(text)
        signed = MinHash(128, 1, hashvalues=mine, scheme="affine32")
        if not any(np.mean(kept[other] == mine) >= SIMILARITY for other in index.query(signed)):
            index.insert(row, signed)
            kept[row] = mine
    return list(kept)


def names_kept(folder: Path) -> set[str]:
    """The names of all documents of the corpus."""
    shards = (folder / "data/corpus").glob("*/*.parquet")
    return {name for path in shards for name in pq.read_table(path, columns=["doc"]).column("doc").to_pylist()}


def checkout(commit: str, folder: Path) -> None:
    """Write the files of a commit into a folder."""
    folder.mkdir()
    archive = subprocess.run(["git", "archive", commit], cwd=REPOSITORY, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)


def shards(options: argparse.Namespace) -> Iterator[Figure]:
    """The driver's memory for one more shard."""
    found = []
    for number in (512, 4096):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            write_extracted(Path(folder), 4 * number, partial(tiny, number=4 * number), number)
            found.append(run_select(Path(folder), REPOSITORY, None))
    yield Figure("select: memory of the driver for a shard", (found[1].driver - found[0].driver) / 3584, "bytes")
    yield Figure("select: CPU for a shard", (found[1].cpu - found[0].cpu) / 3584 * 1000, "ms")


def manifests(options: argparse.Namespace) -> Iterator[Figure]:
    """Opening a corpus and tokens of 70,000 shards in each split."""
    targets = {"tokens": (1.5, 150.0), "corpus": (None, None)}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for step in ("write", *targets):
            command = [sys.executable, many_shards.__file__, folder, step]
            out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            if step in targets:
                found, (cpu, memory) = json.loads(out), targets[step]
                name = f"opening {step} of {2 * many_shards.SHARDS:,} shards"
                yield Figure(f"{name}: CPU", found["cpu"], "s", cpu)
                yield Figure(f"{name}: growth of memory", found["bytes"] / MB, "MB", memory)


# Requests of a store.


STAGES = (("extract", "made"), ("select",), ("train_tokenizer",), ("validate",), ("encode",))


def requests(options: argparse.Namespace) -> Iterator[Figure]:
    """The requests that each stage makes of a store for one more shard."""
    few, many = (count_requests(shards, options.folder) for shards in (16, 48))
    for stage in few:
        for kind in ("read", "write"):
            yield Figure(f"{stage}: {kind} requests a shard", (many[stage][kind] - few[stage][kind]) / 32, "")


def count_requests(shards: int, place: Path | None) -> dict[str, Counter[str]]:
    """The requests of each stage, by kind, for a corpus of so many shards."""
    found = {}
    with tempfile.TemporaryDirectory(dir=place) as temporary:
        folder = Path(temporary)
        prepare_pipeline(folder, shards)
        for name, *arguments in STAGES:
            log = folder / f"{name}.log"
            log.touch()
            paths = os.pathsep.join(map(str, (folder / "patch", REPOSITORY, REPOSITORY / "benchmarks")))
            environment = os.environ | {"PYTHONPATH": paths, "AURA_CACHE": "", counted_store.LOG: str(log)}
            command = [sys.executable, "-m", f"aura.stages.{name}", *arguments]
            subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
            found[name] = Counter(line.split()[0] for line in log.read_text().splitlines())
    return found


def prepare_pipeline(folder: Path, shards: int) -> None:
    """A project with small documents and a store that counts."""
    project(folder, REPOSITORY, SIMILARITY)
    chance, made = random.Random(0), folder / "data/made"  # noqa: S311 - documents, not secrets
    made.mkdir(parents=True)
    for number in range(40 * shards):
        words = ("".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randrange(2, 6))) for _ in range(100))
        (made / f"{number}.txt").write_text(" ".join(words))
    values = YAML(typ="safe").load(folder / "params.yaml")
    values |= {"store": f"counted://{folder / 'store'}", "validate": dict.fromkeys(values["validate"])}
    values["extract"]["shards"] = shards
    values["train_tokenizer"] |= {"vocab_size": 600, "model_type": "bpe"}
    YAML().dump(values, folder / "params.yaml")
    (folder / "patch").mkdir()
    (folder / "patch/sitecustomize.py").write_text(counted_store.SITECUSTOMIZE)


SECTIONS = {section.__name__: section for section in (exact, select, near, bucket, shards, manifests, requests)}


def main() -> None:
    """Measure and print a Markdown table for each section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, nargs="?", default=Path("data/bench"))
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="sections; all of them")
    parser.add_argument("--folder", type=Path, help="for what a section writes; the system's own for such files")
    parser.add_argument("--before", default="21f9d50", help="the commit that `near` is compared with")
    parser.add_argument("--runs", type=int, default=3, help="rounds of `near`; medians count")
    parser.add_argument("--documents", type=int, default=100_000_000, help="of `exact`")
    parser.add_argument("--tiny", type=int, default=1_000_000, help="documents of the smaller run of `select`")
    parser.add_argument("--real", type=int, default=100_000, help="documents of `near`")
    parser.add_argument("--bucket", type=int, default=5000, help="documents of `bucket`")
    parser.add_argument("--paper", action="store_true", help="print the tables for 1 TB to 100 TB, and measure nothing")
    parser.add_argument("--task", choices=["write", "find"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        print(json.dumps(task(options.task, options.folder, options.documents)))
        return
    if options.paper:
        scale_paper.show()
        return
    for name in options.only:
        if name == "near" and not options.corpus.is_dir():
            print(f"skipped {name}: no corpus at {options.corpus}; name a folder of .txt files")
            continue
        print(f"\n## {name}\n\n{machine()}\n\n| figure | value | at most |\n|---|---|---|", flush=True)
        for figure in SECTIONS[name](options):
            print(figure.row(), flush=True)


if __name__ == "__main__":
    main()

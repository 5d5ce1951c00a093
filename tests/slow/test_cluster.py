"""Stages on a Dask cluster of real processes: the same bytes, whatever happens to a worker."""

import math
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aura.core import cluster_calls, dask_cluster, parallel
from aura.core.dask_cluster import require_safe
from aura.core.errors import UserError
from aura.encode import encoding
from aura.select import candidates
from aura.select import select as selection
from aura.select.options import Select
from aura.storage.cache import Cache
from aura.storage.placement import THIS_DISK, of
from aura.train_tokenizer import corpus_counts, sorted_tables
from aura.train_tokenizer.corpus_counts import count_corpus
from aura.train_tokenizer.segments import Splitting
from aura.validate import held_out
from tests.conftest import REPOSITORY
from tests.core.deadly import Task, run, tries
from tests.extract.program import Program
from tests.mini_tokens import PARAMS
from tests.select.test_ranges import corpus_of, write

TEXT = "a happy document of the cluster, long enough to be worth cleaning and counting. " * 40
SPLITTING = Splitting(split_digits=True, split_by_script=True, split_by_number=True, user_symbols=())
QUICK = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "10s"}  # how long a lost scheduler is waited for

pytestmark = pytest.mark.slow


class Cluster:
    """A scheduler and two workers, each a process."""

    def __init__(self, folder: Path, code: Path = REPOSITORY, *, nanny: bool = False, workers: int = 2) -> None:
        self.folder = folder
        self.environment = os.environ | {"PYTHONPATH": str(code), "DASK_DISTRIBUTED__WORKER__DAEMON": "false"}
        file = folder / "scheduler.json"
        self.scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file))
        address = ""
        while not address:  # the file may be there before its content
            assert self.scheduler.poll() is None
            time.sleep(0.05)
            address = file.read_text().partition('"address": "')[2].partition('"')[0] if file.exists() else ""
        self.address = address
        self.workers = [
            self._start(
                "worker", address, "--nthreads", "1", "--host", "127.0.0.1", "--nanny" if nanny else "--no-nanny"
            )
            for _ in range(workers)
        ]

    def _start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "distributed.cli.dask_" + arguments[0], *arguments[1:], "--no-dashboard"]
        with (self.folder / "cluster.log").open("ab") as log:
            return subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=log, stderr=log)

    def stop(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    (tmp_path / "cluster").mkdir()
    running = Cluster(tmp_path / "cluster")
    yield running
    running.stop()


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Some 12 MB: more than is worth doing without workers."""
    made = Program(tmp_path / "program", {"kind": "txt"}, max_document_bytes=2_000_000)
    for number in range(3000):
        (made.data / f"{number}.txt").write_text(f"{number} {TEXT}", encoding="utf-8")
    (made.data / "large.txt").write_text("\n".join(f"{number} {TEXT}" for number in range(700)), encoding="utf-8")
    return made


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "data/extracted/mine").iterdir()}


def test_select_on_a_cluster_makes_the_same_bytes(cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(selection, "SMALL", 0)
    monkeypatch.setattr(candidates, "GROUP_SHARDS", 2)
    write(tmp_path / "extracted", corpus_of(1, 150, near=True))
    caps = {"a": {"share": 0.9, "max_documents": 40}}
    rules = Select.model_validate({"deduplicate": "exact", "near_duplicates": 0.8, "held_out": 0.4, "caps": caps})
    for name, address in (("here", None), ("there", cluster.address)):
        cache = Cache(Path(f"cache-{name}"))
        selection.select(["a", "b"], rules, Path("extracted"), Path(name), cache, cluster=address, ranges=3)
    assert everything(tmp_path / "here") == everything(tmp_path / "there")


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def at_work(cache: Path) -> bool:
    """Whether workers have kept something: the first dozen is of the large file, which the program does itself."""
    return len(list(cache.glob("[0-9a-f][0-9a-f]/*"))) > 12


def test_a_cluster_makes_the_same_bytes_also_when_a_worker_is_killed(cluster, program):
    assert program.run(AURA_CACHE="here").returncode == 0
    here = contents(program.folder)
    with program.start(AURA_CACHE="there", DASK_SCHEDULER_ADDRESS=cluster.address) as running:
        while not at_work(program.folder / "there"):
            assert running.poll() is None, "ended before a worker could be killed"
            time.sleep(0.01)
        cluster.workers[0].send_signal(signal.SIGKILL)
        _, said = running.communicate(timeout=200)
    assert running.returncode == 0, said
    assert contents(program.folder) == here


def test_a_scheduler_that_goes_away_is_one_message_and_leaves_nothing_half_written(cluster, program):
    with program.start(DASK_SCHEDULER_ADDRESS=cluster.address, **QUICK) as running:
        while not at_work(program.folder / ".aura/cache"):
            assert running.poll() is None, "ended before the scheduler could be killed"
            time.sleep(0.01)
        cluster.scheduler.send_signal(signal.SIGKILL)
        _, said = running.communicate(timeout=200)
    assert running.returncode == 1
    assert f"error: the Dask scheduler at {cluster.address} went away." in said
    assert "Traceback" not in said
    assert not list(program.folder.glob("data/extracted/*"))
    done = program.run(
        AURA_CACHE="new", DASK_SCHEDULER_ADDRESS=cluster.address, DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT="1s"
    )
    assert f"error: no Dask scheduler answers at {cluster.address}" in done.stderr
    assert program.run().returncode == 0


def test_a_cluster_measures_as_this_machine_does(cluster, made, monkeypatch):
    monkeypatch.setattr(held_out, "SMALL", 0)
    model, documents = made.spm / "spiece.model", made.corpus / "train"
    for limit in (1e9, 30_000):
        here, there = (
            held_out.count_held_out(model, made.tokenizer, documents, limit, address)
            for address in (None, cluster.address)
        )
        assert here.share == there.share
        assert pickle.dumps(here) == pickle.dumps(there)


def test_a_cluster_encodes_as_this_machine_does(cluster, made, tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "SMALL", 0)
    monkeypatch.chdir(tmp_path)
    for place in (THIS_DISK, of((tmp_path / "store").as_uri())):
        outputs = []
        for number, address in enumerate((None, cluster.address)):
            folder, cache = Path(f"tokens-{number}"), Cache(Path(f"cache-{number}"))
            encoding.encode_with(made.tokenizer, made.corpus, folder, PARAMS.encode, cache, place, address)
            outputs.append({str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*")})
        assert outputs[0] == outputs[1]


def test_counts_of_a_cluster_are_those_of_one_process(cluster, tmp_path, write_corpus, documents, monkeypatch):
    write_corpus(tmp_path / "train", documents)
    alone = count_corpus(tmp_path / "train", SPLITTING, Cache(tmp_path / "alone"))
    monkeypatch.setattr(corpus_counts, "SMALL", 0)
    monkeypatch.setattr(sorted_tables, "RANGE", 1)  # here, where ranges are cut
    cache = Cache(tmp_path / "cache")
    counted = count_corpus(tmp_path / "train", SPLITTING, cache, cluster=cluster.address)
    assert (counted.table.to_pydict(), counted.account) == (alone.table.to_pydict(), alone.account)


def test_a_call_that_ends_its_worker_each_time_is_named(tmp_path: Path):
    """Nannies replace the workers; a call that ended one once is done elsewhere."""
    for folder in ("cluster", "tries"):
        (tmp_path / folder).mkdir()
    cluster = Cluster(tmp_path / "cluster", nanny=True)
    tasks = [Task(f"task-{number}", tmp_path / "tries", {5: math.inf, 6: 1}.get(number, 0)) for number in range(8)]
    try:
        named = pytest.raises(UserError, match=r"task-5: expected tests.core.deadly.run to end; it ended a Dask worker")
        with named, parallel.executor(cluster.address) as pool:
            list(parallel.ordered_map(pool, run, tasks))
    finally:
        cluster.stop()
    assert {f"task-{number}" for number in range(5)} <= tries(tmp_path / "tries").keys()


def test_a_cluster_without_workers_is_waited_for_with_a_word(tmp_path: Path, monkeypatch, capfd):
    monkeypatch.setattr(cluster_calls, "QUIET", 0.2)
    monkeypatch.setattr(dask_cluster, "WORKERS_TIMEOUT", 2)
    cluster = Cluster(tmp_path, workers=0)
    try:
        with pytest.raises(UserError, match="has no workers"), parallel.executor(cluster.address):
            pass
    finally:
        cluster.stop()
    assert f"waiting for workers at {cluster.address}\n" in capfd.readouterr().err


@pytest.mark.parametrize("address", ["tcp://10.0.0.1:8786", "tcp://scheduler:8786", "inproc://x", "8786"])
def test_an_address_outside_this_machine_must_be_tls(address):
    with pytest.raises(UserError, match="expected tls://HOST:PORT"):
        require_safe(address)
    for safe in ("tls://10.0.0.1:8786", "tcp://127.0.0.1:1", "tcp://localhost:1", "tcp://[::1]:1"):
        require_safe(safe)

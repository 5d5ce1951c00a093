"""Workers, what interrupts them, and what ends them; and ranks, which share work."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import dask
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aura.core import files, parallel, ranks
from aura.core.dask_cluster import require_certificates
from aura.core.errors import UserError
from aura.core.ranks import Rank
from tests.conftest import REPOSITORY
from tests.core import deadly

INTERRUPTED = """
import os, signal
from concurrent.futures import ProcessPoolExecutor
from aura.core import parallel

submit = ProcessPoolExecutor.submit

def submit_interrupted(self, *arguments):
    future = submit(self, *arguments)  # which starts a worker
    os.killpg(0, signal.SIGINT)  # what Ctrl-C does, to every process of the terminal
    return future

if __name__ == "__main__":
    ProcessPoolExecutor.submit = submit_interrupted
    parallel.cores = lambda: 2
    try:
        with parallel.executor():
            print("went on")
    except KeyboardInterrupt:
        print("interrupted")
"""


def test_an_interrupt_while_workers_start_is_kept_and_ends_all(tmp_path: Path):
    (tmp_path / "program.py").write_text(INTERRUPTED)
    variables = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    program = [sys.executable, str(tmp_path / "program.py")]
    with subprocess.Popen(program, env=variables, start_new_session=True, **pipes) as running:
        out, err = running.communicate(timeout=60)  # which also waits for the workers: they hold the pipes
    assert (out, err) == ("interrupted\n", "")
    assert running.returncode == 0


def test_more_calls_are_in_flight_when_a_cluster_gets_more_workers():
    class Growing(parallel.SerialExecutor):
        in_flight = 2

    pool, sent = Growing(), list[int]()
    results = parallel.ordered_map(pool, sent.append, range(20))
    next(results)
    assert len(sent) == 2
    pool.in_flight = 5
    next(results)
    assert len(sent) == 1 + 5
    pool.in_flight = 1
    assert len(list(results)) == 18


KILLED = """
import os, sys, time
from importlib.machinery import ModuleSpec
from aura.core import parallel

if __name__ == "__main__":
    sys.modules["__main__"].__spec__ = ModuleSpec(sys.argv[1], None)
    parallel.cores = lambda: 2
    with parallel.executor() as pool:
        print(*{pool.submit(os.getpid).result() for _ in range(50)}, flush=True)
        time.sleep(100)
"""


@pytest.mark.parametrize("name", ["stages.extract", "program"])
def test_workers_end_with_a_killed_parent(tmp_path: Path, name: str):
    """Those of a stage are forked, others spawned."""
    (tmp_path / "program.py").write_text(KILLED)
    program = [sys.executable, str(tmp_path / "program.py"), name]
    variables = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(program, env=variables, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        workers = [psutil.Process(int(number)) for number in running.stdout.readline().split()]
        assert workers
        for worker in workers:
            assert (name in worker.cmdline()) == (name == "stages.extract")
        running.send_signal(signal.SIGKILL)
    assert psutil.wait_procs(workers, timeout=30)[1] == []


BUSY = """
import os, sys, time
from importlib.machinery import ModuleSpec
from aura.core import console, parallel

def main():
    with parallel.executor() as pool:
        busy = [pool.submit(time.sleep, 100) for _ in range(9)]
        print(*{process.pid for process in pool.alive()}, flush=True)
        busy[0].result()

if __name__ == "__main__":
    sys.modules["__main__"].__spec__ = ModuleSpec(sys.argv[1], None)
    parallel.cores = lambda: 2
    console.run(main)
"""


@pytest.mark.parametrize("name", ["stages.extract", "program"])
@pytest.mark.parametrize("pause", [0.0, 0.05, 0.5])
def test_ctrl_c_once_or_more_ends_the_program_and_its_workers(tmp_path: Path, name: str, pause: float):
    (tmp_path / "program.py").write_text(BUSY)
    variables = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    program = [sys.executable, str(tmp_path / "program.py"), name]
    with subprocess.Popen(program, env=variables, start_new_session=True, **pipes) as running:
        workers = [psutil.Process(int(number)) for number in running.stdout.readline().split()]
        for _ in range(2 if pause else 1):
            os.killpg(running.pid, signal.SIGINT)
            time.sleep(pause)
        _, err = running.communicate(timeout=20)
    assert running.returncode == 130, err
    assert "Traceback" not in err
    assert psutil.wait_procs(workers, timeout=10)[1] == []


DEADLY = """
import math, sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from aura.core import console, parallel
from tests.core.deadly import Task, run

def main():
    deaths = {5: float(sys.argv[2]), 6: 1}
    tasks = [Task(f"task-{number}", Path(sys.argv[1]), deaths.get(number, 0)) for number in range(12)]
    with parallel.executor() as pool:
        print(*parallel.ordered_map(pool, run, tasks))

if __name__ == "__main__":
    sys.modules["__main__"].__spec__ = ModuleSpec("stages.extract", None)  # its workers are forked
    parallel.cores = lambda: 2
    console.run(main)
"""


@pytest.mark.parametrize("deaths", ["2", "inf"])
def test_a_call_that_ends_its_worker_is_tried_three_times_and_named(tmp_path: Path, deaths: str):
    (tmp_path / "program.py").write_text(DEADLY)
    (tmp_path / "tries").mkdir()
    program = [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "tries"), deaths]
    variables = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(program, env=variables, capture_output=True, text=True, check=False, timeout=60)
    tried = deadly.tries(tmp_path / "tries")
    assert tried["task-5"] == 3
    assert max(tried.values()) <= 3
    if deaths == "2":
        assert done.stdout.split() == [f"task-{number}" for number in range(12)], done.stderr
    else:
        assert done.stderr.startswith("error: task-5: expected tests.core.deadly.run to end; it ended a process"), done
        assert "Traceback" not in done.stderr
        assert {f"task-{number}" for number in range(5)} <= tried.keys()


@given(names=st.lists(st.text(), unique=True), world=st.integers(1, 9))
def test_each_task_falls_to_one_rank(names: list[str], world: int):
    owners = [[rank for rank in range(world) if Rank(rank, world).owns(name)] for name in names]
    assert all(len(ranks) == 1 for ranks in owners)


def test_ranks_do_their_own_and_find_the_rest(monkeypatch: pytest.MonkeyPatch):
    kept: dict[int, int] = {}
    calls: list[int] = []

    def make(number: int) -> int:
        calls.append(number)
        kept[number] = number * number
        return kept[number]

    def as_rank(number: int, find: object = kept.get) -> list[int]:
        monkeypatch.setenv("AURA_RANK", f"{number} of 2")
        return list(parallel.shared_map(parallel.SerialExecutor(), make, range(20), find))

    for rank, status in ((0, 75), (1, None), (0, None)):
        if status is None:
            assert as_rank(rank) == [number * number for number in range(20)]
        else:
            with pytest.raises(SystemExit) as ended:
                as_rank(rank)
            assert ended.value.code == status
    with pytest.raises(SystemExit) as ended:
        as_rank(0, None)
    assert ended.value.code == 0
    assert sorted(set(calls)) == list(range(20))


def test_a_rank_replaces_no_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AURA_RANK", "1 of 2")
    with pytest.raises(SystemExit), files.replaced_folder(tmp_path / "output"):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("rank", "told"),
    [
        *(("8 of 8", "expected a rank from 0 to 7"), ("-1 of 2", "expected a rank from 0 to 1")),
        *(("0 of 0", "expected a world of 1 or more processes, got 0"), ("3", "AURA_RANK: expected")),
    ],
)
def test_ranks_count_from_zero(rank: str, told: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AURA_RANK", rank)
    with pytest.raises(UserError, match=told):
        ranks.here()


def test_a_world_has_processes():
    with pytest.raises(UserError, match="expected a world of 1 or more processes, got 0"):
        Rank(0, 0)


def test_tls_needs_certificates(tmp_path: Path):
    tls, gone = "distributed.comm.tls", str(tmp_path / "gone.pem")
    for file, ails in ((None, "the client has none"), (gone, "No such file")):
        settings = {f"{tls}.ca-file": file, f"{tls}.client.cert": file, f"{tls}.client.key": file}
        with dask.config.set(settings), pytest.raises(UserError, match=rf"distributed\.comm\.tls \(.*{ails}"):
            require_certificates("tls://host:8786")
    require_certificates("tcp://127.0.0.1:8786")

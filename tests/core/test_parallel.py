"""Workers, and what interrupts them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.conftest import REPOSITORY

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
        print(*{process.pid for process in pool._processes.values()}, flush=True)
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

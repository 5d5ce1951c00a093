"""Workers, and what interrupts them."""

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY

INTERRUPTED = """
import os, signal
from concurrent.futures import ProcessPoolExecutor
from aura import parallel

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

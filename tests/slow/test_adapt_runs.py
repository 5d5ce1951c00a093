"""Adaptation under kills, in two processes and on meshes: the same bytes, or the same numbers within rounding."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from aura.adapt.adapt import Inputs
from tests.adapt.test_adapt import ready, results, run
from tests.conftest import REPOSITORY

__all__ = ["ready"]
pytestmark = pytest.mark.slow

# Adapts in the folder of argv[1] with the inputs of the rest; prints what was measured.
PROGRAM = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from tests import quick_compilation
from aura.adapt.adapt import Inputs
from aura.training import distributed
from tests.adapt.test_adapt import run
distributed.start()
folder, machine, changes, *places = sys.argv[1:]
metrics = run(Inputs(*map(Path, places)), Path(folder), json.loads(machine), **json.loads(changes))
print(json.dumps(asdict(metrics)))
"""
STEPS = {"steps": 8, "eval_every": 4}


def started(inputs: Inputs, folder: Path, machine: dict, changes: dict, **environment: str) -> subprocess.Popen[str]:
    places = [inputs.conversations, inputs.model, inputs.tokenizer, inputs.tokens]
    command = [sys.executable, "-c", PROGRAM, folder, json.dumps(machine), json.dumps(changes), *places]
    variables = os.environ | {"PYTHONPATH": str(REPOSITORY)} | environment
    pipe = subprocess.PIPE
    return subprocess.Popen([*map(str, command)], env=variables, stdout=pipe, stderr=pipe, text=True, cwd=folder)


def ended(process: subprocess.Popen[str]) -> dict[str, float]:
    said, told = process.communicate(timeout=400)
    assert process.returncode == 0, told
    return json.loads(said.splitlines()[-1])


def test_ten_kills_end_in_the_undisturbed_bytes(ready: Inputs, tmp_path: Path):
    """At random moments; a run that ended before its kill begins anew."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    cache = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    ended(started(ready, whole, {"checkpoint_every": 1}, STEPS, **cache))
    began = time.monotonic()  # of a run that finds its programs compiled, as those that are killed do
    ended(started(ready, killed, {"checkpoint_every": 1}, STEPS, **cache))
    took, chosen, kills = time.monotonic() - began, random.Random(0), 0  # noqa: S311
    shutil.rmtree(killed)
    killed.mkdir()
    for _ in range(30):
        if kills == 10:
            break
        process, began = started(ready, killed, {"checkpoint_every": 1}, STEPS, **cache), time.monotonic()
        try:
            process.wait(timeout=chosen.uniform(0.3, 0.9) * took)
            took = time.monotonic() - began  # the machine has become faster
            shutil.rmtree(killed)
            killed.mkdir()
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.communicate()
    ended(started(ready, killed, {"checkpoint_every": 1}, STEPS, **cache))
    assert kills == 10
    assert results(killed) == results(whole)


MEASURED = ("loss", "response_loss", "start_divergence", "bits_per_byte")


@pytest.mark.parametrize("changes", [{}, {"rank": 0, "learning_rate": 0.003}])
def test_processes_and_meshes_give_the_numbers_of_one_device(ready: Inputs, tmp_path: Path, changes: dict):
    one = run(ready, tmp_path / "one", {"checkpoint_every": 100}, **changes)
    expected = [getattr(one, name) for name in MEASURED]
    two = {"JAX_NUM_CPU_DEVICES": "2"}
    for name, machine in {
        "data": {},
        "fsdp": {"fsdp": 2},
        "tensor": {"tensor": 2},
        "parts": {"accumulation": 2},
    }.items():
        (tmp_path / name).mkdir()
        found = ended(started(ready, tmp_path / name, {"checkpoint_every": 100} | machine, changes, **two))
        np.testing.assert_allclose([found[each] for each in MEASURED], expected, rtol=1e-4, err_msg=name)


def test_two_processes_write_once_what_one_writes(ready: Inputs, tmp_path: Path):
    one = run(ready, tmp_path / "one", {"checkpoint_every": 100})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    (tmp_path / "two").mkdir()
    both = [
        started(
            *(ready, tmp_path / "two", {"checkpoint_every": 2}, {}),
            AURA_COORDINATOR=coordinator, AURA_PROCESSES="2", AURA_PROCESS=str(number),
        )
        for number in range(2)
    ]  # fmt: skip
    for process in both:
        found = ended(process)
        got, expected = [found[name] for name in MEASURED], [getattr(one, name) for name in MEASURED]
        np.testing.assert_allclose(got, expected, rtol=1e-4)
    assert results(tmp_path / "two").keys() == results(tmp_path / "one").keys()
    shutil.rmtree(tmp_path / "two")

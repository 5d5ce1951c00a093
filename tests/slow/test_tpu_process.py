"""Processes of a real run tell which of it they are, which the launcher finds its results by."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow
PROGRAM = "from aura.training import distributed; distributed.start()"


def test_every_process_writes_the_number_that_jax_gave_it(tmp_path: Path):
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    run = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    run |= {"AURA_COORDINATOR": f"127.0.0.1:{port}", "AURA_PROCESSES": "2", "JAX_PLATFORMS": "cpu"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env=run | {"AURA_PROCESS": str(number), "AURA_PROCESS_FILE": str(tmp_path / f"{number}.json")},
        )
        for number in (0, 1)
    ]
    assert [process.wait(timeout=100) for process in processes] == [0, 0]
    assert [json.loads((tmp_path / f"{number}.json").read_text()) for number in (0, 1)] == [
        {"process": 0},
        {"process": 1},
    ]

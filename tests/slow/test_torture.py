"""A few tries of each loop of benchmarks/torture.py: nothing is silent, and the advice ends in the right bytes."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow

TRIES = {"kills": 4, "cuts": 4, "flips": 1, "write-faults": 3, "changes": 2}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test leaves the tiny project for the others."""
    return tmp_path_factory.mktemp("torture")


@pytest.mark.parametrize("loop", TRIES)
def test_a_few_tries(loop: str, prepared: Path, tmp_path: Path):
    program = [sys.executable, str(REPOSITORY / "benchmarks/torture.py"), "--only", loop, f"--{loop}", str(TRIES[loop])]
    folders = ["--prepared", str(prepared), "--folder", str(tmp_path)]
    done = subprocess.run([*program, *folders], capture_output=True, text=True, timeout=600)
    skipped = [line for line in done.stdout.splitlines() if line.startswith(f"{loop} skipped: ")]
    if skipped:
        pytest.skip(skipped[0])
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"| {loop} | " in done.stdout
    assert not list(tmp_path.iterdir()), "folders and mounts must be taken away"

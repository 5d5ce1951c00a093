"""The script that measures training on a GPU runs anywhere in its smallest form."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def test_its_smallest_case_is_measured_without_a_gpu_and_without_torch():
    environment = os.environ | {"PYTHON": sys.executable, "TORCH": "", "PYTHONPATH": ""}
    ended = subprocess.run(
        ["benchmarks/gpu.sh", "--smallest"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert "| smallest, 0.0 M | aura, jax" in ended.stdout


def test_a_case_that_takes_too_long_is_told_and_fails_the_script():
    environment = os.environ | {"PYTHON": sys.executable, "TORCH": "", "PYTHONPATH": "", "LIMIT": "0.1"}
    ended = subprocess.run(
        ["benchmarks/gpu.sh", "--smallest"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "smallest: ended with 124" in ended.stdout

"""SIGTERM, as a preemption sends it: a checkpoint, an end within 30 s with a line, and then the same bytes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from aura.core import files
from aura.training.termination import TERMINATED
from tests.conftest import Project
from tests.slow.test_checkpoint_kills import results
from tests.slow.test_processes import OPTIONS, STAGE, SUPERVISED

pytestmark = pytest.mark.slow

RUN = {"checkpoint_every": 100_000, "eval_every": 7}  # so that nothing is saved but at the end, or by SIGTERM


def end_by_sigterm(project: Project, command: list[str], told: Callable[[int], int] = lambda pid: pid) -> str:
    """Start, wait until it trains, send SIGTERM to the process that `told` names; what it said."""
    log = project.folder / "run.log"
    with log.open("w") as stream, subprocess.Popen(
        command, cwd=project.folder, env=project.environment, stdout=stream, stderr=stream
    ) as process:  # fmt: skip
        losses = project.folder / "reports/pretrain/plots/metrics/loss.tsv"
        deadline = time.monotonic() + 200
        while not losses.exists():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.01)
        began = time.monotonic()
        os.kill(told(process.pid), signal.SIGTERM)
        status = process.wait(timeout=60)
        assert time.monotonic() - began < 30
    said = log.read_text()
    assert status == TERMINATED, said
    assert "Traceback" not in said
    return said


def saved(project: Project) -> set[int]:
    return {int(path.name) for path in (project.folder / ".aura/checkpoints").glob("*/*") if path.name.isdigit()}


def test_a_run_told_to_end_saves_and_ends_in_the_bytes_of_an_undisturbed_one(built: Project, tmp_path: Path):
    project = built.copy(tmp_path / "project")
    project.edit_params(pretrain=RUN | {"steps": 1200})
    undisturbed = project.copy(tmp_path / "undisturbed")
    undisturbed.run(*STAGE)
    for folder in ("models/lm", "reports/pretrain", ".aura/checkpoints"):
        subprocess.run(["rm", "-rf", folder], cwd=project.folder, check=True)
    said = end_by_sigterm(project, STAGE)
    [step] = saved(project)
    assert f"ended by SIGTERM: step {step:,} of 1,200 is saved. Run the same command again" in said
    assert not (project.folder / "models/lm").exists()
    assert f"going on after step {step:,}" in project.run(*STAGE).stderr
    assert results(project) == results(undisturbed)


@pytest.fixture
def mesh_project(built: Project, tmp_path: Path) -> Project:
    project = built.copy(tmp_path / "project")
    project.edit_params(pretrain=OPTIONS | RUN | {"steps": 60})
    project.environment["JAX_NUM_CPU_DEVICES"] = "2"
    for folder in ("models/lm", "reports/pretrain", ".aura/checkpoints"):
        subprocess.run(["rm", "-rf", folder], cwd=project.folder, check=True)
    return project


def test_processes_agree_on_the_step_and_their_supervisor_ends_with_them(mesh_project: Project, tmp_path: Path):
    undisturbed = mesh_project.copy(tmp_path / "undisturbed")
    undisturbed.environment["JAX_NUM_CPU_DEVICES"] = "2"
    undisturbed.run(*SUPERVISED)
    said = end_by_sigterm(mesh_project, SUPERVISED)
    [step] = saved(mesh_project)
    assert f"step {step:,} of 60 is saved" in said
    assert "ended by SIGTERM: process" in said
    mesh_project.run(*SUPERVISED)
    weights = "models/lm/model.safetensors"
    assert files.sha256_file(mesh_project.folder / weights) == files.sha256_file(undisturbed.folder / weights)


def test_a_single_process_that_is_told_has_all_save_and_all_start_again(mesh_project: Project):
    log = mesh_project.folder / "supervisor.log"
    with log.open("w") as stream, subprocess.Popen(
        SUPERVISED, cwd=mesh_project.folder, env=mesh_project.environment, stdout=stream, stderr=stream
    ) as supervisor:  # fmt: skip
        while not (mesh_project.folder / "reports/pretrain/plots/metrics/loss.tsv").exists():
            assert supervisor.poll() is None, log.read_text()
            time.sleep(0.01)
        psutil.Process(supervisor.pid).children()[-1].terminate()
        assert supervisor.wait(timeout=200) == 0, log.read_text()
    said = log.read_text()
    assert "was ended by SIGTERM, after it saved; all are started again (1 of 20)" in said
    assert "going on after step" in said


BEFORE_THE_FIRST_STEP = """
import hashlib, os, signal, threading
from aura.training.termination import Termination
with Termination():
    threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # minutes without a line of Python, as while XLA compiles
"""


def test_a_run_that_compiles_ends_at_once():
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", BEFORE_THE_FIRST_STEP], capture_output=True, text=True, check=False)
    assert done.returncode == TERMINATED
    assert "ended by SIGTERM: no step was under way" in done.stderr
    assert time.monotonic() - began < 30

"""kill -9 of the whole process group in the middle of a stage's work, then the same command: the same bytes."""

import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.conftest import Project

pytestmark = pytest.mark.slow

OUTPUTS = {
    "extract@sample": ("data/extracted/sample",),
    "select": ("data/corpus",),
    "train_tokenizer": ("models/spm",),
    "validate": ("reports/validate",),
    "encode": ("data/tokens",),
    "pretrain": ("models/lm", "reports/pretrain"),
}
KILLS = {"extract@sample": 10, "train_tokenizer": 10}  # in the middle of the work; 5 for every other stage


def digest(project: Project, stage: str) -> dict[str, str]:
    """Hash of every file that a stage puts out (timings are no result, the report is a view)."""
    files = [path for out in OUTPUTS[stage] for path in sorted((project.folder / out).rglob("*")) if path.is_file()]
    return {
        str(path.relative_to(project.folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.name != "timings.json"
    }


def start(project: Project, stage: str) -> "subprocess.Popen[bytes]":
    """`dvc repro` of one stage, in a process group of its own, with nothing in the action cache."""
    shutil.rmtree(project.folder / ".aura", ignore_errors=True)
    command = ["dvc", "repro", "--force", "--single-item", stage]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, cwd=project.folder, env=project.environment, start_new_session=True, **quiet)


def stage_process(repro: "subprocess.Popen[bytes]", stage: str) -> psutil.Process:
    """Wait for the stage's own Python under `dvc repro`."""
    module = f"aura.stages.{stage.partition('@')[0]}"
    while repro.poll() is None:
        for child in psutil.Process(repro.pid).children(recursive=True):
            try:
                if module in child.cmdline() and "sh" not in child.name():
                    return child
            except psutil.NoSuchProcess:
                continue
        time.sleep(0.005)
    raise AssertionError(f"{stage} ended before it was seen")


def working_seconds(project: Project, stage: str) -> float:
    """How long the stage's process lives when nobody kills it."""
    repro = start(project, stage)
    process = stage_process(repro, stage)
    began = time.monotonic()
    psutil.wait_procs([process], timeout=120)
    seconds = time.monotonic() - began
    assert repro.wait() == 0
    return seconds


def kill_in_the_middle(project: Project, stage: str, delay: float) -> bool:
    """Kill the whole group `delay` seconds into the stage's process; returns whether it was still at work."""
    repro = start(project, stage)
    process = stage_process(repro, stage)
    time.sleep(delay)
    at_work = process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    os.killpg(repro.pid, signal.SIGKILL)
    repro.wait()
    return at_work


@pytest.mark.parametrize("stage", OUTPUTS)
def test_a_killed_stage_started_again_ends_in_the_same_bytes(built: Project, tmp_path: Path, stage: str):
    project = built.copy(tmp_path / "project")
    undisturbed, lock = digest(project, stage), project.lock()
    seconds = working_seconds(project, stage)
    assert digest(project, stage) == undisturbed
    rng = random.Random(20261122)  # noqa: S311 - moments, not secrets
    wanted = KILLS.get(stage, 5)
    landed = 0  # kills that found the stage at work, its outputs absent or unfinished
    for _ in range(4 * wanted):
        moment = (landed + rng.random()) / wanted  # they are spread evenly over the work
        at_work = kill_in_the_middle(project, stage, (0.1 + 0.85 * moment) * seconds)
        in_the_middle = at_work and digest(project, stage) != undisturbed
        landed += in_the_middle
        seconds *= 1 if in_the_middle else 0.8  # too late: the machine was busier when the stage's time was taken
        told = project.run("aura", "lock", "repair").stdout
        # By force, or DVC would take the outputs from its cache and the stage would not meet what was left behind.
        project.run("dvc", "repro", "--force", "--single-item", stage)
        assert digest(project, stage) == undisturbed
        if (
            "damaged in dvc.lock" in told
        ):  # the kill fell into DVC's own writing of it, and tore entries of other stages
            assert project.ran(project.run("dvc", "repro").stdout) == set()  # which are recalled
        assert project.lock() == lock
        assert not list(project.folder.rglob(".*.partial"))
        if landed == wanted:
            break
    assert landed == wanted


def test_a_killed_first_run_goes_on_where_it_was(built: Project, tmp_path: Path):
    """From nothing: kill what `make` runs again and again until it gets through; finished stages are not run again."""
    project = built.copy(tmp_path / "project")
    for folder in ("data/extracted", "data/corpus", "data/tokens", "models", "reports", ".dvc/cache", ".aura"):
        shutil.rmtree(project.folder / folder)
    lock, ran = project.lock(), set()
    (project.folder / "dvc.lock").unlink()
    for number in range(40):
        project.run("aura", "lock", "repair")
        repro = subprocess.Popen(
            ["dvc", "repro"], cwd=project.folder, env=project.environment, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            said, errors = repro.communicate(timeout=14 * 1.1**number)  # a busy machine gets through, too
        except subprocess.TimeoutExpired:
            os.killpg(repro.pid, signal.SIGKILL)
            said, errors = repro.communicate()
        else:
            assert repro.returncode == 0, errors
        # Whole runs only: a stage is at work from "Running stage" until the "Updating lock file" that follows.
        finished = set(re.findall(r"^Running stage '(.+)':$(?s:.)*?^Updating lock file", said, re.MULTILINE))
        assert not ran & finished, "a finished stage ran again"
        ran |= finished
        if repro.returncode == 0:
            break
    assert repro.returncode == 0
    assert project.lock() == lock

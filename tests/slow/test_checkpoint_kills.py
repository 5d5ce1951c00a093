"""kill -9 in the middle of training and of saving, again and again: the same losses and the same weights."""

import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from aura.core import files
from tests.conftest import Project

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "aura.stages.pretrain"]
RUN = {"steps": 160, "checkpoint_every": 2, "eval_every": 20}
KILLS = 20


def results(project: Project) -> dict[str, str]:
    """Hash of the weights and of every logged number."""
    found = [*(project.folder / "models/lm").iterdir(), *(project.folder / "reports/pretrain").rglob("*")]
    return {
        path.relative_to(project.folder).as_posix(): files.sha256_file(path)
        for path in found
        if path.is_file() and path.name != "timings.json"
    }


def in_flight(project: Project) -> set[tuple[str, int]]:
    """Saves that have begun and not ended (Orbax renames the folder when it is complete), as names and inodes."""
    found = set()
    for path in (project.folder / ".aura/checkpoints").glob("*/*.orbax-checkpoint-tmp*"):
        with suppress(FileNotFoundError):  # it has ended since it was listed
            found.add((path.name, path.stat().st_ino))
    return found


def saved(project: Project) -> set[Path]:
    return {path for path in (project.folder / ".aura/checkpoints").glob("*/*") if path.name.isdigit()}


def kill_after_a_while(project: Project, delay: float, *, in_a_save: bool) -> bool:
    """Start, wait for a new checkpoint and `delay` more (and for a save to begin), kill; whether it was in a save."""
    before, stale = saved(project), in_flight(project)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(COMMAND, cwd=project.folder, env=project.environment, **quiet) as process:
        while not saved(project) - before and process.poll() is None:
            time.sleep(0.002)
        time.sleep(delay)
        while in_a_save and process.poll() is None and not in_flight(project) - stale:
            time.sleep(0.0002)
        assert process.poll() is None, "the run ended before it was killed: give it more steps"
        process.send_signal(signal.SIGKILL)
    return bool(in_flight(project) - stale)


def test_a_run_killed_twenty_times_ends_in_the_same_losses_and_weights(built: Project, tmp_path: Path):
    project = built.copy(tmp_path / "project")
    project.edit_params(pretrain=RUN)
    project.run(*COMMAND)
    undisturbed = results(project)
    for folder in (".aura/checkpoints", "models/lm", "reports/pretrain"):
        shutil.rmtree(project.folder / folder)
    rng = random.Random(20261122)  # noqa: S311 - moments, not secrets
    landed_in_a_save = sum(
        kill_after_a_while(project, rng.uniform(0, 0.1), in_a_save=number % 2 == 0) for number in range(KILLS)
    )
    assert landed_in_a_save >= 5
    assert not (project.folder / "models/lm").exists()
    assert "going on after step" in project.run(*COMMAND).stderr
    assert results(project) == undisturbed
    timings = files.read_json(project.folder / "reports/pretrain/timings.json", made_by="")
    assert timings["attempts"] == KILLS + 1
    assert 0 < timings["goodput"] < 1

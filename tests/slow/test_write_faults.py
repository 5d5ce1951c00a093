"""Failing writes while pretraining: one message without a traceback, and the next run ends in the undisturbed bytes."""

import errno
import importlib
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY, Project

pytestmark = pytest.mark.slow

KINDS = {"a full disk": (errno.ENOSPC, 1), "one failure": (errno.EIO, 0), "a failing disk": (errno.EIO, 1)}
OUTPUTS = ("models/lm", "reports/pretrain")


@pytest.fixture(scope="module")
def snapshots(built: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a project that is ready to pretrain; what XLA compiled is there."""
    folder = tmp_path_factory.mktemp("snapshots")
    project = built.copy(folder / "pretrain")
    project.edit_params(pretrain={"steps": 6, "checkpoint_every": 2})
    for name in (*OUTPUTS, ".aura/checkpoints"):
        shutil.rmtree(project.folder / name, ignore_errors=True)
    return folder


@pytest.fixture
def slot(snapshots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    if shutil.which("gcc") is None:
        pytest.skip("gcc not found, which compiles the library that lets writes fail")
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    slot = importlib.import_module("loops.write_faults").FaultySlot(tmp_path / "slot", snapshots)
    yield slot
    slot.close()


def test_a_write_that_fails_is_told_in_one_line_and_the_next_run_ends_in_the_same_bytes(slot: Any):
    digests, chosen = importlib.import_module("loops.project").digests, random.Random(13)  # noqa: S311
    slot.reset("pretrain")
    slot.set(armed=True)
    assert slot.stage("pretrain").status == 0
    calls, undisturbed = slot.count, digests(slot.folder, OUTPUTS)
    assert calls > 100
    for kind, (number, lasts) in KINDS.items():
        # In the middle third checkpoints are written; a single failure may also meet what nobody needs.
        at = chosen.randrange(calls // 3, 2 * calls // 3)
        slot.reset("pretrain")
        slot.set(at, number, lasts, armed=True)
        run = slot.stage("pretrain")
        slot.set()
        assert "Traceback" not in run.said, f"{kind} at call {at} of {calls}: {run.said}"
        lines = [line for line in run.said.splitlines() if line.strip()]
        *progress, last = lines or [""]
        progress = [line for line in progress if not line.startswith("pretrain: auto is ")]
        assert progress in ([], ["pretraining: compiles a step"]) or run.status == 0, run.said
        assert run.status == 0 or last.startswith("error: "), run.said
        assert run.status == 1 or not lasts
        again = slot.stage("pretrain")
        assert again.status == 0, again.said
        assert digests(slot.folder, OUTPUTS) == undisturbed, f"{kind} at call {at} of {calls}"


FULL_DISK = """
import resource, signal, sys
import jax
from aura.core import console
from tests.mini_tokens import tiny
from tests.pretraining_runs import checkpoints_of, row_of

def main():
    saves = checkpoints_of(tiny(checkpoint_folder=sys.argv[1], checkpoint_every=1))
    state = {f"array {number}": jax.random.normal(jax.random.key(number), (1 << 17,)) for number in range(8)}
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    saves.save(row_of(1, 2.0, 1.0, 0.1), state)
    saves.close()

console.run(main)
"""


def test_a_save_that_fails_is_all_that_is_said(tmp_path: Path):
    """Its threads fail one after the other, and some report to an event loop that is closed by then."""
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith(f"error: {tmp_path}/")
    assert "the checkpoint of step 1 could not be written" in line
    assert os.strerror(errno.EFBIG) in line

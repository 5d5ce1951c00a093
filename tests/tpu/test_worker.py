"""A job on a worker that is told to end: it saves first, whoever tells it, and that is no death."""

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from aura.tpu import worker
from aura.tpu.pod import Pod
from aura.tpu.topology import accelerator
from tests.tpu.conftest import Cloud

# A job whose save takes a second: as one of aura, it ends with TERMINATED.
PROGRAM = """
import os, pathlib, signal, sys, time
def save(*_):
    time.sleep(1)
    pathlib.Path(f"saved-{os.getpid()}").touch()
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
pathlib.Path(f"started-{os.getpid()}").touch()
while True:
    time.sleep(0.02)
"""


@pytest.fixture
def started(cloud: Cloud, pod: Pod) -> tuple[Pod, Path]:
    """A pod of one worker that runs the job, and the folder in which the job runs."""
    made, folder = replace(pod, accelerator=accelerator("v4-8")), cloud.home(0) / "aura_tpu"
    made.create()
    made.prepare()
    folder.mkdir()
    made.ask("start", key="this", command=[sys.executable, "-S", "-c", PROGRAM], environment={})
    wait_for(lambda: jobs(folder, "started"))
    return made, folder


def jobs(folder: Path, what: str) -> list[int]:
    return [int(path.name.rpartition("-")[2]) for path in folder.glob(f"{what}-*")]


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_stop_waits_for_the_save_and_starts_nothing_again(started: tuple[Pod, Path]):
    pod, folder = started
    assert pod.ask("stop") == [{"stopped": True}]
    assert jobs(folder, "saved") == jobs(folder, "started")
    (told,) = pod.ask("status")
    assert (told["state"], told["deaths"]) == ("stopped", 0)
    assert "started again" not in (folder / "run/log.txt").read_text()
    assert pod.ask("stop") == [{"stopped": False}]


def test_a_job_that_saved_because_a_peer_was_told_goes_on_and_has_not_died(started: tuple[Pod, Path]):
    pod, folder = started
    os.kill(jobs(folder, "started")[0], signal.SIGTERM)
    wait_for(lambda: len(jobs(folder, "started")) == 2)
    (told,) = pod.ask("status")
    assert (told["state"], told["deaths"], len(jobs(folder, "saved"))) == ("running", 0, 1)
    assert pod.ask("stop") == [{"stopped": True}]
    assert len(jobs(folder, "saved")) == 2


def test_a_worker_knows_the_status_of_a_run_that_was_told_to_end():
    from aura.pretrain import termination
    from aura.tpu import supervisor

    assert worker.TERMINATED == termination.TERMINATED == supervisor.TERMINATED

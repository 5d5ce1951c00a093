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
    assert pod.ask("stop") == [{"stopped": True, "ended": []}]
    assert jobs(folder, "saved") == jobs(folder, "started")
    (told,) = pod.ask("status")
    assert (told["state"], told["deaths"]) == ("stopped", 0)
    assert "started again" not in (folder / "run/log.txt").read_text()
    assert pod.ask("stop") == [{"stopped": False, "ended": []}]


def test_a_job_that_saved_because_a_peer_was_told_goes_on_and_has_not_died(started: tuple[Pod, Path]):
    pod, folder = started
    os.kill(jobs(folder, "started")[0], signal.SIGTERM)
    wait_for(lambda: len(jobs(folder, "started")) == 2)
    (told,) = pod.ask("status")
    assert (told["state"], told["deaths"], len(jobs(folder, "saved"))) == ("running", 0, 1)
    assert pod.ask("stop") == [{"stopped": True, "ended": []}]
    assert len(jobs(folder, "saved")) == 2


# A job that starts a process which outlives it, and one that does not belong to a job.
PARENT = """
import os, subprocess, sys, pathlib, time
wait = [sys.executable, "-S", "-c", "import time; time.sleep(600)  # %s"]
started = {"orphan": os.environ, "stranger": {**os.environ, "AURA_RUN": os.environ["AURA_RUN"] + "-of-others"}}
for name, environment in started.items():
    command = [part.replace("%s", name) for part in wait]
    pathlib.Path(f"{name}-{subprocess.Popen(command, env=environment, start_new_session=True).pid}").touch()
pathlib.Path(f"started-{os.getpid()}").touch()
while True:
    time.sleep(0.02)
"""


def test_a_stop_ends_and_names_what_a_killed_supervisor_left_and_nothing_else(cloud: Cloud, pod: Pod):
    made, folder = replace(pod, accelerator=accelerator("v4-8")), cloud.home(0) / "aura_tpu"
    made.create()
    made.prepare()
    folder.mkdir()
    made.ask("start", key="this", command=[sys.executable, "-S", "-c", PARENT], environment={})
    wait_for(lambda: jobs(folder, "started"))
    [orphan], [stranger], [job] = jobs(folder, "orphan"), jobs(folder, "stranger"), jobs(folder, "started")
    os.kill(made.ask("status")[0]["pid"], signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{job}").exists())
    assert is_running(orphan)
    [reply] = made.ask("stop")
    assert reply["stopped"]
    [ended] = reply["ended"]
    assert ended.startswith(f"process {orphan}: {sys.executable} -S -c import time")
    assert not is_running(orphan)
    assert is_running(stranger)
    assert made.ask("stop") == [{"stopped": False, "ended": []}]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_worker_knows_the_status_of_a_run_that_was_told_to_end():
    from aura.tpu import supervisor
    from aura.training import termination

    assert worker.TERMINATED == termination.TERMINATED == supervisor.TERMINATED

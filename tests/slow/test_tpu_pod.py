"""End to end on loopback: `dvc repro` trains on a pod of four workers, through everything that can happen to it."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aura.core import checksums
from tests.conftest import Project
from tests.tpu import gcloud as standin
from tests.tpu.conftest import Cloud

pytestmark = pytest.mark.slow
STEPS, BATCH = 200, 16
# A real pod takes minutes for everything; of the stand-in's time, most would be pauses before it is asked again.
QUICKER = (
    ("aura/tpu/pod.py", "LONGEST_PAUSE = 1.0, 20.0", "LONGEST_PAUSE = 0.5, 2.0"),
    ("aura/tpu/gcloud.py", "pause: float = 2.0", "pause: float = 0.3"),
)


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    made = Cloud(tmp_path / "cloud")
    standin.CLOUD = made.folder
    yield made
    standin.remove("pod")


@pytest.fixture
def launcher(project: Project, cloud: Cloud, tmp_path: Path) -> Project:
    """The mini project, set to train on four devices of a pod, long enough to be disturbed."""
    run = {"steps": STEPS, "batch_size": BATCH, "fsdp": 2, "eval_every": 100, "checkpoint_every": 10}
    project.edit_params(pretrain=run | {"where": "tpu", "checkpoint_folder": str(tmp_path / "checkpoints")})
    reach(cloud, project, "v4-32")
    return project


def reach(cloud: Cloud, project: Project, accelerator: str) -> None:
    """Set a project's variables for a pod of the stand-in's, and take less time between two looks at it."""
    path = f"{cloud.folder / 'bin'}{os.pathsep}{project.environment['PATH']}"
    project.environment |= cloud.environment() | {"PATH": path}
    project.environment |= {"NAME": "pod", "ZONE": "us-central2-b", "ACCELERATOR": accelerator, "PLAN": "false"}
    for name, written, quicker in QUICKER:
        module = project.folder / name
        text = module.read_text()
        assert written in text
        module.write_text(text.replace(written, quicker))


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def checkpoints(tmp_path: Path) -> list[int]:
    """Steps of the complete checkpoints."""
    return sorted(int(path.name) for path in (tmp_path / "checkpoints").glob("*/*") if path.name.isdigit())


def trainer(cloud: Cloud, worker: int) -> int:
    """The process that trains on a worker."""
    for pid in standin.processes_of(cloud.home(worker)):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"aura.tpu.pod_run" in words:
            return pid
    raise AssertionError(f"worker {worker} trains nothing")


def repro(launcher: Project, log: Path) -> subprocess.Popen[bytes]:
    """`dvc repro` in a session of its own, so that a test can kill all of it."""
    with log.open("ab") as file:
        command = ["dvc", "repro"]
        return subprocess.Popen(
            command, cwd=launcher.folder, env=launcher.environment, stdout=file, stderr=file, start_new_session=True
        )


def test_a_pod_trains_through_a_kill_a_preemption_and_a_killed_launch(launcher: Project, cloud: Cloud, tmp_path: Path):
    cloud.order([2, 0, 3, 1])  # process 0, which writes the results, is on worker 1
    log = tmp_path / "repro.log"
    first = repro(launcher, log)
    wait_for(lambda: checkpoints(tmp_path))

    os.killpg(first.pid, signal.SIGKILL)  # the local launch, in the middle; the run goes on
    first.wait()
    reached = checkpoints(tmp_path)[-1]
    wait_for(lambda: checkpoints(tmp_path)[-1] > reached)

    os.kill(trainer(cloud, 2), signal.SIGKILL)  # one worker's process; the others notice, and all meet again
    reached = checkpoints(tmp_path)[-1]
    wait_for(lambda: checkpoints(tmp_path)[-1] > reached)

    second = repro(launcher, log)  # attaches
    wait_for(lambda: "attached to the run" in log.read_text())
    standin.preempt("pod")
    assert second.wait(timeout=400) == 0, log.read_text()[-5000:]

    told = log.read_text()
    assert told.count("requested pod") == 2
    assert "was taken away; requesting it again" in told
    assert "It costs 16 chips" in told
    metrics = json.loads((launcher.folder / "reports/pretrain/metrics.json").read_text())
    assert metrics["tokens"] == STEPS * BATCH * 128
    losses = (launcher.folder / "reports/pretrain/plots/metrics/loss.tsv").read_text().splitlines()[1:]
    assert [int(line.split("\t")[0]) for line in losses] == list(range(1, STEPS + 1))
    account = json.loads((launcher.folder / "models/lm/checkpoint.json").read_text())
    assert account["step"] == STEPS
    assert all((Path(account["uri"]) / name).stat().st_size == told["bytes"] for name, told in account["files"].items())
    checksums.verify(launcher.folder / "models/lm", "dvc repro pretrain")
    assert (launcher.folder / "models/chat/model.safetensors").exists()  # made here, of what the pod trained
    assert "up to date" in launcher.run("dvc", "repro").stdout
    launcher.run("aura", "tpu", "delete")
    assert not cloud.home(0).exists()

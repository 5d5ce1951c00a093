"""One run in several real processes: the same numbers, and an end within seconds when a process is lost."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from aura.core import files
from aura.tpu.supervisor import _free_port
from tests.conftest import Project

pytestmark = pytest.mark.slow

STAGE = [sys.executable, "-m", "aura.stages.pretrain"]
SUPERVISED = [sys.executable, "-m", "aura.tpu.supervisor", "--processes", "2", "--", *STAGE]
OPTIONS = {
    "batch_size": 4, "steps": 12, "fsdp": 2, "tensor": 2, "checkpoint_every": 4, "eval_every": 6,
    "size": {"layers": 1, "width": 16, "heads": 4, "kv_heads": 2, "hidden": 32},
}  # fmt: skip


@pytest.fixture(scope="module")
def mesh_project(built: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The mini project, with a model that fits a mesh of four devices."""
    project = built.copy(tmp_path_factory.mktemp("mesh") / "project")
    project.edit_params(pretrain=OPTIONS)
    return project


@contextmanager
def processes(project: Project, count: int, devices: int) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """The stage in `count` processes of `devices` CPU devices each; killed at the end, whatever happens."""
    place = {"AURA_COORDINATOR": f"127.0.0.1:{_free_port()}", "AURA_PROCESSES": str(count)} if count > 1 else {}
    shared = project.environment | place | {"JAX_NUM_CPU_DEVICES": str(devices)}
    started = []
    try:
        for number in range(count):
            own = shared | {"AURA_PROCESS": str(number)}
            with (project.folder / f"process-{number}.log").open("w") as log:
                started.append(subprocess.Popen(STAGE, cwd=project.folder, env=own, stdout=log, stderr=log))
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait()


def trained(project: Project, folder: Path, count: int, devices: int) -> dict[str, str]:
    """What a run on a mesh of four devices put out, by file."""
    copy = project.copy(folder)
    with processes(copy, count, devices) as started:
        statuses = [process.wait(timeout=240) for process in started]
        assert statuses == [0] * count, (copy.folder / "process-0.log").read_text()
    plots = copy.folder / "reports/pretrain/plots/metrics"
    return {"weights": files.sha256_file(copy.folder / "models/lm/model.safetensors")} | {
        name: (plots / f"{name}.tsv").read_text() for name in ("loss", "gradient_norm", "bits_per_byte")
    }


def numbers(rows: str) -> list[float]:
    return [float(row.split("\t")[1]) for row in rows.splitlines()[1:]]


def test_the_same_mesh_in_more_processes_gives_the_same_numbers(mesh_project: Project, tmp_path: Path):
    alone, two, four = (trained(mesh_project, tmp_path / f"in-{count}", count, 4 // count) for count in (1, 2, 4))
    assert two == four
    assert numbers(two["loss"]) == pytest.approx(numbers(alone["loss"]), rel=1e-4)
    assert numbers(two["bits_per_byte"]) == pytest.approx(numbers(alone["bits_per_byte"]), rel=1e-4)


@pytest.mark.parametrize(("victim", "blow"), [(1, signal.SIGKILL), (1, signal.SIGSTOP), (0, signal.SIGKILL)])
def test_a_lost_process_ends_the_others_within_half_a_minute(
    mesh_project: Project, tmp_path: Path, victim: int, blow: int
):
    project = mesh_project.copy(tmp_path / "project")
    project.edit_params(pretrain={"steps": 100_000})
    with processes(project, 2, 2) as started:
        wait_for_checkpoint(project)
        began = time.monotonic()
        os.kill(started[victim].pid, blow)
        status = started[1 - victim].wait(timeout=60)
        assert time.monotonic() - began < 30
        assert status != 0
    said = (project.folder / f"process-{1 - victim}.log").read_text()
    assert any(words in said for words in ("heartbeat", "Connection closed by peer", "coordination service")), said


def test_a_supervised_run_that_loses_processes_ends_in_the_same_weights(mesh_project: Project, tmp_path: Path):
    project = mesh_project.copy(tmp_path / "project")
    project.edit_params(pretrain={"steps": 60})
    undisturbed = project.copy(tmp_path / "undisturbed")
    for one in (project, undisturbed):
        one.environment["JAX_NUM_CPU_DEVICES"] = "2"
    undisturbed.run(*SUPERVISED)
    log = project.folder / "supervisor.log"
    with log.open("w") as stream, subprocess.Popen(
        SUPERVISED, cwd=project.folder, env=project.environment, stdout=stream, stderr=stream
    ) as supervisor:  # fmt: skip
        for victim, blow in ((1, signal.SIGKILL), (0, signal.SIGKILL), (1, signal.SIGSTOP)):
            wait_for_checkpoint(project)
            children = sorted(psutil.Process(supervisor.pid).children(), key=lambda child: child.pid)
            os.kill(children[victim].pid, blow)
            psutil.wait_procs(children, timeout=60)
        assert supervisor.wait(timeout=300) == 0, log.read_text()
    assert log.read_text().count("all are started again") == 3
    weights = "models/lm/model.safetensors"
    assert files.sha256_file(project.folder / weights) == files.sha256_file(undisturbed.folder / weights)
    timings = json.loads((project.folder / "reports/pretrain/timings.json").read_text())
    assert timings["attempts"] == 4


def wait_for_checkpoint(project: Project) -> None:
    """Until a process has saved something that was not there before; long enough for a busy machine."""
    found = lambda: {path for path in (project.folder / ".aura/checkpoints").glob("*/*") if path.name.isdigit()}  # noqa: E731
    before, deadline = found(), time.monotonic() + 300
    while not found() - before:
        assert time.monotonic() < deadline, "no checkpoint within five minutes"
        time.sleep(0.01)


def test_a_refusal_of_the_first_process_ends_the_others_at_once(mesh_project: Project, tmp_path: Path):
    project = mesh_project.copy(tmp_path / "project")
    with processes(project, 2, 2) as started:
        assert [process.wait(timeout=240) for process in started] == [0, 0]
    for seal in (project.folder / ".aura/checkpoints").glob("*/hashes/*.json"):
        seal.write_bytes(b"")
    with processes(project, 2, 2) as started:
        assert [process.wait(timeout=100) for process in started] == [1, 1]
    said = [(project.folder / f"process-{number}.log").read_text() for number in range(2)]
    assert "every checkpoint of this run is damaged" in said[0]
    assert "process 0 of this run could not go on from its checkpoints" in said[1]
    assert not any("Traceback" in text for text in said)

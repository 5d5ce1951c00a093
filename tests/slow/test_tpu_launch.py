"""A run on a pod of two real workers: attached to, restarted, resumed, and its results brought back."""

import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from aura.core.errors import UserError
from aura.tpu import launch, setup
from aura.tpu.launch import Job
from aura.tpu.pod import Pod
from aura.tpu.settings import Settings
from aura.tpu.topology import accelerator
from tests.tpu import gcloud as standin
from tests.tpu.conftest import Cloud

pytestmark = pytest.mark.slow

# Says where it is and its number, as a process of JAX does, and ends well when the shared folder has a file `end`; as
# with JAX, none ends before process 0 has told its number.
PROGRAM = """
import json, os, pathlib, sys, time
shared = pathlib.Path(sys.argv[1])
me = os.environ["AURA_PROCESS"]
pathlib.Path(os.environ["AURA_PROCESS_FILE"]).write_text(json.dumps({"process": int(me)}))
(shared / f"started-{me}-{os.getpid()}").touch()
while not any(os.path.exists("/proc/" + path.name.rpartition("-")[2]) for path in shared.glob("started-0-*")):
    time.sleep(0.05)
print("process", me, "of", os.environ["AURA_PROCESSES"], "at", os.environ["AURA_COORDINATOR"], flush=True)
while not (shared / "end").exists():
    time.sleep(0.05)
if me == "0":  # as in a run of JAX: the first process writes, and may be the last to end
    time.sleep(1)
    for name in ("models/lm", "reports/pretrain"):
        os.makedirs(name, exist_ok=True)
        pathlib.Path(name, "result").write_text(me)
"""


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    (tmp_path / "shared").mkdir()
    return tmp_path / "shared"


@pytest.fixture
def job(shared: Path) -> Job:
    return Job("this-run", ["python", "-c", PROGRAM, str(shared)])


@pytest.fixture
def launched(pod: Pod, job: Job, settings: Settings) -> Pod:
    launch.bring_up(pod, settings)
    launch.launch(pod, job, settings)
    return pod


def started(shared: Path, process: int) -> list[int]:
    return [int(path.name.rpartition("-")[2]) for path in shared.glob(f"started-{process}-*")]


def wait_for(condition) -> None:
    import time

    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_run_goes_from_nothing_to_its_results(launched: Pod, job: Job, shared: Path, tmp_path: Path):
    wait_for(lambda: started(shared, 0) and started(shared, 1))
    (shared / "end").touch()
    launch.follow(launched, job)
    launch.fetch(launched, job, tmp_path / "results")
    assert (tmp_path / "results/models/lm/result").read_text() == "0"
    assert (tmp_path / "results/reports/pretrain/result").read_text() == "0"


def test_results_and_log_are_those_of_process_0_wherever_the_slice_puts_it(
    pod: Pod,
    job: Job,
    settings: Settings,
    cloud: Cloud,
    shared: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    cloud.order([1, 0])
    launch.bring_up(pod, settings)
    launch.launch(pod, job, settings)
    wait_for(lambda: started(shared, 0) and started(shared, 1))
    assert [reply["process"] for reply in pod.ask("status")] == [1, 0]
    (shared / "end").touch()
    launch.follow(pod, job)
    launch.fetch(pod, job, tmp_path / "results")
    assert (tmp_path / "results/models/lm/result").read_text() == "0"
    assert "process 0 of 2" in capsys.readouterr().err


def test_process_0_is_found_again_after_a_restart_that_puts_it_elsewhere(
    launched: Pod, job: Job, cloud: Cloud, shared: Path, tmp_path: Path
):
    wait_for(lambda: started(shared, 0) and started(shared, 1))
    cloud.order([1, 0])
    for pid in (started(shared, 0)[0], started(shared, 1)[0]):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: len(started(shared, 0)) == len(started(shared, 1)) == 2)
    (shared / "end").touch()
    launch.follow(launched, job)
    launch.fetch(launched, job, tmp_path / "results")
    assert (tmp_path / "results/models/lm/result").read_text() == "0"


def test_process_0_of_several_slices_is_found(
    pod: Pod, job: Job, settings: Settings, cloud: Cloud, shared: Path, tmp_path: Path
):
    sliced = replace(pod, accelerator=accelerator("v4-8", slices=2))
    cloud.order([1, 0])
    launch.bring_up(sliced, settings)
    launch.launch(sliced, job, settings)
    (shared / "end").touch()
    launch.follow(sliced, job)
    launch.fetch(sliced, job, tmp_path / "results")
    assert (tmp_path / "results/models/lm/result").read_text() == "0"
    sliced.delete()


def test_a_worker_that_comes_back_meets_the_others_where_they_do(launched: Pod, job: Job, cloud: Cloud, shared: Path):
    wait_for(lambda: started(shared, 0) and started(shared, 1))
    meeting = launched.ask("status")[0]["coordinator"]
    for pid in standin.processes_of(cloud.home(1)):
        os.kill(pid, signal.SIGKILL)
    launch.start(replace(launched, port=9999), job)
    wait_for(lambda: len(started(shared, 1)) == 2)
    assert [reply["coordinator"] for reply in launched.ask("status")] == [meeting, meeting]


def supervisors(cloud: Cloud, index: int) -> list[int]:
    return [
        pid
        for pid in standin.processes_of(cloud.home(index))
        if b"supervise" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    ]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_job_ends_with_its_supervisor(launched: Pod, cloud: Cloud, shared: Path, number: int):
    wait_for(lambda: started(shared, 0) and started(shared, 1))
    (supervisor,) = supervisors(cloud, 1)
    os.kill(supervisor, number)
    wait_for(lambda: not standin.processes_of(cloud.home(1)))
    assert [reply["state"] for reply in launched.ask("status")] == ["running", "killed"]


def test_stopping_ends_what_a_killed_supervisor_left(launched: Pod, cloud: Cloud, shared: Path):
    wait_for(lambda: started(shared, 0) and started(shared, 1))
    (supervisor,) = supervisors(cloud, 1)
    environment = dict(
        pair.split("=", 1) for pair in Path(f"/proc/{supervisor}/environ").read_text().split("\0") if "=" in pair
    )
    orphan = subprocess.Popen(["sleep", "1000"], env=environment, start_new_session=True)
    os.kill(supervisor, signal.SIGKILL)
    wait_for(lambda: launched.ask("status")[1]["state"] == "killed")
    assert [reply["stopped"] for reply in launched.ask("stop")] == [True, True]
    assert orphan.wait(timeout=20) < 0
    assert [reply["state"] for reply in launched.ask("status")] == ["stopped", "stopped"]


def test_every_worker_is_told_its_place(launched: Pod, cloud: Cloud, shared: Path):
    wait_for(lambda: started(shared, 0) and started(shared, 1))
    coordinator = launched.workers()[0].address
    for index in (0, 1):
        wait_for(lambda index=index: "process" in (cloud.home(index) / "aura_tpu/run/log.txt").read_text())
        told = (cloud.home(index) / "aura_tpu/run/log.txt").read_text()
        assert told == f"process {index} of 2 at {coordinator}:{launch.PORT}\n"


def test_launching_again_attaches_and_another_run_is_refused(launched: Pod, job: Job, shared: Path):
    wait_for(lambda: started(shared, 0) and started(shared, 1))
    assert launch.attach(launched, job)
    assert len(started(shared, 0)) == len(started(shared, 1)) == 1
    with pytest.raises(UserError, match="busy with another run"):
        launch.attach(launched, replace(job, key="another"))


def test_a_process_that_dies_is_started_again_on_its_worker(launched: Pod, shared: Path):
    wait_for(lambda: started(shared, 0) and started(shared, 1))
    os.kill(started(shared, 1)[0], signal.SIGKILL)
    wait_for(lambda: len(started(shared, 1)) == 2)
    assert [reply["deaths"] for reply in launched.ask("status")] == [0, 1]


def test_a_worker_that_lost_everything_running_gets_the_run_again(launched: Pod, job: Job, cloud: Cloud, shared: Path):
    wait_for(lambda: started(shared, 0) and started(shared, 1))
    for pid in standin.processes_of(cloud.home(1)):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: launched.ask("status")[1]["state"] == "killed")
    assert launch.attach(launched, job)
    wait_for(lambda: len(started(shared, 1)) == 2)


@pytest.mark.usefixtures("launched")
def test_a_pod_that_is_taken_away_is_had_again_and_the_run_with_it(
    job: Job, settings: Settings, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    wait_for(lambda: started(shared, 0) and started(shared, 1))
    standin.preempt("pod")
    (shared / "end").touch()
    monkeypatch.setattr(Job, "of", lambda _: job)  # not the stage, which trains
    monkeypatch.setattr(Settings, "vocab_size", 512)  # of a tokenizer that is none
    launch.run(replace(settings, place=settings.place.model_copy(update={"plan": False})), tmp_path / "results")
    assert len(started(shared, 0)) == len(started(shared, 1)) == 2
    assert (tmp_path / "results/models/lm/result").read_text() == "0"


def test_a_run_that_keeps_dying_fails_with_its_last_line(pod: Pod, job: Job, settings: Settings):
    launch.bring_up(pod, settings)
    broken = replace(job, command=["python", "-c", "import sys; sys.exit('error: the loss is no number')"])
    launch.launch(pod, broken, settings)
    with pytest.raises(UserError, match="the loss is no number"):
        launch.follow(pod, broken)


def test_stopping_ends_the_run_and_launching_goes_on(launched: Pod, job: Job, settings: Settings, shared: Path):
    wait_for(lambda: started(shared, 0) and started(shared, 1))
    assert [reply["stopped"] for reply in launched.ask("stop")] == [True, True]
    with pytest.raises(UserError, match="was stopped"):
        launch.follow(launched, job)
    assert not launch.attach(launched, job)
    launch.launch(launched, job, settings)
    wait_for(lambda: len(started(shared, 0)) == 2)


def test_another_tokenizer_on_a_worker_stops_the_launch(launched: Pod, job: Job, settings: Settings, cloud: Cloud):
    launched.ask("stop")
    (cloud.home(1) / "aura_tpu/models/spm/spiece.model").write_bytes(b"another")
    with pytest.raises(UserError, match=r"worker 1 .*SHA-256"):
        launch.launch(launched, job, settings)


def test_set_up_again_installs_and_copies_nothing_twice(launched: Pod, settings: Settings, cloud: Cloud):
    launched.ask("stop")
    before = len(cloud.calls())
    setup.setup(launched, settings)
    assert [reply["installed"] for reply in launched.ask("install", requirements=setup.REQUIREMENTS)] == ["already"] * 2
    sent = [call for call in cloud.calls()[before:] if '"scp"' in call]
    assert len(sent) == 4  # to each worker: the launcher's program, and the project


def test_code_is_not_exchanged_under_a_run(launched: Pod, settings: Settings, shared: Path):
    wait_for(lambda: started(shared, 0) and started(shared, 1))
    with pytest.raises(UserError, match="a run is going on here"):
        setup.setup(launched, settings)
    assert [reply["state"] for reply in launched.ask("status")] == ["running", "running"]


def test_a_removed_module_is_removed_there_too(launched: Pod, settings: Settings, cloud: Cloud):
    launched.ask("stop")
    stale = cloud.home(0) / "aura_tpu/aura/stale.py"
    stale.touch()
    setup.setup(launched, settings)
    assert not stale.exists()
    assert (cloud.home(0) / "aura_tpu/aura/core/params.py").exists()


def test_leaving_says_what_it_costs_or_deletes(launched: Pod, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(KeyboardInterrupt), launch.leaving(launched, delete=False):
        raise KeyboardInterrupt
    told = capsys.readouterr().err
    assert "8 chip-hours every hour" in told
    assert "attaches" in told
    with launch.leaving(launched, delete=True):
        pass
    assert launched.state() == "absent"

"""The lock on a run's folder in a bucket: one holder at a time, whoever is killed, stopped or cut off.

The object server refuses a write that names another generation, as Google's does; deletions are not conditional there,
and the lock makes none.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aura.training import bucket_lock
from aura.training.termination import TERMINATED
from tests.bucket import URL, Bucket, client_environment
from tests.conftest import REPOSITORY, Project
from tests.proxy import Proxy

pytestmark = pytest.mark.slow

FOLDER = f"{URL}/checkpoints/run"
LAPSES = 6.0
QUICKLY = f"""
from aura.training import bucket_lock
bucket_lock.RENEWED, bucket_lock.LAPSES, bucket_lock.SURE = 0.5, {LAPSES}, {LAPSES - 1}
"""
# Takes the lock, confirms it for each line that it reads, and releases it at the end; MACHINE hides where it runs.
HOLDER = f"""
import os, sys
from aura.core import console
{QUICKLY}
machine = os.environ.get("MACHINE")
bucket_lock._machine = (lambda: machine) if machine is not None else bucket_lock._machine
def main():
    lock = bucket_lock.BucketLock("{FOLDER}")
    print("held", flush=True)
    for line in sys.stdin:
        lock.confirm()
        print("confirmed", flush=True)
    lock.release()
console.run(main)
"""
STAGE = f"{QUICKLY}import runpy; runpy.run_module('aura.stages.pretrain', run_name='__main__', alter_sys=True)"


class Holder:
    """A process that takes the lock."""

    def __init__(self, bucket: Bucket, **environment: str) -> None:
        variables = os.environ | client_environment(bucket.address) | {"PYTHONPATH": str(REPOSITORY)} | environment
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen([sys.executable, "-c", HOLDER], env=variables, text=True, **pipes)

    def holds(self) -> bool:
        """Whether it gets the lock; waits until that is known."""
        return self.process.stdout.readline() == "held\n"

    def confirms(self) -> bool:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.process.stdout.readline() == "confirmed\n"

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> str:
        """Let it end; what it said on standard error."""
        return self.process.communicate(timeout=60)[1]


@pytest.fixture
def holder(bucket: Bucket) -> Iterator[Callable[..., Holder]]:
    started: list[Holder] = []

    def start(**environment: str) -> Holder:
        started.append(Holder(bucket, **environment))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()


def test_of_many_that_ask_at_once_one_gets_the_lock_and_the_others_name_it(holder: Callable[..., Holder]):
    several = [holder() for _ in range(5)]
    held = [one for one in several if one.holds()]
    assert len(held) == 1
    for one in several:
        if one not in held:
            assert f"is in use by process {held[0].process.pid} of" in one.end()
    assert held[0].confirms()
    held[0].end()
    after = holder()
    assert after.holds()
    assert not after.end(), "a released lock is taken without waiting"


@pytest.mark.parametrize("same", [{}, {"MACHINE": "", "AURA_RUN": "the same run"}], ids=["machine", "supervised run"])
def test_the_lock_that_a_killed_process_left_is_taken_at_once(holder: Callable[..., Holder], same: dict[str, str]):
    one = holder(**same)
    assert one.holds()
    one.signal(signal.SIGKILL)
    one.end()
    other = holder(**same)
    assert other.holds()
    assert not other.end(), "it did not have to wait"


def test_the_lock_of_a_dead_machine_is_taken_when_it_lapses_and_not_before(holder: Callable[..., Holder]):
    one = holder(MACHINE="another")
    assert one.holds()
    one.signal(signal.SIGKILL)
    killed = time.monotonic()
    other = holder()
    assert other.holds()
    assert time.monotonic() - killed > LAPSES - 1
    assert "waiting until that run renews its lock" in other.end()


def test_a_holder_that_slept_too_long_is_told_and_takes_nothing_back(holder: Callable[..., Holder]):
    one = holder()
    assert one.holds()
    one.signal(signal.SIGSTOP)
    other = holder()
    assert other.holds()
    one.signal(signal.SIGCONT)
    assert not one.confirms()
    said = one.end()
    assert f"the lock of this run was taken by process {other.process.pid} of" in said
    assert "Traceback" not in said
    assert other.confirms(), "the end of the first one must not release it"


def test_a_removed_lock_is_lost(holder: Callable[..., Holder], bucket: Bucket):
    one = holder()
    assert one.holds()
    bucket.delete("checkpoints/run/lock")
    deadline = time.monotonic() + 60
    while one.confirms():  # until it renews the lock the next time
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "the lock of this run was removed" in one.end()


def test_a_write_whose_answer_got_lost_is_no_loss_of_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The client then repeats it, and the bucket refuses the second one."""

    class Cutting(Proxy):
        def choose(self) -> tuple[int, str | None, float]:
            number, _, _ = super().choose()
            return number, "cut" if number in (1, 4) else None, 0.5

    proxy = Cutting("")
    bucket = Bucket(tmp_path / "buckets", proxy)
    try:
        for name, value in client_environment(proxy.address).items():
            monkeypatch.setenv(name, value)
        lock = bucket_lock.BucketLock(FOLDER)
        for _ in range(3):
            lock._renew()
            lock.confirm()
        assert proxy.requests > 6, "the cut answers must have been asked for again"
        lock.release()
        bucket_lock.BucketLock(FOLDER).release()
    finally:
        bucket.stop()
        proxy.stop()


class Pretraining:
    """A stage `pretrain` that runs."""

    def __init__(self, project: Project, log: Path) -> None:
        self._log = log
        with log.open("w") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-c", STAGE], cwd=project.folder, env=project.environment, stdout=stream, stderr=stream
            )

    @property
    def said(self) -> str:
        return self._log.read_text()

    def wait_for(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 120
        while not condition():
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.05)


@pytest.fixture
def pretraining(project: Project, bucket: Bucket, tmp_path: Path) -> Iterator[Callable[[], Pretraining]]:
    """Starts runs of one key in the same folder of the bucket, each in a project of its own."""
    started: list[Pretraining] = []

    def start() -> Pretraining:
        copy = project.copy(tmp_path / f"project-{len(started)}")
        copy.environment |= client_environment(bucket.address) | {
            "TENSORSTORE_GCS_HTTP_URL": bucket.address,
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "none",
        }
        options = {"steps": 100_000, "checkpoint_every": 1000, "checkpoint_folder": f"{URL}/checkpoints"}
        copy.edit_params(pretrain=options)
        started.append(Pretraining(copy, tmp_path / f"{len(started)}.log"))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()


def test_a_run_that_lost_its_lock_ends_before_it_writes_or_removes_a_checkpoint(
    pretraining: Callable[[], Pretraining], bucket: Bucket
):
    def seals() -> set[str]:
        return {name for name in bucket.objects() if "/hashes/" in name}

    def contents() -> dict[str, bytes]:
        """All but the lock, and the account of seconds, of which a write may be under way when a run is stopped."""
        others = ("/lock", "/attempts.json")
        return {name: path.read_bytes() for name, path in bucket.objects().items() if not name.endswith(others)}

    one = pretraining()
    one.wait_for(seals)
    refused = pretraining()
    assert refused.process.wait(timeout=120) == 1
    assert f"is in use by process {one.process.pid} of" in refused.said
    before = seals()
    one.wait_for(lambda: seals() - before)
    time.sleep(1)  # it removes seals of old checkpoints; now it is between two saves
    one.process.send_signal(signal.SIGSTOP)
    before = seals()
    other = pretraining()
    other.wait_for(lambda: seals() - before)
    assert "going on after step" in other.said
    other.process.send_signal(signal.SIGSTOP)
    time.sleep(1)
    there = contents()
    one.process.send_signal(signal.SIGCONT)
    assert one.process.wait(timeout=120) == 1
    [told] = [line for line in one.said.splitlines() if "error:" in line]
    assert f"the lock of this run was taken by process {other.process.pid} of" in told
    assert "Traceback" not in one.said
    assert contents() == there
    other.process.send_signal(signal.SIGCONT)
    other.process.send_signal(signal.SIGTERM)
    assert other.process.wait(timeout=60) == TERMINATED, other.said
    [lock] = [path for name, path in bucket.objects().items() if name.endswith("/lock")]
    assert lock.read_text().startswith("released by process")

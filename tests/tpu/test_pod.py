"""A pod's life against the stand-in gcloud, and what happens when the cloud says no."""

import json
import shutil
import subprocess
from dataclasses import replace

import pytest

from aura.core.errors import UserError
from aura.tpu.gcloud import Unreachable
from aura.tpu.pod import Pod
from aura.tpu.topology import accelerator
from tests.tpu import gcloud as standin
from tests.tpu.conftest import Cloud


def test_a_pod_is_requested_awaited_used_and_deleted(cloud: Cloud, pod: Pod):
    assert pod.state() == "absent"
    pod.create()
    assert pod.state() == "ready"
    pod.prepare()
    assert [reply["state"] for reply in pod.ask("status")] == ["none", "none"]
    pod.create()  # is there already
    pod.delete()
    pod.delete()  # is gone already
    assert pod.state() == "absent"
    assert not cloud.home(0).exists()
    assert sum('"create"' in call for call in cloud.calls()) == 1
    assert all(any(word.startswith("--zone=") for word in json.loads(call)) for call in cloud.calls())


def test_several_slices_are_one_pod(pod: Pod):
    sliced = replace(pod, accelerator=accelerator("v4-16", slices=2))
    sliced.create()
    assert [(worker.node, worker.index) for worker in sliced.workers()] == [
        ("pod-0", 0), ("pod-0", 1), ("pod-1", 0), ("pod-1", 1)
    ]  # fmt: skip
    sliced.delete()


def test_a_refused_quota_says_what_to_do(cloud: Cloud, pod: Pod):
    cloud.trouble('{"quota": 1}')
    with pytest.raises(UserError, match=r"Quota limit.*\n.*iam-admin/quotas"):
        pod.create()
    assert pod.state() == "absent"


def test_a_connection_that_fails_a_few_times_is_made_again(cloud: Cloud, pod: Pod):
    pod.create()
    cloud.trouble('{"ssh": 3}')
    pod.prepare()
    assert [reply["state"] for reply in pod.ask("status")] == ["none", "none"]


def test_a_pod_that_does_not_answer_is_unreachable(cloud: Cloud, pod: Pod):
    pod.create()
    cloud.trouble('{"ssh": 1000}')
    with pytest.raises(Unreachable, match="timed out"):
        pod.prepare()


def test_a_pod_that_was_taken_away_is_had_again(cloud: Cloud, pod: Pod):
    pod.create()
    (cloud.home(0) / "mark").touch()
    standin.preempt("pod")
    assert pod.state() == "lost"
    pod.create()
    assert pod.state() == "ready"
    assert not (cloud.home(0) / "mark").exists()


def test_what_a_worker_is_told_is_never_read_by_its_shell(cloud: Cloud, pod: Pod):
    pod.create()
    pod.prepare()
    nasty = 'a file\'; touch stolen; echo "$HOME" `id` \n$(id)'
    assert pod.ask("hashes", paths=[nasty]) == [{nasty: None}, {nasty: None}]
    assert not list(cloud.folder.rglob("stolen"))


@pytest.mark.usefixtures("cloud")
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["queued-resources", "describe", "x"], "--zone"),
        (["queued-resources", "delete", "x", "--zone=us-a1-b", "--now"], "unrecognized arguments"),
        (["tpu-vm", "ssh", "x", "--zone=us-a1-b", "--comand=ls"], "unrecognized arguments"),
    ],
)
def test_the_stand_in_refuses_what_gcloud_would(arguments: list[str], told: str):
    program = [shutil.which("gcloud"), "compute", "tpus", *arguments]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode
    assert told in done.stderr

"""What a cloud does on an ordinary day: each failure ends, with its reason and the advice that fits, or is got over."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace

import pytest

from aura.core.errors import UserError
from aura.tpu import failures, setup
from aura.tpu.access import Access
from aura.tpu.gcloud import Gcloud, Unreachable
from aura.tpu.pod import Pod
from aura.tpu.settings import Settings
from aura.tpu.topology import accelerator
from tests.tpu import gcloud as standin
from tests.tpu.conftest import Cloud

CAPACITY = 'There is no more capacity in the zone "us-central2-b"; you can try in another zone'
NO_COMMANDS = "You do not currently have this command group installed. Using it requires: gcloud components install"
PERMISSION = "PERMISSION_DENIED: Permission 'tpu.nodes.create' denied on 'projects/p/locations/us-central2-b'"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (f"RESOURCE_EXHAUSTED: {CAPACITY}", "capacity"),
        ("RESOURCE_EXHAUSTED: Insufficient capacity.", "capacity"),
        ("ZONE_RESOURCE_POOL_EXHAUSTED: the zone has no resources", "capacity"),
        ("RESOURCE_EXHAUSTED: Quota limit 'TPUV4sPodPerProjectPerZone' has been exceeded. Limit: 0", "quota"),
        ("Quota exceeded for quota metric 'Requests' and limit 'Requests per minute'", "transient"),
        (PERMISSION, "permission"),
        ("PERMISSION_DENIED: Cloud TPU API has not been used in project 12 before or it is disabled.", "service"),
        ("INVALID_ARGUMENT: Accelerator v4-9 is not found.", "argument"),
        ("NOT_FOUND: The network 'projects/p/global/networks/mine' was not found", "argument"),
        ("ALREADY_EXISTS: Resource 'aura' already exists.", "taken"),
        ("UNAVAILABLE: The service is currently unavailable.", "transient"),
        ("HTTPError 503: Service Unavailable", "transient"),
        ("There was a problem refreshing your current auth tokens: Max retries exceeded with url", "transient"),
        ("There was a problem refreshing your current auth tokens: invalid_grant: Bad Request", "login"),
        ("You do not currently have an active account selected. Please run: gcloud auth login", "login"),
        ("FAILED_PRECONDITION: the 'valid until' time of the request has passed", "expired"),
        ("DEADLINE passed: the request has expired", "expired"),
        ("unrecognized arguments: --tunnel-through-iap", "usage"),
        (NO_COMMANDS, "component"),
        ("Failed to find attribute [project]. The attribute can be set", "project"),
        ("This API method requires billing to be enabled.", "billing"),
        ("something nobody has seen", "unknown"),
    ],
)
def test_a_failure_is_told_from_every_other(text: str, kind: str):
    assert failures.kind(f"ERROR: (gcloud.compute.tpus) {text}").name == kind


def failed(code: int, message: str) -> dict:
    return {"state": "FAILED", "failedData": {"error": {"code": code, "message": message}}}


@pytest.mark.parametrize(
    ("state", "told", "advice"),
    [
        (failed(8, CAPACITY), "no more capacity", "another zone"),
        (failed(8, "Quota limit 'TPUV4s' has been exceeded"), "Quota limit", "iam-admin/quotas"),
        (failed(7, "denied"), "PERMISSION_DENIED: denied", "tpu.admin"),
        (failed(3, "runtime x is unknown"), "runtime x is unknown", "no waiting helps"),
        (failed(9, "valid until time has elapsed"), "valid until time", "valid-until-duration"),
        ({"state": "FAILED"}, "Google gives no reason", "queued-resources describe pod"),
        ({"state": "SUSPENDED", "stateInitiator": "SERVICE"}, "Google took its machines back", "aura tpu delete"),
        ({"state": "SUSPENDED", "stateInitiator": "USER"}, "somebody suspended it", "aura tpu delete"),
        ({"state": "SUSPENDING"}, "SUSPENDING", "aura tpu delete"),
    ],
)
def test_a_request_that_ends_ends_the_wait_with_its_reason(cloud: Cloud, pod: Pod, state: dict, told: str, advice: str):
    cloud.trouble(json.dumps({"fate": state}))
    with pytest.raises(UserError) as raised:
        pod.create()
    assert told in str(raised.value)
    assert advice in str(raised.value)
    assert isinstance(raised.value, Unreachable) == (state["state"] != "FAILED")  # a launch asks again for the one


def test_only_a_lack_of_machines_is_answered_with_other_machines(cloud: Cloud, pod: Pod):
    cloud.trouble(json.dumps({"refusal": PERMISSION}))
    with pytest.raises(UserError) as raised:
        pod.create()
    assert PERMISSION in str(raised.value)
    assert "--on-demand" not in str(raised.value)
    assert "quota" not in str(raised.value)


def test_a_request_that_is_cancelled_meanwhile_ends_the_wait(cloud: Cloud, pod: Pod):
    cloud.trouble(json.dumps({"cancelled": 1}))
    with pytest.raises(UserError, match="cancelled by someone else"):
        pod.create()


def test_machines_that_stay_half_made_end_the_wait(cloud: Cloud, pod: Pod, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("aura.tpu.pod.HALF_MADE", 20)
    cloud.trouble(json.dumps({"half_made": 1}))
    with pytest.raises(UserError, match=r"stays incomplete: .*not all of its workers have an address"):
        pod.create()
    assert pod.state() == "waiting"
    cloud.trouble("{}")
    pod.create()
    assert pod.state() == "ready"


def test_an_overloaded_service_and_a_broken_answer_are_asked_again(cloud: Cloud, pod: Pod):
    cloud.trouble(json.dumps({"unavailable": 3}))
    pod.create()
    cloud.trouble(json.dumps({"garbage": 3}))
    assert pod.state() == "ready"
    pod.prepare()
    cloud.trouble(json.dumps({"mumble": 2, "ssh": 1}))
    assert [reply["state"] for reply in pod.ask("status")] == ["none", "none"]
    cloud.trouble(json.dumps({"unavailable": 3}))
    pod.delete()
    assert pod.state() == "absent"


def test_answers_that_stay_broken_are_one_error(cloud: Cloud, pod: Pod):
    pod.create()
    pod = replace(pod, gcloud=replace(pod.gcloud, pause=0.002))
    cloud.trouble(json.dumps({"garbage": 1000}))
    with pytest.raises(Unreachable, match=r"expected the JSON .* got .*cut off.*components update"):
        pod.state()
    cloud.trouble(json.dumps({"mumble": 1000}))
    with pytest.raises(Unreachable, match=r"expected a reply to status, got \[null"):
        pod.ask("status")
    cloud.trouble(json.dumps({"unavailable": 1000}))
    with pytest.raises(Unreachable, match="currently unavailable"):
        pod.state()


def test_a_request_whose_answer_was_lost_is_not_made_twice_nor_called_taken(cloud: Cloud, pod: Pod):
    cloud.trouble(json.dumps({"lost_answer": 1}))
    pod.create()
    assert pod.state() == "ready"


def test_a_name_that_something_else_has_is_told(cloud: Cloud, pod: Pod):
    cloud.trouble(json.dumps({"refusal": "ALREADY_EXISTS: Resource 'pod' already exists."}))
    with pytest.raises(UserError, match=r"name pod is taken in us-central2-b.*tpu-vm delete pod"):
        pod.create()


def test_a_pod_that_is_taken_away_while_it_is_set_up_is_had_again(
    pod: Pod, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from aura.tpu import launch

    tries = []

    def set_up(pod: Pod, _: Settings) -> None:
        tries.append(pod.state())
        if len(tries) == 1:
            standin.preempt("pod")
        pod.prepare()

    monkeypatch.setattr(setup, "setup", set_up)
    launch.bring_up(pod, settings)
    assert tries == ["ready", "ready"]
    assert "was taken away; requesting it again" in capsys.readouterr().err


# Answers as apt does while another process has its lock, as often as the file `locked` says; later it installs.
APT = """#!/bin/sh
left=$(cat {folder}/locked)
if [ "$left" -gt 0 ]; then
    echo $((left - 1)) > {folder}/locked
    echo 'E: {message}'
    exit 100
fi
[ "$2" = update ] || ln -sf python3.11-later {folder}/bin/python3.11
"""
LOCKED = "Could not get lock /var/lib/apt/lists/lock. It is held by process 814 (unattended-upgr)"


@pytest.fixture
def booted(cloud: Cloud, pod: Pod, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], Pod]:
    """A pod of one bare machine, whose apt says something so many times before it works."""

    def boot(message: str, times: int) -> Pod:
        (cloud.folder / "system").mkdir()
        for name in ("bash", "sh", "cat", "ln", "env"):
            (cloud.folder / "system" / name).symlink_to(shutil.which(name) or name)
        (cloud.folder / "bin/python3.11").rename(cloud.folder / "bin/python3.11-later")
        (cloud.folder / "locked").write_text(str(times))
        cloud.program("sudo", APT.replace("{folder}", str(cloud.folder)).replace("{message}", message))
        monkeypatch.setattr(setup, "REQUIREMENTS", [])
        made = replace(pod, accelerator=accelerator("v4-8"))
        made.create()
        made.prepare()
        (cloud.home(0) / "aura_tpu").mkdir()
        return made

    return boot


@pytest.mark.parametrize(
    "message",
    [
        LOCKED,
        "Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), is another process using it?",
        "Failed to fetch http://archive.example/jammy  Temporary failure resolving archive.example",
    ],
)
def test_a_first_boot_that_has_apt_busy_is_waited_for(
    cloud: Cloud, booted: Callable[[str, int], Pod], message: str, capsys: pytest.CaptureFixture[str]
):
    setup.install(booted(message, 2))
    told = capsys.readouterr().err
    assert message in told
    assert "waiting for it" in told
    assert (cloud.home(0) / "aura_tpu/.venv/installed").exists()


def test_an_apt_that_stays_busy_ends_the_set_up_with_the_reason(
    booted: Callable[[str, int], Pod], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(setup, "PATIENCE", 5)
    with pytest.raises(UserError, match=r"held by process 814"):
        setup.install(booted(LOCKED, 10**6))


def test_a_package_that_does_not_exist_is_not_waited_for(booted: Callable[[str, int], Pod]):
    with pytest.raises(UserError, match="no installation candidate"):
        setup.install(booted("Package python3.11 has no installation candidate", 10**6))


def test_a_missing_or_broken_gcloud_is_one_line(cloud: Cloud, monkeypatch: pytest.MonkeyPatch):
    gcloud = Gcloud("us-central2-b", None, pause=0.01)
    (cloud.folder / "bin/gcloud").chmod(0o644)
    monkeypatch.setenv("PATH", str(cloud.folder / "bin"))
    with pytest.raises(UserError, match=r"gcloud --version"):
        gcloud.requested("pod")
    (cloud.folder / "bin/gcloud").unlink()
    with pytest.raises(UserError, match="Install the Google Cloud CLI"):
        gcloud.requested("pod")


def test_what_no_other_try_can_cure_is_not_tried_again(cloud: Cloud):
    cloud.program(
        "gcloud", f'#!/bin/sh\necho "ERROR: (gcloud.x) {PERMISSION}" >&2\necho x >> {cloud.folder}/tried\nexit 1\n'
    )
    gcloud = Gcloud("us-central2-b", None, pause=0.01, access=Access())
    with pytest.raises(UserError, match=r"tpu\.admin"):
        gcloud.ssh("pod", 0, "status")
    with pytest.raises(UserError, match=r"tpu\.admin"):
        gcloud.requested("pod")
    assert (cloud.folder / "tried").read_text().count("x") == 2


def test_a_machine_that_gcloud_says_is_gone_is_not_waited_for(cloud: Cloud):
    told = "ERROR: (gcloud.compute.tpus.tpu-vm.ssh) This TPU has terminal state PREEMPTED, so it cannot be used."
    cloud.program("gcloud", f'#!/bin/sh\necho "{told}" >&2\necho x >> {cloud.folder}/tried\nexit 1\n')
    with pytest.raises(Unreachable, match="PREEMPTED"):
        Gcloud("us-central2-b", None, pause=0.01).ssh("pod", 0, "status")
    assert (cloud.folder / "tried").read_text().count("x") == 1

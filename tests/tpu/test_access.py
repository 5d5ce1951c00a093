"""gcloud's options of place and way: each gets to the commands that know it, and is checked before."""

import json
from dataclasses import replace

import pytest

from aura.core.errors import UserError
from aura.tpu import settings
from aura.tpu.access import Access
from aura.tpu.pod import Pod
from tests.conftest import REPOSITORY
from tests.tpu.conftest import Cloud

GIVEN = {
    "NETWORK": "mine",
    "SUBNETWORK": "projects/host/regions/us-central2/subnetworks/inside",
    "SERVICE_ACCOUNT": "trainer@my-project.iam.gserviceaccount.com",
    "LABELS": "team=lm,cost=research",
    "TAGS": "ssh,inside",
    "RUNTIME_VERSION": "tpu-vm-v4-base",
    "VALID_UNTIL_DURATION": "6h",
    "INTERNAL_IPS": "true",
    "RESERVED": "1",
}


def calls(cloud: Cloud, verb: str) -> list[list[str]]:
    return [call for call in map(json.loads, cloud.calls()) if verb in call]


def test_every_variable_gets_to_the_command_that_knows_it(cloud: Cloud, pod: Pod):
    place = settings.place({"zone": "us-central2-b"}, GIVEN)
    assert place.spot is False  # a reservation has no spot machines
    made = replace(pod, gcloud=replace(pod.gcloud, access=place.access), spot=place.spot)
    made.create()
    made.prepare()
    made.ask("status")
    (created,) = calls(cloud, "create")
    wanted = [
        "--network=mine", "--subnetwork=projects/host/regions/us-central2/subnetworks/inside",
        "--service-account=trainer@my-project.iam.gserviceaccount.com", "--labels=team=lm,cost=research",
        "--tags=ssh,inside", "--runtime-version=tpu-vm-v4-base", "--valid-until-duration=6h", "--internal-ips",
        "--reserved",
    ]  # fmt: skip
    assert set(wanted) <= set(created)
    assert "--spot" not in created
    for verb in ("ssh", "scp"):
        assert calls(cloud, verb)
        assert all("--internal-ip" in call for call in calls(cloud, verb))


def test_a_tunnel_and_a_named_reservation_go_to_the_track_that_has_them(cloud: Cloud, pod: Pod):
    access = Access(tunnel_through_iap=True, internal_ips=True, reservation="ours")
    made = replace(pod, gcloud=replace(pod.gcloud, access=access), spot=False)
    made.create()
    made.prepare()
    made.ask("status")
    (created,) = calls(cloud, "create")
    assert created[0] == "alpha"
    assert "--reservation=ours" in created
    assert "--reserved" not in created
    for verb in ("ssh", "scp"):
        assert all(call[0] == "alpha" and "--tunnel-through-iap" in call for call in calls(cloud, verb))
        assert not any("--internal-ip" in call for call in calls(cloud, verb))  # gcloud takes one way only


def test_a_pod_without_external_addresses_is_reached_without_being_told_again(cloud: Cloud, pod: Pod):
    replace(pod, gcloud=replace(pod.gcloud, access=Access(internal_ips=True))).create()
    found = Pod.of(settings.place({"name": "pod", "zone": "us-central2-b"}, {}, by_name=True), by_name=True)
    found.prepare()
    assert all("--internal-ip" in call for call in calls(cloud, "scp"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NETWORK", "my net"),
        ("NETWORK", "mine --spot"),
        ("SUBNETWORK", "-x"),
        ("SERVICE_ACCOUNT", "somebody"),
        ("SERVICE_ACCOUNT", "a@b; touch x"),
        ("LABELS", "team"),
        ("LABELS", "Team=lm"),
        ("TAGS", "one two"),
        ("TAGS", "1st"),
        ("RESERVATION", "$(id)"),
        ("RUNTIME_VERSION", "1.2.3"),
        ("VALID_UNTIL_DURATION", "soon"),
        ("INTERNAL_IPS", "maybe"),
        ("TUNNEL_THROUGH_IAP", "2"),
        ("PORT", "80"),
        ("PORT", "tcp://10.0.0.1:80"),
    ],
)
def test_a_value_that_gcloud_could_not_take_is_named(name: str, value: str):
    with pytest.raises(UserError, match=f"{name.lower()}: expected"):
        settings.place({}, {name: value})


def test_switches_are_said_as_people_say_them():
    for text in ("1", "yes", "TRUE", "on", "true"):
        assert settings.place({}, {"INTERNAL_IPS": text}).internal_ips
    for text in ("0", "no", "False", "OFF", "false"):
        assert not settings.place({}, {"SPOT": text}).spot


def test_spot_machines_of_a_reservation_are_refused():
    with pytest.raises(UserError, match="no spot machines"):
        settings.place({"reserved": True}, {"SPOT": "true"})


OTHERS = (
    {"NETWORK": "other"},
    {"SERVICE_ACCOUNT": "other@my-project.iam.gserviceaccount.com"},
    {"LABELS": "team=other"},
    {"SPOT": "false"},
    {"SLICES": "2"},
    {"ACCELERATOR": "v4-32"},
    {"RUNTIME_VERSION": "v2-alpha-tpuv5"},
    {"INTERNAL_IPS": "true"},
    {"RESERVED": "true"},
)


@pytest.mark.usefixtures("cloud")
def test_a_pod_that_is_another_than_asked_for_is_refused_but_found_by_its_name(pod: Pod):
    replace(pod, gcloud=replace(pod.gcloud, access=Access(network="mine", labels="team=lm,cost=research"))).create()
    where = {"NAME": "pod", "ZONE": "us-central2-b"}
    same = {"NETWORK": "projects/p/global/networks/mine", "LABELS": "cost=research,team=lm", "ACCELERATOR": "v4-16"}
    assert Pod.of(settings.place({}, where | same)).accelerator == pod.accelerator
    for environment in OTHERS:
        with pytest.raises(UserError, match="another pod than the options and variables ask for"):
            Pod.of(settings.place({}, where | environment))
    named = settings.place({}, where | {"ACCELERATOR": "v4-32"}, by_name=True)
    assert Pod.of(named, by_name=True).accelerator == pod.accelerator


def test_the_options_of_the_commands_are_those_of_the_settings():
    from aura.cli import tpu_options

    options = tpu_options.FINDS | tpu_options.MAKES | tpu_options.LAUNCHES
    assert set(options) == set(settings.PodSettings.model_fields)
    documented = (REPOSITORY / "docs/tpu.md").read_text()
    assert not [name for name in options if f"`{name.upper()}`" not in documented]

"""Names of TPUs: against Google's tables, and against what a mistyped one is told."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.core.errors import UserError
from aura.tpu.topology import accelerator


@pytest.mark.parametrize(
    ("name", "topology", "chips", "hosts", "cloud_type"),
    [
        ("v4-8", "v4:2x2x1", 4, 1, "v4-8"),
        ("v4-32", "v4:2x2x4", 16, 4, "v4-32"),
        ("v4-512", "v4:4x8x8", 256, 64, "v4-512"),
        ("v4-4096", "v4:8x16x16", 2048, 512, "v4-4096"),
        ("v5e-1", "v5e:1x1", 1, 1, "v5litepod-1"),
        ("v5e-8", "v5e:2x4", 8, 1, "v5litepod-8"),
        ("v5e-16", "v5e:4x4", 16, 4, "v5litepod-16"),
        ("v5litepod-256", "v5e:16x16", 256, 64, "v5litepod-256"),
        ("v5p-8", "v5:2x2x1", 4, 1, "v5p-8"),
        ("v5p-128", "v5:4x4x4", 64, 16, "v5p-128"),
        ("v5p-384", "v5:4x4x12", 192, 48, "v5p-384"),
        ("v5p-1536", "v5:8x8x12", 768, 192, "v5p-1536"),
        ("v5p-12288", "v5:16x16x24", 6144, 1536, "v5p-12288"),
        ("V6E-16", "v6e:4x4", 16, 4, "v6e-16"),
    ],
)
def test_a_name_means_what_google_says(name: str, topology: str, chips: int, hosts: int, cloud_type: str):
    found = accelerator(name)
    assert (found.topology_name, found.chips, found.hosts) == (topology, chips, hosts)
    assert found.cloud_type == cloud_type
    assert accelerator(found.name) == found


def test_slices_multiply_chips_and_hosts():
    found = accelerator("v5e-16", slices=3)
    assert (found.chips, found.hosts, found.devices_per_host) == (48, 12, 4)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("v4-33", "v4-16 and v4-32"),
        ("v5e-12", "v5e-8 and v5e-16"),
        ("v5-128", "v5p-128"),
        ("v6e-512", "v6e-256"),
        ("tpu", "v4-32"),
    ],
)
def test_a_mistyped_name_is_told_the_nearest(name: str, told: str):
    with pytest.raises(UserError, match=told):
        accelerator(name)


@settings(deadline=None)
@given(
    family=st.sampled_from(["v1", "v2", "v3", "v4", "v5", "v5e", "v5p", "v5x", "v6", "v6e", "v6p", "v8", "v9", "v10e"]),
    number=st.one_of(st.integers(0, 600), st.integers(0, 10**12)),
)
def test_whatever_is_suggested_for_a_mistyped_name_exists(family: str, number: int):
    name = f"{family}-{number}"
    try:
        accelerator(name)
    except UserError as error:
        for suggested in re.findall(r"\bv[0-9]+[a-z]*-[0-9]+\b", str(error).replace(repr(name), "")):
            assert accelerator(suggested).chips


def test_an_unknown_generation_is_told_all_that_exist():
    with pytest.raises(UserError) as raised:
        accelerator("v9-1")
    told = str(raised.value)
    assert "v4-8 to v4-8192" in told
    assert "v6e-1 to v6e-256" in told
    assert "nearest" not in told


@pytest.mark.parametrize("name", ["tpu7x-8", "v7x-16", "ironwood"])
def test_a_tpu_that_this_service_does_not_have_is_told_where_it_is(name: str):
    with pytest.raises(UserError, match="Compute Engine"):
        accelerator(name)


def test_a_number_of_any_length_is_one_error():
    with pytest.raises(UserError, match="expected a name such as"):
        accelerator("v4-" + 5000 * "9")

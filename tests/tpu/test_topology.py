"""Names of TPUs: against Google's tables, and against what a mistyped one is told."""

import pytest

from aura.errors import UserError
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

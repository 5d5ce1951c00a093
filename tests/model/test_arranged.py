"""Every mesh of every pod can be made: devices with coordinates stand for the pod, and nothing is compiled."""

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from jax.experimental.mesh_utils import create_device_mesh

from aura.model.mesh import arranged
from aura.tpu.topology import GENERATIONS, Accelerator, _sizes, accelerator

KINDS = {"v4": "TPU v4", "v5e": "TPU v5 lite", "v5p": "TPU v5", "v6e": "TPU v6 lite"}  # as JAX names devices
PODS = [
    accelerator(f"{generation.name}-{size}", slices)
    for generation in GENERATIONS.values()
    for size in _sizes(generation)
    for slices in (1, 2, 3)
]
SMALL = 64  # chips of a slice; the larger ones take minutes and are in tests/slow


def devices(pod: Accelerator) -> list[Any]:
    """A pod's chips as JAX lists them, slice by slice."""
    X, Y, Z = (*pod.shape, 1)[:3]
    chips = itertools.product(range(pod.slices), range(Z), range(Y), range(X))
    kind = KINDS[pod.generation.name]
    return [
        SimpleNamespace(
            id=number, platform="tpu", device_kind=kind, coords=(x, y, z), core_on_chip=0, slice_index=of_slice
        )
        for number, (of_slice, z, y, x) in enumerate(chips)
    ]


def check_every_mesh(pod: Accelerator) -> None:
    chips, found = pod.chips_per_slice, devices(pod)
    divisors = [n for n in range(1, chips + 1) if chips % n == 0]
    for fsdp, tensor in ((fsdp, tensor) for fsdp in divisors for tensor in divisors if chips % (fsdp * tensor) == 0):
        placed = arranged(fsdp, tensor, found)
        in_slice = chips // (fsdp * tensor)
        assert placed.shape == (pod.slices * in_slice, fsdp, tensor)
        assert len({device.id for device in placed.flat}) == pod.chips
        for number in range(pod.slices):  # a slice lies whole along `data`
            part = placed[number * in_slice : (number + 1) * in_slice]
            assert {device.slice_index for device in part.flat} == {number}


@pytest.mark.parametrize("pod", [pod for pod in PODS if pod.chips_per_slice <= SMALL], ids=str)
def test_every_mesh_of_a_pod_can_be_made(pod: Accelerator):
    check_every_mesh(pod)


@pytest.mark.parametrize("pod", [pod for pod in PODS if pod.chips <= SMALL and pod.slices == 1], ids=str)
def test_the_order_of_devices_is_that_of_jax_wherever_it_has_one(pod: Accelerator):
    found, chips, same = devices(pod), pod.chips, 0
    may_split = pod.generation.name == "v5e"  # as jax.make_mesh
    for fsdp in (n for n in range(1, chips + 1) if chips % n == 0):
        try:
            before = create_device_mesh((chips // fsdp, fsdp, 1), found, allow_split_physical_axes=may_split)
        except NotImplementedError:
            continue
        same += 1
        np.testing.assert_array_equal(arranged(fsdp, 1, found), before)
    assert same


def test_a_pod_of_which_jax_makes_no_mesh_has_its_neighbours_along_tensor():
    """JAX fails at 4 x 4 x 20 chips with an error of its own."""
    pod = accelerator("v5p-640")
    placed = arranged(1, 10, devices(pod))
    steps = [
        np.abs(np.subtract(one.coords, other.coords)).sum()
        for line in placed.reshape(-1, 10)
        for one, other in itertools.pairwise(line)
    ]
    assert max(steps) <= 2
    check_every_mesh(pod)

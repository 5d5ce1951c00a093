"""Every mesh of the largest pods, which `tests/model/test_arranged.py` leaves out."""

import pytest

from aura.tpu.topology import Accelerator
from tests.model.test_arranged import PODS, SMALL, check_every_mesh

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("pod", [pod for pod in PODS if SMALL < pod.chips_per_slice <= 512 and pod.slices < 3], ids=str)
def test_every_mesh_of_a_large_pod_can_be_made(pod: Accelerator):
    check_every_mesh(pod)

"""`aura tpu plan` compiles the real training step for TPUs that are not there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, Project

LIBRARY = REPOSITORY / ".venv-tpu/libtpu/libtpu.so"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not LIBRARY.exists(), reason="needs the TPU compiler: make tpu-tools"),
]
SIZE = {"layers": 2, "width": 512, "heads": 4, "kv_heads": 4, "hidden": 1024}
OPTIONS = ("--fast", "--seq-len", "256", "--batch-size", "64")


@pytest.fixture
def planner(project: Project) -> Project:
    project.environment |= {"TPU_LIBRARY_PATH": str(LIBRARY)}
    project.edit_params(pretrain={"size": SIZE, "fsdp": 4})
    return project


def test_a_small_model_fits_on_v4_and_on_v5e(planner: Project):
    for name, chips, hosts in (("v4-32", 16, 4), ("v5litepod-16", 16, 4)):
        told = planner.run("aura", "tpu", "plan", "--accelerator", name, "--no-find-batch", *OPTIONS).stdout
        assert f"({chips} chips, {hosts} hosts" in told
        assert "mesh data 4 x fsdp 4 x tensor 1: it fits" in told
        # Of weights, which fsdp spreads, of their gradients, and of the matrices that Muon orthogonalises.
        for kind in ("all-gather", "reduce-scatter", "all-to-all"):
            assert re.search(rf"{kind} +│ +[1-9]", told), told
        held = dict(re.findall(r"│ (weights|optimiser) +│ +([0-9.]+)", told))
        # One number beside each weight of a matrix, and two beside those of tables.
        assert float(held["weights"]) < float(held["optimiser"]) < 1.2 * float(held["weights"])


def test_fsdp_may_be_a_part_of_a_slice_and_a_plan_covers_more_than_steps(planner: Project):
    planner.edit_params(pretrain={"fsdp": 8})
    told = planner.run("aura", "tpu", "plan", "--accelerator", "v6e-16", "--no-find-batch", *OPTIONS).stdout
    assert "mesh data 2 x fsdp 8 x tensor 1: it fits" in told
    assert re.search(
        r"beside the steps a device holds: evaluation [0-9.]+ MiB, samples [0-9.]+ MiB, saving [0-9]", told
    )


def test_an_adaptation_is_planned_by_its_own_step(planner: Project):
    told = planner.run("aura", "tpu", "plan", "--adapt", "--accelerator", "v5e-16", "--no-find-batch", *OPTIONS).stdout
    assert "mesh data 4 x fsdp 4 x tensor 1: it fits" in told
    assert "a step is 16,384 tokens" in told  # of --batch-size, in the place of adapt.batch_size
    held = {name: float(size) for name, size in re.findall(r"│ ([a-z ]+?) +│ +([0-9.]+)", told)}
    assert held["teacher"] == held["trained weights"] < held["weights"] / 4
    assert held["optimiser"] == pytest.approx(2 * held["trained weights"], abs=0.2)


def test_what_does_not_go_with_the_devices_is_one_line(planner: Project):
    planner.edit_params(pretrain={"tensor": 4, "fsdp": 1})
    arguments = ("--accelerator", "v6e-16", "--no-find-batch", "--batch-size", "6")
    done = planner.run("aura", "tpu", "plan", *arguments, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "to be divisible by the 4 devices" in done.stderr


def test_slices_lie_along_data(planner: Project):
    arguments = ("--accelerator", "v5e-4", "--slices", "2", "--no-find-batch", *OPTIONS)
    told = planner.run("aura", "tpu", "plan", *arguments).stdout
    assert "on 2 x v5e-4 (8 chips, 2 hosts, v5e:2x2), mesh data 2 x fsdp 4 x tensor 1: it fits" in told
    planner.edit_params(pretrain={"fsdp": 8})
    refused = planner.run("aura", "tpu", "plan", *arguments, check=False)
    assert "got 4 devices in each of 2 slices" in refused.stderr


def test_a_run_that_does_not_fit_says_what_would_help_and_is_not_launched(planner: Project, tmp_path: Path):
    from tests.tpu.conftest import Cloud

    planner.edit_params(pretrain={"fsdp": 1, "checkpoint_folder": str(tmp_path / "checkpoints")})
    cloud = Cloud(tmp_path / "cloud")
    planner.environment |= cloud.environment()
    arguments = (
        "--zone",
        "us-central2-b",
        "--accelerator",
        "v5litepod-16",
        "--batch-size",
        "1024",
        "--seq-len",
        "32768",
    )
    done = planner.run("aura", "tpu", "launch", *arguments, check=False)
    assert done.returncode == 1
    assert "the run does not fit on v5e-16: a device has 16 GiB" in done.stderr
    assert "pretrain.remat: true" in done.stderr
    assert "Traceback" not in done.stderr
    assert not any('"create"' in call for call in cloud.calls())


# In a process of its own: what makes JAX find the compiler would make later tests look for a TPU.
PEAKS = """
from aura.training.flops import peak_flops
from aura.tpu import compiler
from aura.tpu.topology import GENERATIONS, accelerator

for pod in (accelerator(f"{name}-{size}", slices) for name in GENERATIONS for size, slices in ((8, 1), (16, 2))):
    found = compiler.devices(pod)
    assert len(found) == pod.chips, pod
    assert peak_flops(found[0].device_kind) is not None, pod
"""


def test_every_generation_of_tpu_is_known_to_the_compiler_and_to_the_table_of_peaks():
    environment = {**os.environ, "TPU_LIBRARY_PATH": str(LIBRARY), "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", PEAKS], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

"""End to end on loopback: `adapt` on a pod of two workers gives what it gives here, through a preemption."""

import json
from pathlib import Path

import numpy as np
import pytest

from aura.core import checksums
from tests.conftest import Project
from tests.slow.test_tpu_pod import cloud, reach, repro, wait_for
from tests.tpu import gcloud as standin
from tests.tpu.conftest import Cloud

__all__ = ["cloud"]
pytestmark = pytest.mark.slow
STEPS = 40
MEASURED = ("loss", "response_loss", "response_loss_before", "start_divergence", "bits_per_byte", "trained_parameters")


def adapted(project: Project) -> dict[str, float]:
    return json.loads((project.folder / "reports/adapt/metrics.json").read_text())


def losses(project: Project) -> np.ndarray:
    return np.loadtxt(project.folder / "reports/adapt/plots/metrics/loss.tsv", skiprows=1)


def checkpoints(folder: Path) -> set[str]:
    """Places of the complete checkpoints."""
    return {str(path) for path in folder.glob("*/*") if path.name.isdigit()}


def test_an_adaptation_on_a_pod_gives_what_it_gives_here(project: Project, cloud: Cloud, tmp_path: Path):
    """Both stages run on one pod with weights spread over its workers, then `adapt` alone on this machine."""
    machine = {"where": "tpu", "fsdp": 2, "checkpoint_every": 4, "checkpoint_folder": str(tmp_path / "there")}
    run = {"where": "tpu", "batch_size": 8, "steps": STEPS, "eval_every": STEPS // 2}
    project.edit_params(pretrain=machine | {"batch_size": 8}, adapt=run)
    reach(cloud, project, "v4-16")
    cloud.order([1, 0])
    log = tmp_path / "repro.log"
    running = repro(project, log)
    wait_for(lambda: "Running stage 'adapt'" in log.read_text() or running.poll())
    before = checkpoints(tmp_path / "there")
    wait_for(lambda: checkpoints(tmp_path / "there") - before or running.poll())
    standin.preempt("pod")
    assert running.wait(timeout=400) == 0, log.read_text()[-5000:]
    told = log.read_text()
    assert "was taken away; requesting it again" in told
    assert "going on after step" in told
    account = json.loads((project.folder / "models/chat/checkpoint.json").read_text())
    assert (account["step"], Path(account["uri"]).parent.parent) == (STEPS, tmp_path / "there")
    for folder in ("models/adapter", "models/chat"):
        checksums.verify(project.folder / folder, "dvc repro adapt")
    assert "up to date" in project.run("dvc", "repro").stdout

    # By hand, the same run is there already. A gate that it misses is told here, and starts nothing there.
    [there] = cloud.folder.glob("workers/pod/*/aura_tpu/reports/adapt/metrics.json")
    there.write_text(json.dumps(json.loads(there.read_text()) | {"forgetting": 0.5}))
    project.edit_params(adapt={"max_forgetting": 0.1})
    launched = project.run("aura", "tpu", "launch", "--adapt", check=False)
    assert "attached to the run" in launched.stderr
    assert launched.returncode == 1
    assert "adapt.max_forgetting: expected" in launched.stderr
    by_hand = project.folder / "models/pods/pod/models/chat/model.safetensors"
    assert by_hand.read_bytes() == (project.folder / "models/chat/model.safetensors").read_bytes()
    project.edit_params(adapt={"max_forgetting": None})

    here = project.copy(tmp_path / "here")
    here.edit_params(adapt={"where": "local"}, pretrain={"checkpoint_folder": str(tmp_path / "local")})
    assert here.ran(here.run("dvc", "repro").stdout) == {"adapt"}
    assert not (here.folder / "models/chat/checkpoint.json").exists()
    got, expected = adapted(project), adapted(here)
    np.testing.assert_allclose([got[name] for name in MEASURED], [expected[name] for name in MEASURED], rtol=1e-4)
    assert got["packing"] == expected["packing"]
    np.testing.assert_allclose(losses(project), losses(here), rtol=1e-4)
    names = {str(path.relative_to(here.folder)) for path in (here.folder / "models/adapter").iterdir()}
    assert names == {str(path.relative_to(project.folder)) for path in (project.folder / "models/adapter").iterdir()}

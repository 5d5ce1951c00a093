"""A project whose pretraining begins from weights: the stages behind it go on as on any other model."""

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import Project

pytestmark = pytest.mark.slow


def test_pretrain_export_and_adapt_go_on_from_a_base(built: Project, tmp_path: Path):
    project = built.copy(tmp_path / "project")
    models = project.folder / "models"
    shutil.copytree(models / "hf", project.folder / "base")
    project.edit_params(pretrain={"from": "base", "train_embeddings_first": 2, "size": "large", "learning_rate": 0.001})
    said = project.run("dvc", "repro", "export", "adapt")
    told = said.stdout + said.stderr
    assert project.ran(said.stdout) == {"pretrain", "adapt", "export"}
    assert "note: pretrain.from is base, which dvc.yaml does not list under deps of pretrain" in told
    assert "note: the base decides the shape" in told
    assert "only its size was compared" not in told
    record = json.loads((models / "lm/config.json").read_text())
    assert (record["base"]["context"], record["model"]["width"]) == (128, 16)
    assert json.loads((models / "hf/config.json").read_text())["scaled_embeddings"] is True
    card = (models / "chat/README.md").read_text()
    assert f"| SHA-256 of the weights that it began from | {record['base']['sha256']} |" in card
    assert "trained from nothing" not in card
    assert project.run("aura", "sample", "def ", "--tokens", "4", "--model", "base").stdout.startswith("def ")

    text = (
        (project.folder / "dvc.yaml")
        .read_text()
        .replace("    - aura/training\n    - data/tokens\n", "    - aura/training\n    - base\n    - data/tokens\n", 1)
    )
    (project.folder / "dvc.yaml").write_text(text)
    said = project.run("dvc", "repro", "pretrain")
    assert "does not list" not in said.stdout + said.stderr
    before = json.loads((models / "lm/config.json").read_text())
    assert before == record
    config = json.loads((project.folder / "base/config.json").read_text())
    (project.folder / "base/config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-6}))
    (project.folder / "base/_SHA256SUMS").unlink()
    said = project.run("dvc", "repro", "pretrain")
    assert "pretrain" in project.ran(said.stdout)
    after = json.loads((models / "lm/config.json").read_text())
    assert after["model"]["epsilon"] == 1e-6
    assert after["base"]["sha256"] != record["base"]["sha256"]

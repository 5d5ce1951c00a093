"""`aura source` with a Hugging Face dataset, from a local folder: added, built, moved and removed."""

import json

import pytest

from tests.conftest import Project
from tests.extract.test_hub import repository


@pytest.fixture
def added(project: Project) -> Project:
    """The mini project with one more source, a dataset."""
    repository(project.folder / "hub", rows=40)
    command = "aura source add docs hub --kind dataset --max-documents 100"
    assert (
        "added docs: dataset hub (config default, split train) at revision xxh3:"
        in project.run(*command.split()).stdout
    )
    return project


@pytest.mark.slow
def test_a_dataset_is_built_once_and_its_pin_moves_on_command(added: Project):
    pin = added.folder / "data/docs.pin.json"
    assert added.ran(added.run("dvc", "repro", "extract@docs").stdout) == {"extract@docs"}
    manifest = json.loads((added.folder / "data/extracted/docs/manifest.json").read_text())
    assert manifest["totals"]["documents"] == 100
    assert "data/raw" not in added.run("git", "status", "--short").stdout
    assert "as before" in added.run("aura", "source", "scan", "docs").stdout
    assert added.ran(added.run("dvc", "repro", "extract@docs").stdout) == set()

    before = json.loads(pin.read_text())
    (added.folder / "hub/train-0.jsonl").write_text('{"text": "a changed document of this dataset", "id": 1}\n')
    assert added.ran(added.run("dvc", "repro", "extract@docs").stdout) == set()  # a pin stands until it is moved
    assert "now describes revision xxh3:" in added.run("aura", "source", "scan", "docs").stdout
    assert json.loads(pin.read_text()) | {"revision": before["revision"]} == before
    assert added.ran(added.run("dvc", "repro", "extract@docs").stdout) == {"extract@docs"}
    manifest = json.loads((added.folder / "data/extracted/docs/manifest.json").read_text())
    assert manifest["totals"]["documents"] == 81

    added.run("aura", "source", "remove", "docs")
    assert not (added.folder / "data/raw/docs").exists()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("add more hub --split train", "need --kind dataset"),
        ("add more hub --kind dataset --documents line", "do not go with --kind dataset"),
        ("add more hub --kind dataset --revision main", "expected the folder hub at revision main"),
        ("add docs hub --kind dataset", "the source docs exists already"),
    ],
)
def test_options_that_do_not_fit_change_nothing(added: Project, command: str, words: str):
    before = (added.folder / "params.yaml").read_bytes()
    done = added.run("aura", "source", *command.split(), check=False)
    assert done.returncode == 1
    assert words in done.stderr
    assert (added.folder / "params.yaml").read_bytes() == before
    assert not (added.folder / "data/more.pin.json").exists()

"""`dvc exp run -S` with one changed value per section of params.yaml."""

import json

import pytest

from tests.conftest import Project
from tests.stages.test_pipeline import ALL

AFTER_SELECT = {"train_tokenizer", "validate", "encode", "pretrain", "export"}
EXTRACTS = {name for name in ALL if name.startswith("extract")}
pytestmark = pytest.mark.slow
CHANGES = {
    "extract.min_chars=400": EXTRACTS | {"select"} | AFTER_SELECT,
    "select.held_out=0.3": {"select"} | AFTER_SELECT,
    "train_tokenizer.vocab_size=650": AFTER_SELECT,
    "validate.max_fertility=55.0": {"validate"},
    "encode.add_eos=false": {"encode", "pretrain", "export"},
    "pretrain.steps=7": {"pretrain", "export"},
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_experiment_runs_the_affected_stages_and_is_listed(project: Project, change: str):
    done = project.run("dvc", "exp", "run", "-n", "tried", "-S", change)
    assert project.ran(done.stdout) == CHANGES[change]
    shown = json.loads(project.run("dvc", "exp", "show", "--json").stdout)
    experiments = [entry for row in shown for entry in row["experiments"] or []]
    [tried] = [revision for entry in experiments for revision in entry["revs"]]
    assert tried["name"] == "tried"
    section, _, rest = change.partition(".")
    key, _, value = rest.partition("=")
    assert tried["data"]["params"]["params.yaml"]["data"][section][key] == json.loads(value)


def test_an_experiment_in_a_folder_of_its_own_works_on_tracked_sources(project: Project):
    for folder in ("books", "posts", "pinned"):
        project.run("dvc", "add", "-q", f"data/{folder}")
    project.run("git", "add", "-A")
    project.run("git", "commit", "-qm", "track the sources")
    before = (project.folder / "params.yaml").read_text()
    done = project.run("dvc", "exp", "run", "--temp", "-n", "aside", "-S", "pretrain.steps=7")
    assert "aside" in project.run("dvc", "exp", "list", "--name-only").stdout, done.stderr
    assert (project.folder / "params.yaml").read_text() == before

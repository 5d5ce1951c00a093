"""What DVC did not rerun would have come out the same: a change per params section, then everything by force."""

import shutil
from pathlib import Path

import pytest

from tests.conftest import Project
from tests.slow.test_experiments import CHANGES
from tests.stages.test_pipeline import ALL, repro

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("change", CHANGES)
def test_a_forced_run_changes_nothing_that_was_left_alone(built: Project, tmp_path: Path, change: str):
    project = built.copy(tmp_path / "project")
    name, _, value = change.partition("=")
    section, _, key = name.partition(".")
    numbers = {"true": True, "false": False}
    project.edit_params(
        **{section: {key: numbers[value] if value in numbers else float(value) if "." in value else int(value)}}
    )
    assert repro(project) == CHANGES[change]
    after_repro = project.lock()
    shutil.rmtree(project.folder / ".aura")  # by force, and not out of the action cache
    assert repro(project, "--force") == ALL
    assert project.lock() == after_repro


@pytest.mark.parametrize("cores", ["0", "0,1"])
def test_another_folder_and_number_of_cores_give_the_same_bytes(built: Project, tmp_path: Path, cores: str):
    project = built.copy(tmp_path / "a folder with spaces")
    before = project.lock()
    shutil.rmtree(project.folder / ".aura")
    project.run("taskset", "-c", cores, "dvc", "repro", "--force")
    after = project.lock()
    for stage in ALL - {"pretrain", "adapt", "export"}:
        assert after[stage] == before[stage]

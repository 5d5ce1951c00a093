import sys
from pathlib import Path

import pytest

from aura.ingestion.txt_loader import load_json_corpus
from tests.conftest import REPOSITORY, Project
from tests.extract.test_hub import repository

AS_FILE, AS_MODULE = ["python", "aura/data/hf_stream.py"], ["python", "-m", "aura.data.hf_stream"]


@pytest.fixture
def here(tmp_path: Path) -> Project:
    """This repository's own folder, with outputs elsewhere."""
    repository(tmp_path / "hub", rows=40)
    project = Project(REPOSITORY)
    project.environment["HF_HUB_OFFLINE"] = "1"
    return project


def options(tmp_path: Path, **others: object) -> list[str]:
    given = {"dataset": tmp_path / "hub", "split": "train", "output": tmp_path / "out", **others}
    return [part for name, value in given.items() for part in (f"--{name}", str(value))]


@pytest.mark.parametrize("program", [AS_FILE, AS_MODULE], ids=["file", "module"])
def test_it_runs_as_the_guide_says(here: Project, tmp_path: Path, program: list[str]):
    done = here.run(*program, *options(tmp_path, config="default", max_samples=100))
    assert "100 documents, " in done.stdout
    assert done.stderr == ""
    loaded = [text for text, _ in load_json_corpus(tmp_path / "out")]
    assert (len(loaded), loaded[-1]) == (100, "a document, number 19 of file 2")


def test_a_second_run_does_nothing_and_another_dataset_replaces_nothing(here: Project, tmp_path: Path):
    here.run(*AS_MODULE, *options(tmp_path))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert "nothing to do" in here.run(*AS_MODULE, *options(tmp_path)).stdout
    refused = here.run(*AS_MODULE, *options(tmp_path, max_samples=7), check=False)
    assert refused.returncode == 1
    assert "out holds another dataset, revision or number of rows. Name another, or remove it." in refused.stderr
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before


def test_a_folder_of_the_users_is_left_alone(here: Project, tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")
    refused = here.run(*AS_MODULE, *options(tmp_path), check=False)
    assert "out holds other files" in refused.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


@pytest.mark.slow
def test_a_tokenizer_trains_on_its_output(project: Project):
    repository(project.folder / "hub", rows=400)
    project.run(*AS_FILE, *options(project.folder, dataset="hub", output="data/streamed"))
    command = (
        "python stages/train_tokenizer.py --json_dirs data/streamed --output models/spm_streamed --skip_validation"
    )
    project.run(*command.split())
    assert (project.folder / "models/spm_streamed/spiece.model").exists()


def test_no_module_beside_it_hides_another():
    """Run as a file, aura/data/ is the first place where modules are looked for."""
    names = {path.stem for path in (REPOSITORY / "aura/data").glob("*.py")} - {"__init__"}
    installed = {path.stem for folder in sys.path[1:] for path in Path(folder).glob("*") if Path(folder).is_dir()}
    assert not names & (set(sys.stdlib_module_names) | installed)

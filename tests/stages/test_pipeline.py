"""The pipeline as its users drive it: real `dvc` commands on the mini project."""

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import Project

ALL = {"extract@books", "extract@posts", "extract@pinned", "extract@sample"} | {
    *("select", "train_tokenizer", "validate", "encode", "conversations", "pretrain", "adapt", "export")
}


def repro(project: Project, *arguments: str) -> set[str]:
    """Run `dvc repro`; returns the stages that ran."""
    return project.ran(project.run("dvc", "repro", *arguments).stdout)


def test_the_second_run_finds_everything_up_to_date(built: Project):
    assert "Data and pipelines are up to date." in built.run("dvc", "repro").stdout


def test_a_touched_file_reruns_nothing(project: Project):
    for path in ("data/books/000.txt", "aura/extract/extract.py", "params.yaml"):
        (project.folder / path).touch()
    assert repro(project) == set()


def test_a_comment_in_the_training_code_stops_before_the_stages_below(project: Project):
    """DVC reruns what lists the module; the same bytes come out, so nothing below it runs."""
    code = project.folder / "aura/train_tokenizer/counts.py"
    code.write_text(code.read_text() + "\n# a comment\n")
    assert repro(project) == {"train_tokenizer"}


def test_a_new_file_runs_its_source_and_what_follows(project: Project):
    for number in range(9):  # enough that not all of them are held out
        (project.folder / f"data/books/new{number}.txt").write_text(f"a new document about {number} happy words\n" * 9)
    assert repro(project) == {"extract@books", *ALL - {name for name in ALL if name.startswith("extract")}}


def test_what_was_built_once_is_taken_from_the_run_cache(project: Project):
    """Every stage's, pretraining's above all: a plain output that DVC does not cache would keep its stage out."""
    lock = project.lock()
    (project.folder / "dvc.lock").unlink()
    assert repro(project) == set()
    assert project.lock() == lock


def test_a_looser_gate_reruns_validation_alone(project: Project):
    project.edit_params(validate={"max_fertility": 60.0})
    assert repro(project) == {"validate"}


def test_a_missed_gate_stops_everything_after_it(project: Project):
    project.edit_params(validate={"min_bytes_per_token": 15.0})
    done = project.run("dvc", "repro", check=False)
    assert done.returncode != 0
    assert project.ran(done.stdout) == {"validate", "encode"}
    assert "min_bytes_per_token" in done.stderr
    assert "bytes_per_token" in (project.folder / "reports/validate/metrics.json").read_text()
    assert json.loads((project.folder / "reports/validate/passed.json").read_text())["tokenizer"] == ""
    assert repro_fails_again(project)


def repro_fails_again(project: Project) -> bool:
    return project.run("dvc", "repro", "encode", check=False).returncode != 0


def test_a_fresh_clone_with_a_remote_runs_nothing(project: Project, tmp_path: Path):
    project.run("dvc", "remote", "add", "-d", "store", str(tmp_path / "store"))
    for folder in ("books", "posts", "pinned"):
        project.run("dvc", "add", "-q", f"data/{folder}")
    project.run("dvc", "push", "-q")
    project.run("git", "add", "-A")
    project.run("git", "commit", "-qm", "remote")
    project.run("git", "clone", "-q", str(project.folder), str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone")
    assert repro(clone, "--pull", "--allow-missing") == set()
    assert not (clone.folder / "data/extracted").exists()
    clone.run("dvc", "pull", "-q", "data/books.dvc")  # given both at once, DVC 3.67 brings the first alone
    clone.run("dvc", "pull", "-q", "models/spm")
    assert len(list((clone.folder / "data/books").iterdir())) == 200
    assert (clone.folder / "models/spm/spiece.model").exists()


@pytest.mark.slow
def test_a_fresh_clone_runs_nothing_after_a_source_was_removed(project: Project, tmp_path: Path):
    project.run("dvc", "remote", "add", "-d", "store", str(tmp_path / "store"))
    project.run("aura", "source", "remove", "posts")
    assert repro(project) == ALL - {name for name in ALL if name.startswith("extract")}
    for folder in ("books", "pinned"):
        project.run("dvc", "add", "-q", f"data/{folder}")
    project.run("dvc", "push", "-q")
    project.run("git", "add", "-A")
    project.run("git", "commit", "-qm", "without posts")
    project.run("git", "clone", "-q", str(project.folder), str(tmp_path / "clone"))
    assert repro(Project(tmp_path / "clone"), "--pull", "--allow-missing") == set()


@pytest.mark.parametrize("stage", sorted(stage for stage in ALL if not stage.startswith("extract")))
def test_a_stage_script_refuses_an_absent_input(built: Project, tmp_path: Path, stage: str):
    inputs = {
        "select": "data/extracted",
        "train_tokenizer": "data/corpus",
        "validate": "data/corpus",
        "conversations": "models",
        "export": "models",
    }
    project = built.copy(tmp_path / "project")
    shutil.rmtree(project.folder / inputs.get(stage, "data"))
    done = project.run("python", "-m", f"aura.stages.{stage}", check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ")
    assert "dvc repro" in done.stderr


@pytest.mark.slow
def test_dvc_shows_metrics_plots_and_params(project: Project):
    metrics = json.loads(project.run("dvc", "metrics", "show", "--json").stdout)[""]["data"]
    assert set(metrics) == {f"reports/{stage}/metrics.json" for stage in ("validate", "pretrain", "adapt")}
    project.run("dvc", "plots", "show")
    html = (project.folder / "dvc_plots/index.html").read_text()
    assert html.count("<div id") >= 14  # five of validation, four of pretraining, five of adaptation
    project.edit_params(select={"held_out": 0.3})
    assert "held_out" in project.run("dvc", "params", "diff").stdout
    project.run("dvc", "repro", "-q", "-s", "select")
    assert project.run("dvc", "metrics", "diff").returncode == 0


def test_a_frozen_stage_does_not_run(project: Project):
    project.run("dvc", "freeze", "validate")
    project.edit_params(validate={"max_fertility": 55.0})
    assert repro(project) == set()
    project.run("dvc", "unfreeze", "validate")
    assert repro(project) == {"validate"}


def test_a_frozen_tokenizer_stays_while_the_corpus_changes(project: Project):
    before = project.lock()
    project.run("dvc", "freeze", "train_tokenizer", "pretrain", "export", "adapt")
    (project.folder / "data/books/000.txt").write_text("a document that is new, and in training or held out. " * 9)
    (project.folder / "data/books/001.txt").write_text("another document, so that both do not end up held out. " * 9)
    assert {"extract@books", "select", "encode"} <= repro(project) <= {"extract@books", "select", "validate", "encode"}
    after = project.lock()
    assert after["train_tokenizer"] == before["train_tokenizer"]
    assert after["select"]["data/corpus/train"] != before["select"]["data/corpus/train"]
    project.run("dvc", "unfreeze", "train_tokenizer")
    refused = project.run("python", "-m", "aura.stages.encode", check=False)
    assert refused.returncode == 1
    assert "or, to keep this tokenizer while the corpus changes: dvc freeze train_tokenizer" in refused.stderr


def test_an_experiment_runs_what_its_param_touches_and_is_listed(project: Project):
    done = project.run("dvc", "exp", "run", "-n", "tried", "-S", "validate.max_fertility=55.0")
    assert project.ran(done.stdout) == {"validate"}
    assert "tried" in project.run("dvc", "exp", "show").stdout


def test_a_single_stage_runs_alone(project: Project):
    project.edit_params(train_tokenizer={"vocab_size": 650})
    assert repro(project, "-s", "train_tokenizer") == {"train_tokenizer"}


def test_the_stage_scripts_run_as_files_too(project: Project):
    """`python stages/x.py` puts stages/ on the path, where select.py would hide the standard library's."""
    for command in (("stages/select.py",), ("-m", "stages.select")):
        assert project.run("python", *command).stdout.startswith("select ")

"""Params, code and files that change while a stage runs: the stage fails, dvc.lock stays, and the next run is right."""

import contextlib
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.conftest import Project
from tests.slow.test_kills import stage_process, working_seconds

pytestmark = pytest.mark.slow

PARAMS = {  # a key of each stage and another value for it
    "extract@books": ("extract", "min_chars", 400),
    "select": ("select", "held_out", 0.21),
    "train_tokenizer": ("train_tokenizer", "max_piece_chars", 15),
    "validate": ("validate", "max_fertility", 51.0),
    "encode": ("encode", "add_eos", False),
    "conversations": ("conversations", "held_out", 0.07),
    "pretrain": ("pretrain", "learning_rate", 0.0011),
    "export": ("encode", "add_bos", False),
}


def change_param(project: Project, stage: str) -> str:
    section, key, value = PARAMS[stage]
    project.edit_params(**{section: {key: value}})
    return f"{section}.{key} in params.yaml"


def change_code(project: Project, stage: str) -> str:
    path = f"aura/stages/{stage.partition('@')[0]}.py"
    with (project.folder / path).open("a") as file:
        file.write("# edited\n")
    return path


def change_library(project: Project, _stage: str) -> str:
    path = project.folder / "versions.json"
    path.write_text(path.read_text().replace('"numpy": "', '"numpy": "0'))
    return "versions.json"


UNFINISHED = {  # what a stage makes after it has read its params, before its results are there
    "extract@books": "data/extracted/.books.*.partial",
    "select": "data/.corpus.*.partial",
    "train_tokenizer": "models/.spm.*.partial",
    "validate": "reports/validate/metrics.json",
    "encode": "data/.tokens.*.partial",
    "conversations": "data/.conversations.*.partial",
    "pretrain": "models/.lm.*.partial",
    "export": "models/.hf.*.partial",
}
CHANGES: tuple[Callable[[Project, str], str], ...] = (change_param, change_code, change_library)


def edited(folder: Path) -> str:
    (folder / "000.txt").write_text("A document with other words than it had before this run began.")
    return "000.txt"


def edited_in_place(folder: Path) -> str:
    with (folder / "001.txt").open("r+b") as file:
        file.write(b"@")
    return "001.txt"


def added(folder: Path) -> str:
    (folder / "new.txt").write_text("A document that came while the folder was read.")
    return "new.txt"


def removed(folder: Path) -> str:
    (folder / "002.txt").unlink()
    return "002.txt"


def renamed(folder: Path) -> str:
    (folder / "003.txt").rename(folder / "other.txt")
    return "003.txt"


def replaced(folder: Path) -> str:
    shutil.copytree(folder, folder.with_name("copy"))
    shutil.rmtree(folder)
    folder.with_name("copy").rename(folder)
    return "data/books"


def come_and_gone(folder: Path) -> str:
    (folder / "short.txt").write_text("A document that was there for a moment.")
    (folder / "short.txt").unlink()
    return "data/books"


FOLDER_CHANGES = (edited, edited_in_place, added, removed, renamed, replaced, come_and_gone)


def begin(project: Project, stage: str) -> "subprocess.Popen[str]":
    """`dvc repro` of one stage, with nothing in the action cache."""
    shutil.rmtree(project.folder / ".aura", ignore_errors=True)
    (project.folder / "reports/validate/metrics.json").unlink(missing_ok=True)
    return subprocess.Popen(
        ["dvc", "repro", "--force", "--single-item", stage], cwd=project.folder, env=project.environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def disturbed(project: Project, stage: str, change: Callable[[], str]) -> tuple[int, str, str]:
    """`dvc repro` of one stage with a change while its process works: exit status, what was said, what was changed.

    The process is stopped as soon as what `UNFINISHED` says is there. On a busy machine it may end before that; then
    nothing was changed, and it is run again.
    """
    for _ in range(5):
        repro = begin(project, stage)
        if stopped := stopped_at_work(project, stage, repro):
            changed = change()
            stopped.resume()
            _, said = repro.communicate(timeout=120)
            return repro.returncode, said, changed
        _, said = repro.communicate(timeout=120)
        assert repro.returncode == 0, said
    raise AssertionError("the stage was done before it was stopped, five times")


def stopped_at_work(project: Project, stage: str, repro: "subprocess.Popen[str]") -> psutil.Process | None:
    """The process of the stage, stopped with its results unfinished; None if it was done before."""
    process = stage_process(repro, stage)
    while repro.poll() is None and not list(project.folder.glob(UNFINISHED[stage])):
        time.sleep(0.001)
    with contextlib.suppress(psutil.NoSuchProcess):
        process.suspend()
        if process.status() != psutil.STATUS_ZOMBIE and list(project.folder.glob(UNFINISHED[stage])):
            return process
        process.resume()
    return None


@pytest.mark.parametrize("stage", UNFINISHED)
def test_what_changes_while_a_stage_runs_is_never_recorded(built: Project, tmp_path: Path, stage: str):
    for number, change in enumerate(CHANGES):
        project = built.copy(tmp_path / str(number))
        lock = (project.folder / "dvc.lock").read_bytes()
        status, said, changed = disturbed(project, stage, lambda p=project, c=change: c(p, stage))
        assert status != 0, (change.__name__, said)
        assert (project.folder / "dvc.lock").read_bytes() == lock
        assert changed in said, said
        if change is change_param:  # the unrecorded result does not stand in the way of the right one
            project.run("git", "checkout", "-q", "params.yaml")
            project.run("dvc", "repro", "--single-item", stage)
            assert (project.folder / "dvc.lock").read_bytes() == lock
        shutil.rmtree(project.folder)


@pytest.mark.parametrize("change", FOLDER_CHANGES)
def test_files_of_a_plain_folder_that_change_while_it_is_extracted_are_never_recorded(
    built: Project, tmp_path: Path, change: Callable[[Path], str]
):
    project = built.copy(tmp_path / "project")
    lock = (project.folder / "dvc.lock").read_bytes()
    status, said, changed = disturbed(project, "extract@books", lambda: change(project.folder / "data/books"))
    assert status != 0, said
    assert (project.folder / "dvc.lock").read_bytes() == lock
    assert changed in said, said


@pytest.mark.parametrize(("stage", "output"), [("extract@books", "data/extracted/books"), ("select", "data/corpus")])
def test_a_param_that_changes_at_any_moment_is_recorded_with_its_own_result_or_not_at_all(
    built: Project, tmp_path: Path, stage: str, output: str
):
    project = built.copy(tmp_path / "project")
    section, key, value = PARAMS[stage]
    file = project.folder / "params.yaml"
    before = file.read_bytes()
    right = {before: project.lock()[stage]}
    project.edit_params(**{section: {key: value}})
    after = file.read_bytes()
    project.run("dvc", "repro", "--force", "--single-item", stage)
    right[after] = project.lock()[stage]
    assert right[before] != right[after]
    rng = random.Random(stage)  # noqa: S311 - moments, not secrets
    seconds, refused = working_seconds(project, stage), 0
    for _ in range(12):
        repro = begin(project, stage)
        process = stage_process(repro, stage)
        time.sleep(rng.uniform(0.1, 0.95) * seconds)
        with contextlib.suppress(psutil.NoSuchProcess):  # it was done already
            process.suspend()
            if not (project.folder / output / "manifest.json").exists():  # and so it has not compared, either
                file.write_bytes(before if file.read_bytes() == after else after)
            process.resume()
        repro.communicate(timeout=120)
        refused += repro.returncode != 0
        project.run("dvc", "repro", "--single-item", stage)
        assert project.lock()[stage] == right[file.read_bytes()]
        if refused == 2:
            break
    assert refused

"""`aura source`: params.yaml and dvc.yaml are edited together, or not at all."""

import os
from functools import partial
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.conftest import Project, new_project
from tests.extract.program import unprivileged


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The mini project before any run."""
    return new_project(tmp_path_factory.mktemp("fresh") / "project")


@pytest.fixture
def project(fresh: Project, tmp_path: Path) -> Project:
    return fresh.copy(tmp_path / "project")


def state(project: Project) -> tuple[dict[str, object], list[str]]:
    """The sources of params.yaml, and those that select depends on."""
    yaml = YAML(typ="safe")
    sources = yaml.load(project.folder / "params.yaml")["extract"]["sources"]
    deps = yaml.load(project.folder / "dvc.yaml")["stages"]["select"]["deps"]
    return sources, [dep.removeprefix("data/extracted/") for dep in deps if dep.startswith("data/extracted/")]


def refused(project: Project, *arguments: str) -> str:
    """What a refused command says; it must have changed nothing."""
    done = project.run("aura", "source", *arguments, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert project.run("git", "status", "--porcelain").stdout == ""
    return done.stderr


def test_adding_and_removing_gives_back_the_same_files(project: Project):
    (project.folder / "data/more").mkdir()
    (project.folder / "data/more/a.txt").write_text("some text")
    project.run("aura", "source", "add", "more", "data/more", "--documents", "line")
    sources, listed = state(project)
    assert sources["more"] == {"kind": "txt", "path": "data/more", "documents": "line"}
    assert listed == list(sources)
    project.run("aura", "source", "remove", "more")
    assert project.run("git", "status", "--porcelain").stdout == ""


def test_only_takes_the_others_out_with_their_caps(project: Project):
    project.edit_params(select={"caps": {"books": {"max_files": 3}}, "prefer": ["sample", "books"]})
    said = project.run("aura", "source", "add", "mine", "data/books", "--only").stdout
    assert "removed sample, books, posts, pinned" in said
    assert state(project)[1] == list(state(project)[0]) == ["mine"]
    project.run("aura", "source", "add", "sample", "data/sample.pin.json", "--only")
    assert state(project)[0] == {"sample": {"kind": "sample", "path": "data/sample.pin.json"}}


def test_the_kind_is_told_by_the_files_and_the_rest_is_named(project: Project):
    (project.folder / "data/posts/readme.txt").write_text("hello")
    assert "10 json files (not read: 1 .txt)" in project.run("aura", "source", "add", "more", "data/posts").stdout
    assert state(project)[0]["more"] == {"kind": "json", "path": "data/posts"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["add", "books", "data/books"], "the source books exists already"),
        (["add", "Books", "data/books", "--pin"], "expected a name that matches"),
        (["add", "all", "data"], "holds or is the output data/extracted"),
        (["add", "new", "data/nothing"], "there is no such file or folder"),
        (["add", "new", "data/posts", "--documents", "line"], "unknown key extract.sources.new.documents"),
        (["remove", "book"], "no source is named book"),
        (["scan", "books"], "the source books has no pin"),
        (["scan", "docstrings"], "docstrings is a source of conversations, not of text"),
    ],
)
def test_a_mistake_changes_nothing(project: Project, arguments: list[str], words: str):
    assert words in refused(project, *arguments)


def test_what_dvc_cannot_hash_is_refused_by_name_and_pinned_on_demand(project: Project):
    """DVC would hang at the FIFO and fail at the others, without saying where."""
    folder = project.folder / "data/mine"
    folder.mkdir()
    for name in ("good.txt", "secret.txt", os.fsdecode(b"latin-\xe9.txt")):
        (folder / name).write_text("a document")
    (folder / "circle.txt").symlink_to(folder / "circle.txt")
    (folder / "dangling.txt").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "pipe.txt")
    (folder / "secret.txt").chmod(0)
    run = partial(project.run, *unprivileged(folder / "secret.txt"), "aura", "source")
    before = project.run("git", "status", "--porcelain", "params.yaml", "dvc.yaml").stdout
    done = run("add", "mine", "data/mine", check=False)
    assert done.returncode == 1
    assert (
        "DVC cannot hash the folder data/mine: circle.txt (a link that leads nowhere: Too many levels of symbolic "
        "links); dangling.txt (a link that leads nowhere: No such file or directory); latin-\\xe9.txt (a name that is "
        "no valid UTF-8); pipe.txt (not a file: FIFO); secret.txt (no permission to read it). Remove them; or use --pin"
    ) in done.stderr
    assert project.run("git", "status", "--porcelain", "params.yaml", "dvc.yaml").stdout == before
    lost = (
        "6 txt files (not readable, counted as lost: circle.txt (unreadable: Too many levels of symbolic links); "
        "dangling.txt (unreadable: No such file or directory); pipe.txt (not a file: FIFO); "
        "secret.txt (unreadable: Permission denied))"
    )
    assert f"added mine: {lost}" in run("add", "mine", "data/mine", "--pin").stdout
    assert f"now describes {lost.replace(' txt', '')}" in run("scan", "mine").stdout


def test_a_pinned_name_must_be_new_and_its_folder_there(project: Project):
    assert "the source pinned exists already" in refused(project, "add", "pinned", "data/pinned", "--pin")
    (project.folder / "data/pinned").rename(project.folder / "data/elsewhere")
    done = project.run("aura", "source", "scan", "pinned", check=False)
    assert done.returncode == 1
    assert "No .txt or .md files found in data/pinned" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_last_source_stays(project: Project):
    project.run("aura", "source", "add", "mine", "data/books", "--only")
    done = project.run("aura", "source", "remove", "mine", check=False)
    assert "mine is the only source; add another one first" in done.stderr


def test_a_scan_takes_changed_files_in(project: Project):
    (project.folder / "data/pinned/new.txt").write_text("new text")
    assert "now describes 6 files" in project.run("aura", "source", "scan", "pinned").stdout

"""A command may be called in any folder of a project, and takes paths as they were typed there."""

import importlib
import os
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from aura.cli import app, commands, places


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    root = tmp_path / "project"
    for folder in (".dvc", "data/txt"):
        (root / folder).mkdir(parents=True)
    (root / "params.yaml").touch()
    (root / "data/txt/a.txt").touch()
    monkeypatch.chdir(root)
    yield root
    monkeypatch.chdir(root)
    places.enter_project()


def entered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    places.enter_project()


def test_a_path_is_taken_from_the_folder_that_it_was_typed_in(project: Path, monkeypatch: pytest.MonkeyPatch):
    entered(project / "data/txt", monkeypatch)
    assert Path.cwd() == project
    assert places.path("a.txt") == Path("data/txt/a.txt")
    assert places.path("../../models") == Path("models")
    assert places.path("../../../elsewhere") == project.parent / "elsewhere"
    assert places.path("/elsewhere/x") == Path("/elsewhere/x")
    assert places.path(Path("models/spm")) == Path("models/spm"), "a default is of the root"


def test_a_name_stays_a_name(project: Path, monkeypatch: pytest.MonkeyPatch):
    entered(project / "data", monkeypatch)
    for name in ("HEAD~1", "v1.0.0", "allenai/c4", "gs://bucket/texts", "models/spm"):
        assert places.path_or_name(name) == name
    assert places.path_or_name("txt") == "data/txt"
    assert places.path_or_name("txt/*.txt") == "data/txt/*.txt"
    assert places.path_or_name("./none") == "data/none"


def test_in_the_root_and_outside_of_projects_all_is_as_typed(project: Path, monkeypatch: pytest.MonkeyPatch):
    for folder in (project, project.parent):
        entered(folder, monkeypatch)
        assert Path.cwd() == folder
        assert places.path("../x") == Path("../x")
        assert places.path_or_name("./txt") == "./txt"


@pytest.mark.parametrize("name", [".dvc", "params.yaml"])
def test_a_project_of_another_account_above_is_not_entered(
    project: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    if os.geteuid():
        pytest.skip("only root may give a file to another account")
    os.chown(project / name, 12345, -1)
    entered(project / "data", monkeypatch)
    assert Path.cwd() == project / "data"
    assert f"{project} is a project of another account" in capsys.readouterr().err
    os.chown(project / "data", 12345, -1)  # a folder of the same account, such as a volume of a container
    entered(project / "data", monkeypatch)
    assert Path.cwd() == project


def test_the_command_line_goes_up_to_the_root(project: Path, monkeypatch: pytest.MonkeyPatch):
    (project / "params.yaml").write_text("a: 1\n")
    monkeypatch.chdir(project / "data/txt")
    done = CliRunner().invoke(app.app, ["source", "list"])
    assert "params.yaml: unknown key a" in str(done.exception)
    assert Path.cwd() == project


def every_command() -> Iterator[typing.Callable[..., object]]:
    for place, _ in (entry for group in commands.GROUPS.values() for entry in group.values()):
        module, _, name = place.partition(":")
        found = getattr(importlib.import_module(f"aura.cli.{module}"), name)
        if isinstance(found, typer.Typer):
            yield from (command.callback for command in found.registered_commands if command.callback)
        else:
            yield found


def test_every_argument_that_is_a_path_is_taken_so():
    for command in every_command():
        for name, kind in typing.get_type_hints(command, include_extras=True).items():
            if "Path" in str(typing.get_args(kind)[:1]):
                [info] = kind.__metadata__
                assert info.parser is places.path, f"{command.__name__}: {name}"

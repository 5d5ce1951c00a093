"""The set-up checks Python and git before it does anything, and says what to do."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

SUPPORTED = '#!/bin/sh\n[ "$1" = --version ] && echo Python 3.12.9 || echo "$0"\n'
TOO_OLD = '#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.1 || exit 1\n'


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """The PATH of a machine with no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bash", "grep", "head", "sed"):
        (folder / name).symlink_to(shutil.which(name) or name)
    return folder


def add(machine: Path, name: str, program: str) -> None:
    (machine / name).write_text(program)
    (machine / name).chmod(0o755)


def set_up(machine: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [machine / "bash", "set_up.sh", *arguments]
    return subprocess.run(
        command, cwd=REPOSITORY, env={"PATH": str(machine)}, capture_output=True, text=True, check=False
    )


def test_the_newest_supported_python_is_first(machine: Path):
    for name, program in {"python3.11": SUPPORTED, "python3.13": SUPPORTED, "python3.12": TOO_OLD}.items():
        add(machine, name, program)
    assert set_up(machine, "pythons").stdout.split() == [f"{machine}/python3.13", f"{machine}/python3.11"]


def test_a_supported_python_may_have_no_number_in_its_name(machine: Path):
    add(machine, "python3", SUPPORTED)
    assert set_up(machine, "pythons").stdout.split() == [f"{machine}/python3"]


@pytest.mark.parametrize("asked", ["", "python3.9", "nopython"])
def test_without_a_supported_python_one_line_says_which_are_and_what_to_do(asked: str, machine: Path, tmp_path: Path):
    add(machine, "python3.9", TOO_OLD)
    done = set_up(machine, str(tmp_path / "made"), "requirements.txt", asked)
    got = {"": "found none", "python3.9": "got Python 3.9.1", "nopython": "got no program that runs"}[asked]
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert "expected Python 3.11 to 3.13" in done.stderr
    assert got in done.stderr
    assert "Install one of" in done.stderr
    assert not (tmp_path / "made").exists()


def test_a_folder_that_no_environment_can_lie_in_is_refused(machine: Path, tmp_path: Path):
    add(machine, "python3.12", SUPPORTED)
    folder = tmp_path / 'say "hi"'
    folder.mkdir()
    for name in ("set_up.sh", "pyproject.toml", "requirements.txt"):
        shutil.copy(REPOSITORY / name, folder)
    command = [machine / "bash", "set_up.sh", ".venv", "requirements.txt"]
    environment = {"PATH": str(machine)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "expected a folder without" in done.stderr
    assert not (folder / ".venv").exists()


def test_outside_a_git_repository_make_says_what_to_do(tmp_path: Path):
    for name in ("Makefile", "set_up.sh", "pyproject.toml", "requirements.txt", "aura/core/dvc_environment.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, tmp_path / name)
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}
    done = subprocess.run(["make", "setup"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "git init && git add --all && git commit" in done.stderr
    assert not (tmp_path / ".venv").exists()

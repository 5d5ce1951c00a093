"""A disk that fills up at any moment of DVC's work: one message, an end in time, and right bytes once there is room."""

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, Project
from tests.tiny_pipeline import tiny_pipeline, undisturbed

pytestmark = pytest.mark.slow

DISK = 16_000_000  # bytes
TEXT = 300_000  # bytes of a file of the source


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", place], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"this needs the right to mount a tmpfs: {done.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture
def project(disk: Path) -> Project:
    project = tiny_pipeline(disk / "project")
    for path in (project.folder / "data/books").glob("[01].txt"):
        path.write_bytes(random.Random(path.name).randbytes(TEXT // 2).hex().encode())  # noqa: S311 - no secrets
    # What `make setup` puts into the environment, of this tree.
    (disk / "start").mkdir()
    (disk / "start/sitecustomize.py").write_text("from aura.core import dvc_environment\ndvc_environment.prepare()\n")
    project.environment["PYTHONPATH"] = os.pathsep.join([str(disk / "start"), str(REPOSITORY)])
    project.environment["PYTHONDONTWRITEBYTECODE"] = "1"
    return project


def fill(disk: Path, free: int) -> None:
    with (disk / "filling").open("wb") as file:
        for _ in range(max(shutil.disk_usage(disk).free - free, 0) // 4096):
            file.write(b"\0" * 4096)


def full(project: Project, *command: str) -> bool:
    """Run a command; whether it failed, which it must do in time, for the right reason, and with one message."""
    done = project.run(*command, check=False)  # ends with a `TimeoutExpired` after 240 s
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    assert "cache link types" not in said
    if done.returncode:
        assert ("the disk is full: " in said) + ("no space left" in said.lower()) == 1, said
    return done.returncode != 0


def test_a_build_on_a_full_disk_says_so_and_ends_right_once_there_is_room(disk: Path, project: Project):
    rng, failed = random.Random(14), 0  # noqa: S311 - moments, not secrets
    for _ in range(8):
        fill(disk, rng.randrange(10_000, 10 * TEXT))
        failed += full(project, "dvc", "repro")
        (disk / "filling").unlink()
        project.run("aura", "repair")
        project.run("dvc", "repro", "-q")
        assert (project.folder / "end.txt").read_text() == undisturbed(project)
        for path in ("dvc.lock", "made", "end.txt", "reports"):
            shutil.rmtree(project.folder / path, ignore_errors=True)
            (project.folder / path).unlink(missing_ok=True)
        shutil.rmtree(project.folder / ".dvc/cache")
    assert failed >= 4


@pytest.mark.parametrize("program", ["dvc", "aura"])
def test_a_pull_to_a_full_disk_says_so(disk: Path, project: Project, tmp_path: Path, program: str):
    project.run("dvc", "remote", "add", "-q", "--default", "store", str(tmp_path / "store"))
    project.run("dvc", "repro", "-q")
    project.run("aura", "push")
    for free in (TEXT // 2, 2 * TEXT, 5 * TEXT):
        for path in (".dvc/cache", "made", "reports"):
            shutil.rmtree(project.folder / path)
        (project.folder / "end.txt").unlink()
        fill(disk, free)
        failed = full(project, program, "pull")
        (disk / "filling").unlink()
        project.run("aura", "repair")
        project.run(program, "pull")
        assert (project.folder / "end.txt").read_text() == undisturbed(project)
        assert failed or free > 4 * TEXT

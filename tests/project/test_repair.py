"""`aura repair`: whatever is damaged, the next `dvc repro` ends in the bytes of an undisturbed run."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Project

PIPELINE = """stages:
  one: {cmd: mkdir mid && cp source.txt mid/a && rev source.txt > mid/b, deps: [source.txt], outs: [mid]}
  two: {cmd: cat mid/a mid/b > out.txt, deps: [mid], outs: [out.txt]}
  three: {cmd: cp out.txt end.txt, deps: [out.txt], outs: [end.txt]}
"""
TEXT = "some text\n" * 50
END = TEXT + "txet emos\n" * 50


def tiny_project(folder: Path, link: str = "copy") -> Project:
    folder.mkdir()
    project = Project(folder)
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / "source.txt").write_text(TEXT)
    project.run("git", "init", "-q")
    project.run("dvc", "init", "-q")
    (folder / ".dvc/config").write_text(f"[core]\n    analytics = false\n[cache]\n    type = {link}\n")
    return project


def flip(path: Path) -> None:
    """Change a byte in place; size, mode and time stay."""
    path = path.resolve()
    found = path.stat()
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    with path.open("r+b") as file:
        file.write(content)
    path.chmod(found.st_mode)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def empty(path: Path) -> None:
    """What a power cut leaves of a file that was not synced."""
    path.chmod(0o644)
    path.write_bytes(b"")
    path.chmod(0o444)


def objects(project: Project, suffix: str = "") -> list[Path]:
    found = sorted((project.folder / ".dvc/cache/files/md5").glob("??/*"))
    return [path for path in found if (path.suffix == ".dir") is (suffix == ".dir")]


def repair(project: Project, *options: str) -> "subprocess.CompletedProcess[str]":
    done = project.run("aura", "repair", *options, check=False)
    assert "Traceback" not in done.stderr
    return done


def ends_right(project: Project) -> None:
    project.run("dvc", "repro", "-q")
    assert (project.folder / "end.txt").read_text() == END
    assert (project.folder / "mid/b").read_text() == "txet emos\n" * 50


def check_read_damage(folder: Path, link: str) -> None:
    """Stage two reads a damaged file that DVC believes to be right."""
    project = tiny_project(folder, link)
    project.run("dvc", "repro", "-q", "one")
    flip(project.folder / "mid/a")
    project.run("dvc", "repro", "-q")
    assert (project.folder / "end.txt").read_text() != END, "DVC noticed it"
    done = repair(project)
    assert done.returncode == 0, done.stderr
    assert "two may have read damaged data" in done.stdout
    ends_right(project)


def test_what_came_of_a_damaged_intermediate_is_made_again(tmp_path: Path):
    check_read_damage(tmp_path / "project", "hardlink")


def test_what_a_power_cut_left_empty_is_made_again_and_a_second_repair_is_cheap(tmp_path: Path):
    project = tiny_project(tmp_path / "project")
    project.run("dvc", "repro", "-q")
    for path in objects(project):
        empty(path)
    (project.folder / "end.txt").unlink()
    (project.folder / "mid/b").unlink()
    assert repair(project).returncode == 0
    ends_right(project)


@pytest.mark.parametrize("user", [{"pid": 1, "cmd": "dvc repro"}, {"pid": os.getpid(), "cmd": "dvc repro -q"}])
def test_a_process_that_got_the_number_of_a_dead_dvc_blocks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: dict[str, object]
):
    import json

    from aura.project import dvc_state

    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / ".dvc/tmp/rwlock"
    path.write_text(json.dumps({"write": {"out": user}}))
    assert "has ended" in dvc_state.repair()[0]
    assert not path.exists()

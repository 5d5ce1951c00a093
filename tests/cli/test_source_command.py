"""What `aura source add` says of tracking, and `--track`."""

import subprocess
from pathlib import Path

import pytest

from aura.cli.source import add_source
from aura.core.errors import UserError
from aura.project import tracking, whole_params
from tests.conftest import REPOSITORY


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "data/txt").mkdir(parents=True)
    (tmp_path / "data/txt/a.txt").write_text("a text")
    for name in ("params.yaml", "dvc.yaml", "data/sample.pin.json", ".gitignore"):
        (tmp_path / name).write_bytes((REPOSITORY / name).read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_advice_to_track_names_what_was_entered(project: Path, capsys: pytest.CaptureFixture[str]):
    add_source("mine", "data/txt/*.txt")
    said = capsys.readouterr().out
    assert "data/txt is in neither git nor DVC" in said
    assert "Track it: dvc add data/txt; or" in said
    outside = project.parent / f"{project.name}-outside"
    outside.mkdir()
    (outside / "b.txt").write_text("a text")
    add_source("outside", str(outside))  # DVC would refuse to track it
    assert "neither git" not in capsys.readouterr().out
    add_source("pinned", "data/txt", pin=True)
    assert "neither git" not in capsys.readouterr().out
    assert tracking.untracked(whole_params.load().extract.sources) == {"mine": "data/txt"}
    assert tracking.notes() == [tracking.note("data/txt")]
    add_source("again", "data/sample.pin.json", only=True)
    assert "neither git" not in capsys.readouterr().out


def test_what_git_or_dvc_tracks_is_known(project: Path):
    subprocess.run(["git", "init", "-q"], check=True)
    assert not tracking.is_tracked("data/txt")
    subprocess.run(["git", "add", "-f", "data/txt/a.txt"], check=True)
    assert tracking.is_tracked("data/txt")
    subprocess.run(["git", "rm", "-q", "--cached", "data/txt/a.txt"], check=True)
    (project / "data/txt.dvc").touch()
    assert tracking.is_tracked("data/txt")
    assert tracking.is_tracked("data/txt/a.txt")
    assert not tracking.is_tracked("data/other")


def test_track_has_dvc_track_the_folder(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(project / ".site"))
    (project / ".dvc").mkdir()
    (project / ".dvc/config").touch()
    subprocess.run(["git", "init", "-q"], check=True)
    add_source("mine", "data/txt", track=True)
    assert "data/txt.dvc is added to git" in capsys.readouterr().out
    staged = subprocess.run(["git", "diff", "--cached", "--name-only"], capture_output=True, text=True, check=True)
    assert staged.stdout == "data/txt.dvc\n"
    assert tracking.notes() == []
    with pytest.raises(UserError, match="--track and --pin do not go together"):
        add_source("other", "data/txt", track=True, pin=True)

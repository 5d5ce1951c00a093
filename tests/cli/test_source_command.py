"""What `aura source add` says at its end."""

from pathlib import Path

import pytest

from aura.cli.source import add_source
from tests.conftest import REPOSITORY


def test_the_advice_to_track_names_what_was_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "data/txt").mkdir(parents=True)
    (tmp_path / "data/txt/a.txt").write_text("a text")
    for name in ("params.yaml", "dvc.yaml", "data/sample.pin.json"):
        (tmp_path / name).write_bytes((REPOSITORY / name).read_bytes())
    monkeypatch.chdir(tmp_path)
    add_source("mine", "data/txt/*.txt")
    assert "dvc add data/txt; or use --pin" in capsys.readouterr().out
    add_source("pinned", "data/txt", pin=True)
    assert "dvc add" not in capsys.readouterr().out
    add_source("again", "data/sample.pin.json", only=True)
    assert "dvc add" not in capsys.readouterr().out

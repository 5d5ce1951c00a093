"""`--help` of a stage shows help, other arguments are refused, and a mistake in params.yaml says how outputs return."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aura.core import stage_inputs
from aura.core.errors import UserError
from aura.stages import preamble
from tests.conftest import REPOSITORY


def test_a_stage_shows_its_help_as_a_file():
    done = subprocess.run(
        [sys.executable, "stages/select.py", "--help"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: python -m aura.stages.select\n" in done.stdout
    assert "dvc repro select" in done.stdout


@pytest.mark.parametrize(
    ("stage", "arguments", "usage"),
    [("extract", ["-h"], "stages.extract NAME\n"), ("export", ["--help"], "stages.export\n")],
)
def test_help_names_what_a_stage_takes(
    stage: str, arguments: list[str], usage: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "argv", [stage, *arguments])
    with pytest.raises(SystemExit):
        stage_inputs._arguments(stage, lambda: None)
    assert usage in capsys.readouterr().out


def test_arguments_that_a_stage_does_not_take_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["select", "books"])
    with pytest.raises(UserError, match=r"expected python -m aura.stages.select, got books besides"):
        stage_inputs._arguments("select", lambda: None)
    monkeypatch.setattr(sys, "argv", ["extract", "books"])
    stage_inputs._arguments("extract", lambda: None)


def test_a_mistake_in_params_says_how_the_outputs_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shutil.copy(REPOSITORY / "versions.json", tmp_path)
    text = (REPOSITORY / "params.yaml").read_text().replace("vocab_size: 8000", "vocab_size: many")
    (tmp_path / "params.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_STAGE", raising=False)
    with pytest.raises(UserError) as plain:
        preamble.check()
    monkeypatch.setenv("DVC_STAGE", "train_tokenizer")
    with pytest.raises(UserError) as under_dvc:
        preamble.check()
    assert str(under_dvc.value).startswith(str(plain.value))
    assert "dvc checkout train_tokenizer; or, once corrected: dvc repro" in str(under_dvc.value)

"""`aura results`: what is there, with its numbers; and commands that write reports leave nothing that git would see."""

import subprocess
from pathlib import Path

import pytest

from aura.cli.results import results
from aura.core import files, paths
from aura.core.errors import UserError
from tests.conftest import REPOSITORY


def test_results_are_those_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no project of aura"):
        results()
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "params.yaml").touch()
    with pytest.raises(UserError, match="nothing is made yet"):
        results()
    for folder in (paths.TOKENIZER, paths.LANGUAGE_MODEL):
        folder.mkdir(parents=True)
    paths.TOKENIZER_MODEL.touch()
    files.write_json(paths.VALIDATION / "metrics.json", {"vocab_size": 8000, "bytes_per_token": 3.07512})
    files.write_bytes(paths.PRETRAINING / "metrics.json", b"damaged")
    results()
    said = capsys.readouterr().out
    assert "8,000 pieces, 3.08 bytes per token of held-out text" in said
    assert "models/lm   not measured yet" in said
    assert "models/hf" not in said
    assert 'aura encode "Hello, world!"' in said
    assert 'aura sample "The' in said


@pytest.mark.parametrize("path", [paths.VOCABULARY_CURVE, paths.BITS_PER_BYTE / "runs.csv"])
def test_git_ignores_what_commands_write_beside_the_pipeline(path: Path):
    assert subprocess.run(["git", "check-ignore", "-q", path], cwd=REPOSITORY, check=False).returncode == 0

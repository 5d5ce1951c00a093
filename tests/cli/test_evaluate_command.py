"""`aura evaluate`: the sets that it takes, and options that do not go together."""

from pathlib import Path

import pytest

from aura.cli.evaluate import _sets, evaluate
from aura.core.errors import UserError
from tests.conftest import REPOSITORY


def test_without_sets_those_of_params_yaml_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    text = (REPOSITORY / "params.yaml").read_text(encoding="utf-8")
    assert "  evaluate: {}" in text
    (tmp_path / "params.yaml").write_text(text.replace("  evaluate: {}", "  evaluate: {own: own.txt}"))
    monkeypatch.chdir(tmp_path)
    assert _sets(None, needed=True) == {"own": Path("own.txt")}
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(UserError, match="aura evaluate --set NAME=PATH"):
        _sets(None, needed=True)


def test_options_of_lm_eval_without_it_are_refused():
    with pytest.raises(UserError, match=r"--limit.* are for the tasks of --lm-eval"):
        evaluate(sets=["a=b.txt"], limit=10)

"""`aura repair` ends with what is wrong in params.yaml, so that `make` stops before DVC removes any output."""

from pathlib import Path

import pytest

from aura.cli import repair
from aura.core.errors import UserError
from aura.sharing.verified import Verified
from tests.conftest import REPOSITORY


def test_a_mistake_in_params_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Verified, "nothing_new", lambda _: True)
    text = (REPOSITORY / "params.yaml").read_text()
    Path("params.yaml").write_text(text)
    repair.repair()
    Path("params.yaml").write_text(text.replace("vocab_size:", "vocab_sise:"))
    with pytest.raises(UserError, match=r"unknown key train_tokenizer\.vocab_sise"):
        repair.repair()

"""Imports point downwards, as pyproject.toml draws the layers; an upward one is found."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = ["lint-imports", "--no-cache", "--no-logo"]
    environment = os.environ | {"PYTHONPATH": str(folder)}  # before the installed one
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("aura/core/files.py", "from aura.storage import cache"),
        ("aura/select/select.py", "from aura.extract import extract"),
        ("aura/tpu/pod_run.py", "import stages.pretrain"),
    ],
)
def test_a_planted_upward_import_breaks_a_contract(tmp_path: Path, module: str, line: str):
    for name in ("aura", "stages"):
        shutil.copytree(REPOSITORY / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    assert lint_imports(tmp_path).returncode == 0
    with (tmp_path / module).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")
    broken = lint_imports(tmp_path)
    assert broken.returncode == 1
    assert "1 broken" in broken.stdout

"""Imports point downwards, as pyproject.toml draws the layers; an upward one is found."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

IMPORT = re.compile(r"from ((?:aura|stages)(?:\.\w+)*) import (\w+(?:, \w+)*)|import ((?:aura|stages)(?:\.\w+)+)")


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
        ("aura/tpu/pod_run.py", "import aura.stages.pretrain"),
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


def is_there(module: str, name: str) -> bool:
    """Whether `from module import name` can work; names in files are not looked for, as importing JAX takes seconds."""
    place = REPOSITORY / module.replace(".", "/")
    if not place.is_dir():
        return place.with_suffix(".py").exists()
    inside = (place / "__init__.py").read_text(encoding="utf-8")
    return (place / f"{name}.py").exists() or (place / name).is_dir() or f" {name}" in inside


@pytest.mark.parametrize("folder", ["tests", "benchmarks"])
def test_imports_are_there_also_in_programs_that_stand_in_strings(folder: str):
    gone = []
    for path in (REPOSITORY / folder).rglob("*.py"):
        for module, names, whole in IMPORT.findall(path.read_text(encoding="utf-8")):
            named = [(module, name) for name in names.split(", ")] if module else [whole.rsplit(".", 1)]
            gone += [f"{path.name}: {module}.{name}" for module, name in named if not is_there(module, name)]
    assert not gone

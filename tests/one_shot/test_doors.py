"""The guide's doors: each module at a path that the guide names only forwards, and its names are there."""

import ast
import re
import subprocess
import sys
from importlib import import_module

import pytest

from tests.conftest import REPOSITORY

DOORS = [
    path
    for folder in ("data", "ingestion", "self_teaching_llm")
    for path in (REPOSITORY / "aura" / folder).rglob("*.py")
]
PROGRAMS = ("aura/data/hf_stream.py", "aura/self_teaching_llm/build_aura_model.py")


@pytest.mark.parametrize("path", DOORS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_door_only_forwards(path):
    docstring, *body = ast.parse(path.read_text()).body
    assert isinstance(docstring, ast.Expr)
    assert all(isinstance(node, ast.ImportFrom | ast.Assign | ast.If) for node in body)
    assert {node.module.rpartition(".")[0] for node in body if isinstance(node, ast.ImportFrom)} <= {"aura.one_shot"}


def test_every_import_of_the_guide_works():
    text = (REPOSITORY / "docs/guide.md").read_text(encoding="utf-8")
    named = re.findall(r"^from ((?:aura|stages)[\w.]*) import (\w+)$", text, re.MULTILINE)
    assert named
    assert all(hasattr(import_module(module), name) for module, name in named)


@pytest.mark.parametrize("path", PROGRAMS)
@pytest.mark.parametrize("how", ["file", "module"])
def test_a_program_runs_as_a_file_and_as_a_module(path: str, how: str):
    given = [path] if how == "file" else ["-m", path.removesuffix(".py").replace("/", ".")]
    done = subprocess.run(
        [sys.executable, *given, "--help"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert f"Usage: python {path}" in done.stdout

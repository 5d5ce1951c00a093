"""The looks at a stage's inputs in a process beside the stage: the same findings, and an end with the stage."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY

PIPELINE = """
stages:
  select:
    cmd: python -m aura.stages.select
    deps: [data/books]
    params: [select]
    outs: [reports/inputs/select.json]
"""
# A stage of the real package; it waits between its looks until the test lets it go on.
STAGE = """
import sys, time
from pathlib import Path
import aura.stages
from aura.core import looks, stage_inputs
beside = stage_inputs._beside[0]
print(beside.begun(), beside._process, flush=True)
sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/books").mkdir(parents=True)
    Path("data/books/0.txt").write_text("A text.")
    Path("dvc.yaml").write_text(PIPELINE)
    Path("params.yaml").write_text("select: {held_out: 0.1}\n")


# A program of its own, because no process in which another test began JAX may fork.
LOOK = """
import json, os, signal, sys
from pathlib import Path
from aura.core import looks
from aura.core.errors import UserError
exec(sys.argv[4])
try:
    look = getattr(looks, sys.argv[1])("select", [])
    name = look.begun()
    exec(sys.argv[2])
    print(json.dumps([name, look.account(json.loads(sys.argv[3]))]))
except UserError as error:
    print(json.dumps(str(error)))
"""
KINDS = pytest.mark.parametrize("kind", ["Look", "Beside"])


def looked(kind: str, meanwhile: str = "", texts: Sequence[str] = (), before: str = "") -> Any:
    """What a look gives if something happens between its two parts: the name and the account, or the mistake."""
    command = [sys.executable, "-c", LOOK, kind, meanwhile, json.dumps(texts), before]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


@KINDS
def test_both_give_the_same_account(kind: str):
    name, account = looked(kind, texts=[Path("params.yaml").read_text()])
    assert name == "select"
    assert account["deps"] == {"data/books": {"nfiles": 1, "size": 7}}
    assert account["params"] == {"params.yaml": {"select": {"held_out": 0.1}}}


@KINDS
def test_both_tell_a_change(kind: str):
    told = looked(kind, "Path('data/books/0.txt').write_text('Another.')")
    assert "changed while select ran: data/books/0.txt" in told


@KINDS
def test_a_text_of_params_that_was_put_back_is_told_after_the_second_look(kind: str):
    told = looked(kind, "look.all_read()", ["select: {held_out: 0.2}\n"])
    assert re.search(r"select in params.yaml .*0\.1.*0\.2", told)


@KINDS
def test_a_mistake_in_dvc_yaml_is_told(kind: str):
    Path("dvc.yaml").write_text("stages: {}\n")
    assert "expected a stage select" in looked(kind)


def test_a_fault_of_the_machine_is_one_line():
    full = "def inputs(name): raise OSError(28, 'full', 'a file')\nlooks.Inputs = inputs"
    assert looked("Beside", before=full).startswith("no space left on the disk while writing a file")


def test_a_look_that_something_kills_is_told():
    kill = "os.kill(look._process, signal.SIGKILL); os.waitid(os.P_PID, look._process, os.WEXITED | os.WNOWAIT)"
    assert "ended early" in looked("Beside", kill)


@KINDS
def test_without_a_pipeline_nothing_is_compared(kind: str):
    Path("dvc.yaml").unlink()
    assert looked(kind) == [None, None]


def test_the_process_ends_with_a_stage_that_is_killed():
    script = f"import sys; sys.argv = ['-m']; sys.orig_argv = ['python', '-m', 'aura.stages.select']\n{STAGE}"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as stage:
        assert stage.stdout is not None
        name, beside = stage.stdout.readline().split()
        assert name == "select"
        os.kill(int(beside), signal.SIGINT)  # as a terminal sends to all: the stage alone tells it
        stage.kill()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and _runs(int(beside)):
        time.sleep(0.01)
    assert not _runs(int(beside))


def _runs(process: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return False

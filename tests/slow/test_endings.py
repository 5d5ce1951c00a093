"""However a program of ours is ended, it leaves no traceback: Ctrl-C, outputs that take nothing, and few resources."""

import errno
import json
import os
import random
import resource
import shlex
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import Project

pytestmark = pytest.mark.slow
INTERRUPTED = 130
STAGES = {
    name: [sys.executable, "-m", f"aura.stages.{name}"] for name in ("select", "train_tokenizer", "validate", "encode")
}
PROGRAMS = STAGES | {
    "extract": [sys.executable, "-m", "aura.stages.extract", "books"],
    "why": [sys.executable, "-m", "aura", "why"],
    "sources": [sys.executable, "-m", "aura", "source", "list"],
}
# Of the first 0.1 s, most is Python's own start: in an environment of `make setup`, its hook quiets that, too.
PYTHON_STARTS = 0.1
MOMENTS = {"extract": 24, "validate": 24, "sources": 48}  # of a Ctrl-C


# Sets limits, then becomes the program. `preexec_fn` would fork this process, in which another test may have begun JAX.
LIMITED = """
import json, os, resource, sys
for which, value in json.loads(sys.argv[1]).items():
    resource.setrlimit(int(which), (value, value))
os.execv(sys.argv[2], sys.argv[2:])
"""


def run(project: Project, command: list[str]) -> tuple[int, str]:
    """Exit status and standard error of a program."""
    done = subprocess.run(
        command, cwd=project.folder, env=project.environment, capture_output=True, text=True, timeout=100,
        stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr


def require_words(said: str) -> None:
    """Fail if a program left a traceback, or ended in the words of C++."""
    for words in ("Traceback", "Exception ignored", "terminate called", "Fatal Python error", "OpenBLAS"):
        assert words not in said, said


@pytest.mark.parametrize("name", MOMENTS)
def test_ctrl_c_at_any_moment_is_one_line(project: Project, name: str):
    """Moments are spread evenly over the program's life: from its start to its end, not as many as fit into a time."""
    run(project, PROGRAMS[name])
    began = time.monotonic()
    run(project, PROGRAMS[name])
    takes, chosen, ended = time.monotonic() - began, random.Random(7), []  # noqa: S311 - reproducible, not secret
    for number in range(MOMENTS[name]):
        child = subprocess.Popen(
            PROGRAMS[name], cwd=project.folder, env=project.environment, stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL, text=True, start_new_session=True,
        )  # fmt: skip
        moment = PYTHON_STARTS + (takes - PYTHON_STARTS) * (number + chosen.random()) / MOMENTS[name]
        time.sleep(moment)
        os.killpg(child.pid, signal.SIGINT) if child.poll() is None else None
        said = child.communicate(timeout=60)[1]
        require_words(said)
        lines = said.splitlines()
        assert child.returncode in (0, INTERRUPTED, -signal.SIGINT), said  # the last one: Python had ended its own work
        assert sum(line.startswith("error: ") for line in lines) == (child.returncode == INTERRUPTED), said
        ended.append(child.returncode)
        if child.returncode == 0:  # it was done before: the machine was busier when the program's time was taken
            takes = max(min(takes, 1.05 * moment), 2 * PYTHON_STARTS)
    assert ended.count(INTERRUPTED) > len(ended) / 4
    project.run(*PROGRAMS[name])


@pytest.mark.parametrize("name", ["select", "why", "sources"])
@pytest.mark.parametrize("output", [">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full", "| head -c 0"])
def test_an_output_that_takes_nothing_is_at_most_one_line(project: Project, name: str, output: str):
    status, said = run(project, ["bash", "-c", f"set -o pipefail; {shlex.join(PROGRAMS[name])} {output}"])
    require_words(said)
    assert len(said.splitlines()) <= 1
    if name == "select" or ">/dev/full" != output != "| head -c 0":
        assert status == 0, said  # a stage's outputs are whole, and nobody must read what it says
    else:
        assert status == (1 if output == ">/dev/full" else 128 + signal.SIGPIPE)
        assert said == "" or os.strerror(errno.ENOSPC) in said


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize(
    "limits",
    [
        *({resource.RLIMIT_AS: megabytes << 20} for megabytes in (300, 1100, 2200)),
        *({resource.RLIMIT_NOFILE: files} for files in (6, 9, 14)),
        # A thread's stack that fits into no memory: no thread begins.
        {resource.RLIMIT_AS: 40 << 30, resource.RLIMIT_STACK: 60 << 30},
    ],
    ids=lambda limits: "-".join(f"{value}" for value in limits.values()),
)
def test_few_resources_are_one_line(project: Project, name: str, limits: dict[int, int]):
    limited = [sys.executable, "-I", "-S", "-c", LIMITED, json.dumps(limits)]
    status, said = run(project, [*limited, *PROGRAMS[name]])
    require_words(said)
    assert status in (0, 1), said
    assert sum(line.startswith("error: ") for line in said.splitlines()) == status, said


@pytest.mark.parametrize("text", ["x: " + "[" * 3000, "x: " + "9" * 5000, "a: ["])
@pytest.mark.parametrize("file", ["dvc.yaml", "dvc.lock", "data/x.dvc", "params.yaml"])
def test_yaml_that_nobody_can_read_is_one_line(project: Project, file: str, text: str):
    (project.folder / file).write_text(text + "\n", encoding="utf-8")
    for command in (["why"], ["doctor"], ["gc"]):
        status, said = run(project, [sys.executable, "-m", "aura", *command])
        require_words(said)
        assert (status, len(said.splitlines())) == (1, 1), said

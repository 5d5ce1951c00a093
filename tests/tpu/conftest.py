"""The stand-in cloud, and a small project that can be launched there."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aura.project import whole_params
from aura.tpu.gcloud import Gcloud
from aura.tpu.pod import Pod
from aura.tpu.settings import PodSettings, Settings
from aura.tpu.topology import accelerator
from tests.conftest import REPOSITORY

# What a worker has as python3.11: the environment of the tests stands for the one that pip would make. `pip install`
# checks what it is asked for, and that the locked versions are the ones at hand; libtpu has no use on a CPU.
PYTHON = """#!{python}
import importlib.metadata, json, os, re, sys
arguments = sys.argv[1:]
if arguments[:2] == ["-m", "venv"]:
    os.makedirs(arguments[-1] + "/bin", exist_ok=True)
    for name in ("python", "python3", "python3.11"):
        os.path.lexists(path := arguments[-1] + "/bin/" + name) or os.symlink(__file__, path)
elif arguments[:3] == ["-m", "pip", "install"]:
    assert "--require-hashes" in arguments, arguments
    for name in (arguments[i + 1] for i, word in enumerate(arguments) if word == "-r"):
        for package, version in re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\\\]+)", open(name).read(), re.M):
            if package in ("jax", "jaxlib", "numpy"):
                assert importlib.metadata.version(package) == version, package
else:
    # A TPU slice numbers its processes as it likes: order.json has the number of the process that gets each number.
    order = os.path.join(os.environ.get("STANDIN_CLOUD", ""), "order.json")
    if "AURA_PROCESS" in os.environ and os.path.exists(order):
        os.environ["AURA_PROCESS"] = str(json.load(open(order))[int(os.environ["AURA_PROCESS"])])
    os.execv("{python}", ["{python}", *arguments])
"""


class Cloud:
    """The stand-in's folder, and what a test does to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir(parents=True)
        standin = REPOSITORY / "tests/tpu/gcloud.py"
        self.gcloud = f'#!/bin/sh\nexec {sys.executable} -I -S {standin} "$@"\n'
        self.program("gcloud", self.gcloud)
        self.program("python3.11", PYTHON.replace("{python}", sys.executable))
        self.program("python3", f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')  # of a worker: with no package

    def program(self, name: str, text: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def environment(self) -> dict[str, str]:
        """Variables for programs that are to meet this cloud."""
        path = f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return {"STANDIN_CLOUD": str(self.folder), "PATH": path, "JAX_PLATFORMS": "cpu"}

    def trouble(self, text: str) -> None:
        (self.folder / "trouble.json").write_text(text)

    def order(self, numbers: list[int]) -> None:
        """Which process of a run each worker becomes, whatever the launcher numbers it."""
        (self.folder / "order.json").write_text(json.dumps(numbers))

    def has_gcloud(self) -> bool:
        """Whether the program that would be found as `gcloud` is the stand-in."""
        found = shutil.which("gcloud")
        return found is not None and Path(found).read_text() == self.gcloud

    def calls(self) -> list[str]:
        return (self.folder / "calls.jsonl").read_text().splitlines()

    def home(self, index: int, node: str = "pod") -> Path:
        return self.folder / "workers" / node / str(index)


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """An empty cloud that this process, too, finds as `gcloud`; it answers here, not in a process of its own."""
    from tests.tpu import gcloud as standin

    made, run = Cloud(tmp_path / "cloud"), subprocess.run
    standin.CLOUD = made.folder

    def answered(command: list[str], **options: Any) -> "subprocess.CompletedProcess[Any]":
        return standin.answer(command[1:]) if command[0] == "gcloud" and made.has_gcloud() else run(command, **options)

    monkeypatch.setattr("aura.tpu.gcloud.subprocess.run", answered)
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def pod(cloud: Cloud):  # noqa: ARG001 - a fixture can ask for another one in no other way
    """A pod that does not exist yet: two workers, and no patience."""
    from tests.tpu import gcloud as standin

    made = Pod(Gcloud("us-central2-b", "test-project", pause=0.02), "pod", accelerator("v4-16"), spot=True)
    yield made
    standin.remove("pod")  # no process outlives a test


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """This repository's own code and params, with a tokenizer and tokens of a few bytes."""
    monkeypatch.chdir(REPOSITORY)
    tokenizer, tokens = tmp_path / "spiece.model", tmp_path / "tokens"
    tokens.mkdir()
    tokenizer.write_bytes(b"a tokenizer")
    for name in ("0.npy", "manifest.json"):
        (tokens / name).write_text("{}")
    values = whole_params.changed(whole_params.load(), {"pretrain.checkpoint_folder": str(tmp_path / "checkpoints")})
    return Settings(PodSettings(name="pod", zone="us-central2-b"), values, tokenizer, tokens)

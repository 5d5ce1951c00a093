"""The extraction program itself, run in a bare folder: `python -m aura.stages.extract NAME`."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML

from tests.conftest import REPOSITORY


def unprivileged(secret: Path) -> list[str]:
    """A command that runs another without the right to read the file `secret`, which root has; empty if not needed."""
    if not os.access(secret, os.R_OK):
        return []
    if not shutil.which("setpriv"):
        pytest.skip("this user may read every file, and there is no setpriv to give that right away")
    return ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]


class Program:
    """A folder with params.yaml and what else the program reads, with one source, `mine`, at data/mine."""

    def __init__(self, folder: Path, source: dict[str, Any], **settings: Any) -> None:
        self.folder, self.data = folder, folder / "data/mine"
        self.data.mkdir(parents=True)
        for name in ("versions.json", "aura/ingestion/lexicon.tsv"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / name)
        values = YAML(typ="safe").load(REPOSITORY / "params.yaml")
        values["extract"] |= settings | {"sources": {"mine": {"path": "data/mine"} | source}}
        YAML().dump(values, folder / "params.yaml")

    def start(self, prefix: Sequence[str] = (), **environment: str) -> "subprocess.Popen[str]":
        """Start the program in a process group of its own; `prefix` is a command that runs it."""
        command = [*prefix, sys.executable, "-m", "aura.stages.extract", "mine"]
        variables = os.environ | {"PYTHONPATH": str(REPOSITORY), "AURA_CACHE": ""} | environment
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
        return subprocess.Popen(command, cwd=self.folder, env=variables, **options)

    def run(self, prefix: Sequence[str] = (), **environment: str) -> subprocess.CompletedProcess[str]:
        """Run to the end, whatever the result."""
        with self.start(prefix, **environment) as program:
            out, err = program.communicate(timeout=540)
        return subprocess.CompletedProcess(program.args, program.returncode, out, err)

    def manifest(self) -> dict[str, Any]:
        return json.loads((self.folder / "data/extracted/mine/manifest.json").read_text(encoding="utf-8"))

    def lost(self) -> dict[str, dict[str, int]]:
        """What the manifest says was lost, per file."""
        return {file["file"]: file["lost"] for file in self.manifest()["files"] if file["lost"]}

    def rows(self) -> list[dict[str, Any]]:
        found = sorted((self.folder / "data/extracted/mine").glob("*.parquet"))
        return [row for path in found for row in pq.read_table(path).to_pylist()]

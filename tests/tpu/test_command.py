"""`aura tpu` and the guide's script as a user meets them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aura.cli import app
from tests.conftest import REPOSITORY
from tests.tpu.conftest import Cloud


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "160", **environment}
    return subprocess.run(command, cwd=REPOSITORY, env=variables, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("verb", "told"),
    [
        ("setup", "install the locked packages"),
        ("launch_optimized", "Train on the pod"),
        ("launch_pretrain_hf_optimized", "Train on the pod"),
        ("describe", "Say what is there"),
        ("tail", "end of a worker's log"),
    ],
)
def test_the_guides_script_forwards(verb: str, told: str, tmp_path: Path):
    """To a command that does what the verb says; the rest of the line goes through as it is."""
    for folder in ("stages", "bin"):
        (tmp_path / folder).mkdir()
    script = shutil.copy(REPOSITORY / "stages/gcloud_tpu_multihost_optimized.sh", tmp_path / "stages")
    (tmp_path / "bin/python").write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    (tmp_path / "bin/python").chmod(0o755)
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = run("bash", script, verb, "--name", "two words", PATH=path)
    assert done.returncode == 0, done.stderr
    *command, option, value = done.stdout.splitlines()
    assert (command[:3], option, value) == (["-m", "aura", "tpu"], "--name", "two words")
    helped = CliRunner().invoke(app.app, [*command[2:], "--help"])
    assert helped.exit_code == 0
    assert told in helped.stdout


def test_a_pod_is_created_looked_at_and_deleted_by_its_name_alone(cloud: Cloud):
    where = cloud.environment() | {"NAME": "mine", "ZONE": "us-central2-b", "ACCELERATOR": ""}
    aura = (sys.executable, "-m", "aura", "tpu")
    made = run(*aura, "create", "--accelerator", "v4-16", **where)
    assert "mine (v4-16, us-central2-b) is ready. It costs 8 chips" in made.stdout, made.stderr
    assert "mine (v4-16, us-central2-b) is gone" in run(*aura, "delete", **where).stdout
    gone = run(*aura, "stop", **where)
    assert gone.returncode == 1
    assert "there is no pod mine" in gone.stderr
    assert "Traceback" not in gone.stderr


def test_a_missing_zone_is_told(cloud: Cloud):
    done = run(sys.executable, "-m", "aura", "tpu", "status", ZONE="", **cloud.environment())
    assert done.returncode == 1
    assert "ZONE=us-central2-b" in done.stderr

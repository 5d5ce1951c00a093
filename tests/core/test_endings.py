"""What a user can mend is worded in one line, with what to do; the libraries' own words and causes are in it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.exceptions import DvcException
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from scmrepo.exceptions import SCMError

from aura.core import dvc_environment, endings


def worded(error: BaseException) -> str:
    words = endings.worded(error)
    assert words
    assert "\n" not in words
    return words


def test_refusals_of_libraries_are_one_line_with_their_cause():
    refused = DvcException("unable to read: 'dvc.yaml', YAML file\nstructure is corrupted.")
    refused.__cause__ = ValueError("line 3, column 1")
    assert worded(refused) == (
        "DVC: unable to read: 'dvc.yaml', YAML file structure is corrupted (line 3, column 1). See: git diff"
    )
    assert worded(SCMError("x is not a git repository")).endswith("Work in a clone, or run: git init")
    with pytest.raises(YAMLError) as caught:
        YAML().load("a: [")
    assert worded(caught.value).startswith("a YAML file cannot be read: while parsing")


def test_another_python_is_told_to_use_the_projects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    absent = ModuleNotFoundError("No module named 'rich'", name="rich.text")
    assert worded(absent).endswith("Run: make setup; then the same command again")
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/activate").touch()
    assert "the package rich is not installed in" in worded(absent)
    assert "source .venv/bin/activate" in worded(absent)
    assert endings.worded(ModuleNotFoundError("a fault of ours", name="aura.nothing")) is None


def test_a_stage_without_its_packages_says_so():
    """Under a Python with the same code and none of the packages, as where the environment is not activated."""
    done = subprocess.run(
        [sys.executable, "-S", "-m", "stages.select"], cwd=Path(__file__).parents[2], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "is not installed in" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_old_python_is_told_first():
    program = "import sys; sys.version_info = (3, 9); import aura"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: aura needs Python 3.11 or newer, and this is 3.9. Run: source .venv")
    assert done.stderr.count("\n") == 1


def test_ctrl_c_in_code_that_is_run_from_a_string_ends_with_the_same_status(tmp_path: Path):
    """As in the making of a dataclass: Python notes it, and a module run by -m would end itself by SIGINT."""
    lines = (
        "from aura.core import endings",
        "try:",
        "    exec('raise KeyboardInterrupt')",
        "except KeyboardInterrupt:",
        "    endings.interrupted()",
    )
    (tmp_path / "program.py").write_text("\n".join(lines))
    done = subprocess.run(
        [sys.executable, "-m", "program"], cwd=tmp_path, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (endings.INTERRUPTED, 1)


def test_programs_of_the_environment_are_found_though_it_is_not_activated(monkeypatch: pytest.MonkeyPatch):
    own = str(Path(sys.executable).parent)
    for program, found in ((f"{own}/dvc", f"{own}{os.pathsep}/usr/bin"), ("/usr/bin/other", "/usr/bin")):
        monkeypatch.setenv("PATH", "/usr/bin")
        monkeypatch.setattr(sys, "orig_argv", [sys.executable, program, "repro"])
        dvc_environment._find_own_programs()
        assert os.environ["PATH"] == found

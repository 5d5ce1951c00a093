"""One lock for all Pythons: one version of each package, and what decides bytes is there with each of them."""

import json
import re
import tomllib

import pytest

from aura.core.errors import UserError
from aura.core.libraries import DECISIVE
from aura.project.lock_versions import locked
from tests.conftest import REPOSITORY


def test_versions_json_is_what_the_lock_says():
    requirements = (REPOSITORY / "requirements.txt").read_text(encoding="utf-8")
    assert json.loads((REPOSITORY / "versions.json").read_text(encoding="utf-8")) == locked(requirements)


def test_libraries_that_decide_bytes_are_locked_for_every_supported_python():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    beyond = re.fullmatch(r">=3\.11,<(3\.\d+)", project["requires-python"])
    assert beyond
    lines = (REPOSITORY / "requirements.txt").read_text(encoding="utf-8").splitlines()
    for name in DECISIVE:
        [line] = [line for line in lines if line.startswith(f"{name}==")]
        assert f"python_full_version < '{beyond[1]}'" in line


def test_a_package_in_two_versions_is_refused():
    lock = "a==1 ; python_full_version < '3.12' \\\n    --hash=sha256:00\na==2 ; python_full_version >= '3.12'\nb==3\n"
    with pytest.raises(UserError, match=r"one version of a for all Pythons"):
        locked(lock)

"""`aura --version`, and the version in pyproject.toml and CHANGELOG.md."""

import re
import tomllib
from importlib import metadata

from typer.testing import CliRunner

from aura.cli.app import app
from tests.conftest import REPOSITORY

KINDS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]


def test_the_version_is_that_of_the_installed_package():
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.output) == (0, f"aura {metadata.version('aura')}\n")


def test_the_help_still_says_what_aura_is():
    assert "Builds tokenizers" in CliRunner().invoke(app, ["--help"]).output


def test_the_changelog_begins_with_the_version_of_the_package():
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    headings = re.findall(r"^## \[(\S+)\](.*)$", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE)
    released = [(name, date) for name, date in headings if name != "Unreleased"]
    assert released[0][0] == version
    assert all(re.fullmatch(r" - \d{4}-\d\d-\d\d", date) for _, date in released)


def test_changes_stand_under_their_kinds_in_order():
    for section in re.split(r"^## ", (REPOSITORY / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[1:]:
        kinds = re.findall(r"^### (.+)$", section, re.MULTILINE)
        assert kinds == [kind for kind in KINDS if kind in kinds]

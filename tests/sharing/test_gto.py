"""Versions by GTO's grammar: pre-releases, their order, and deprecations, against GTO itself."""

import subprocess
from pathlib import Path

import pytest
from gto import api

from aura.core.errors import UserError
from aura.sharing import versions

ORDER = [
    *("v1.0.0-1", "v1.0.0-2", "v1.0.0-10", "v1.0.0-alpha", "v1.0.0-alpha.1", "v1.0.0-alpha.beta", "v1.0.0-beta.2"),
    *("v1.0.0-beta.11", "v1.0.0-rc.1", "v1.0.0", "v1.1.0-rc.1", "v1.1.0", "v1.9.0", "v1.10.0", "v2.0.0"),
]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("GIT_AUTHOR", "GIT_COMMITTER"):
        monkeypatch.setenv(f"{name}_NAME", "test")
        monkeypatch.setenv(f"{name}_EMAIL", "test@example.com")
    (tmp_path / "a").touch()
    for command in (["init", "-q"], ["config", "user.name", "t"], ["config", "user.email", "t@e"], ["add", "a"]):
        subprocess.run(["git", *command], check=True)
    subprocess.run(["git", "commit", "-qm", "a"], check=True)
    return tmp_path


def test_versions_are_listed_in_their_order_and_nothing_else_is(project: Path):
    for version in reversed(ORDER):
        subprocess.run(["git", "commit", "-q", "--allow-empty", "-m", version], check=True)
        api.register(str(project), "tokenizer", "HEAD", version=version, simple=True)
    api.assign(str(project), "tokenizer", version="v1.0.0", stage="prod", simple=True)
    api.deregister(str(project), "tokenizer", version="v1.10.0", simple=True)
    api.deregister(str(project), "tokenizer", version="v1.0.0-rc.1", simple=False)
    subprocess.run(["git", "tag", "tokenizer@draft"], check=True)
    found = versions.listed(".")
    assert [entry.version for entry in found] == ORDER[::-1]
    assert {entry.version for entry in found if entry.deprecated} == {"v1.10.0", "v1.0.0-rc.1"}
    api.deprecate(str(project), "tokenizer", simple=True)
    assert all(entry.deprecated for entry in versions.listed("."))


@pytest.mark.parametrize("version", ORDER)
def test_every_version_can_be_published_and_fetched(version: str):
    assert versions.tag_of(version) == f"tokenizer@{version}"


@pytest.mark.parametrize(
    "version", ["v1", "1.0.0", "v01.0.0", "v1.0.0-", "v1.0.0-a_b", "v1.0.0!", "v1.0.0-a..b", "v1.0.0 "]
)
def test_what_is_no_version_is_refused(version: str):
    with pytest.raises(UserError, match="expected a version such as"):
        versions.tag_of(version)

"""A project in a subfolder of its git repository (`dvc init --subdir`): what works there, and what is refused."""

import subprocess
from pathlib import Path

import pytest

from aura.core.errors import UserError
from aura.project import housekeeping, kept, why
from aura.sharing import publish, versions
from tests.conftest import REPOSITORY


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    (folder / ".dvc").mkdir(parents=True)
    (folder / ".dvc/config").touch()
    (folder / ".dvc/.gitignore").write_text("/cache\n/tmp\n")
    (folder / "params.yaml").write_bytes((REPOSITORY / "params.yaml").read_bytes())
    monkeypatch.chdir(folder)
    monkeypatch.setenv("AURA_CACHE", "")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    for command in (["init", "-q", ".."], ["config", "user.name", "t"], ["config", "user.email", "t@e"]):
        subprocess.run(["git", *command], check=True)
    commit("data.dvc", "a1" * 16)
    return folder


def commit(name: str, md5: str) -> None:
    Path(name).write_text(f"outs:\n- md5: {md5}\n  hash: md5\n  path: data\n")
    subprocess.run(["git", "add", "-A"], check=True)
    subprocess.run(["git", "commit", "-qm", name], check=True)


def test_publishing_is_refused_with_the_reason(project: Path):
    with pytest.raises(UserError, match="root of its git repository, got it in the folder project"):
        publish.publish("v1.0.0", None, None)
    assert subprocess.run(["git", "tag"], capture_output=True, check=True).stdout == b""
    subprocess.run(["git", "tag", "-am", "by hand", "tokenizer@v1.0.0"], check=True)
    assert [entry.version for entry in versions.listed(".")] == ["v1.0.0"]
    with pytest.raises(UserError, match="expected a DVC project in the root of the repository"):
        versions.fetched("tokenizer@v1.0.0", f"file://{project.parent}")


def test_gc_keeps_what_the_subfolder_committed_and_not_what_others_did(project: Path):
    subprocess.run(["git", "stash", "push", "-qu"], check=True)
    for md5, needed in (("a1" * 16, True), ("b2" * 16, False)):
        path = project / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
        path.parent.mkdir(parents=True)
        path.write_text("content")
        assert needed == (md5 == "a1" * 16)
    subprocess.run(["git", "rm", "-q", "data.dvc"], check=True)
    subprocess.run(["git", "commit", "-qm", "gone"], check=True)
    commit("../other.dvc", "b2" * 16)
    assert "a1" * 16 in kept.outputs(project)
    assert "b2" * 16 not in kept.outputs(project)
    with housekeeping.find_deletable(cloud=False, older_than=0) as [rubbish]:
        assert rubbish.count == 1
        rubbish.remove()
    assert [path.name for path in (project / ".dvc/cache/files/md5").glob("*/*")] == ["a1" * 15]


def test_reasons_are_told_since_a_commit(project: Path):
    for name in ("dvc.yaml", "dvc.lock", "versions.json"):
        (project / name).write_bytes((REPOSITORY / name).read_bytes())
    subprocess.run(["git", "add", "-A"], check=True)
    subprocess.run(["git", "commit", "-qm", "pipeline"], check=True)
    (project / "data.dvc").unlink()
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("held_out: 0.05", "held_out: 0.1"))
    assert any("held_out" in reason for reason in why.why("select", "HEAD")["select"])

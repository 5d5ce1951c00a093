"""Merging dvc.lock: stage by stage, in git, without a word where it can be done and with the stage's name where not."""

import hashlib
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aura.project import lock_merge
from tests.conftest import REPOSITORY, Project

LOCK = (REPOSITORY / "dvc.lock").read_text(encoding="utf-8")
STAGES = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 3))


def test_what_is_written_is_what_dvc_writes():
    assert lock_merge.dump(lock_merge.stages_of(LOCK)).decode() == LOCK


@given(STAGES, STAGES, STAGES)
def test_each_stage_comes_from_the_side_that_changed_it(base: dict, ours: dict, theirs: dict):
    merged, conflicts = lock_merge.merge(base, ours, theirs)
    for name in base | ours | theirs:
        old, mine, other = base.get(name), ours.get(name), theirs.get(name)
        if name in conflicts:
            assert mine != other
            assert old not in (mine, other)
            assert name not in merged
        else:
            assert merged.get(name) == (other if mine == old else mine)
            assert mine == other or old in (mine, other)


@given(STAGES, STAGES, STAGES)
def test_both_sides_get_the_same(base: dict, ours: dict, theirs: dict):
    one, other = lock_merge.merge(base, ours, theirs), lock_merge.merge(base, theirs, ours)
    assert one[0] == other[0]
    assert sorted(one[1]) == sorted(other[1])


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path / "project")
    project.folder.mkdir()
    project.environment["PYTHONPATH"] = str(REPOSITORY)
    (project.folder / ".gitattributes").write_bytes((REPOSITORY / ".gitattributes").read_bytes())
    project.run("git", "init", "-q", "-b", "main")
    commit(project, LOCK)
    return project


def commit(project: Project, text: str) -> None:
    (project.folder / "dvc.lock").write_text(text, encoding="utf-8")
    project.run("git", "add", "-A")
    project.run("git", "commit", "-qm", "lock")


def with_command(text: str, stage: str, command: str) -> str:
    assert f"cmd: python -m aura.stages.{stage}\n" in text
    return text.replace(f"cmd: python -m aura.stages.{stage}\n", f"cmd: python -m aura.stages.{stage} {command}\n")


def diverge(project: Project, ours: str, theirs: str) -> None:
    project.run("git", "checkout", "-qb", "theirs")
    commit(project, theirs)
    project.run("git", "checkout", "-q", "main")
    commit(project, ours)


def test_changes_of_different_stages_merge_without_a_word(project: Project):
    project.run(sys.executable, "-m", "aura", "lock", "register")
    diverge(project, with_command(LOCK, "encode", "ours"), with_command(LOCK, "pretrain", "theirs"))
    done = project.run("git", "merge", "-q", "--no-edit", "theirs")
    assert (done.stdout, done.stderr) == ("Auto-merging dvc.lock\n", "")  # git's own word
    expected = with_command(with_command(LOCK, "encode", "ours"), "pretrain", "theirs")
    assert (project.folder / "dvc.lock").read_text() == expected


@pytest.mark.parametrize("registered", [True, False])
def test_a_stage_that_both_changed_stops_the_merge_and_resolve_names_it(project: Project, registered: bool):
    if registered:
        project.run(sys.executable, "-m", "aura", "lock", "register")
    ours = with_command(with_command(LOCK, "encode", "ours"), "select", "ours")
    diverge(project, ours, with_command(with_command(LOCK, "encode", "theirs"), "pretrain", "theirs"))
    done = project.run("git", "merge", "--no-edit", "theirs", check=False)
    assert done.returncode != 0
    assert ("both sides changed encode. Next: aura lock resolve" in done.stderr) is registered
    resolved = project.run(sys.executable, "-m", "aura", "lock", "resolve").stdout
    assert "encode: both sides changed it, so it must be rebuilt" in resolved
    project.run("git", "commit", "-qm", "merged")
    stages = lock_merge.stages_of((project.folder / "dvc.lock").read_text())
    assert "encode" not in stages
    assert stages["select"]["cmd"].endswith("ours")
    assert stages["pretrain"]["cmd"].endswith("theirs")


def test_without_a_conflict_resolve_says_so(project: Project):
    done = project.run(sys.executable, "-m", "aura", "lock", "resolve", check=False)
    assert done.returncode == 1
    assert "neither dvc.lock nor anything that stages make has a conflict" in done.stderr


REPORT = "reports/validate/metrics.json"


def with_report(project: Project, text: str, stage: str, content: str) -> str:
    """A dvc.lock in which a stage made its report with this content, which is written."""
    path = project.folder / (REPORT if stage == "validate" else f"reports/{stage}/metrics.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    stages = lock_merge.stages_of(with_command(text, stage, content.strip()))
    [out] = [out for out in stages[stage]["outs"] if out["path"] == path.relative_to(project.folder).as_posix()]
    out["md5"] = hashlib.md5(content.encode(), usedforsecurity=False).hexdigest()
    return lock_merge.dump(stages).decode()


@pytest.mark.parametrize("deleted", [False, True])
def test_reports_in_conflict_are_settled_with_their_stage(project: Project, *, deleted: bool):
    """Both sides changed validate; and pretrain, to the same, but its report conflicts because of a stray edit."""
    commit(project, with_report(project, with_report(project, LOCK, "validate", "base\n"), "pretrain", "base\n"))
    base = (project.folder / "dvc.lock").read_text().replace(" base", "")
    project.run("git", "checkout", "-qb", "theirs")
    text = with_report(project, with_report(project, base, "validate", "theirs\n"), "pretrain", "theirs\n")
    if deleted:
        (project.folder / REPORT).unlink()
    (project.folder / "notes.txt").write_text("theirs\n")
    commit(project, text)
    project.run("git", "checkout", "-q", "main")
    text = with_report(project, base, "validate", "ours\n")
    (project.folder / "reports/pretrain/metrics.json").write_text("stray\n")
    (project.folder / "notes.txt").write_text("ours\n")
    commit(project, text.replace("aura.stages.pretrain\n", "aura.stages.pretrain base\n"))
    assert project.run("git", "merge", "-q", "theirs", check=False).returncode
    done = project.run(sys.executable, "-m", "aura", "lock", "resolve")
    assert "validate: both sides changed it" in done.stdout
    assert project.run("git", "diff", "--name-only", "--diff-filter=U").stdout == "notes.txt\n", "a user's own file"
    assert (project.folder / "reports/pretrain/metrics.json").read_text() == "theirs\n"
    assert (project.folder / REPORT).read_text() == "ours\n"
    project.run("git", "add", "notes.txt")
    project.run("git", "commit", "-qm", "merged")


def test_reports_alone_in_conflict_are_settled(project: Project):
    """Both sides ended with one dvc.lock, and a report differs: one was edited by hand."""
    commit(project, with_report(project, LOCK, "validate", "base\n"))
    project.run("git", "checkout", "-qb", "theirs")
    commit(project, made := with_report(project, LOCK, "validate", "theirs\n"))
    project.run("git", "checkout", "-q", "main")
    (project.folder / REPORT).write_text("stray\n")
    commit(project, made)
    assert project.run("git", "merge", "-q", "theirs", check=False).returncode
    project.run(sys.executable, "-m", "aura", "lock", "resolve")
    assert (project.folder / REPORT).read_text() == "theirs\n"
    project.run("git", "commit", "-qm", "merged")

"""`aura gc --delete` against random histories of real git: what git can still give back keeps its data, and no more."""

import hashlib
import json
import os
import random
import subprocess
from pathlib import Path

import pytest

from aura.project import housekeeping, kept
from tests.conftest import REPOSITORY

CACHE = Path(".dvc/cache/files/md5")


class History:
    """A project whose every state names one new object in DVC's cache, and a note of which must stay."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.random, self.count = folder, random.Random(seed), 0  # noqa: S311 - no secret
        self.needed: set[Path] = set()
        self.free: set[Path] = set()
        self.stashed: list[set[Path]] = []
        self.aside: list[tuple[Path, set[Path]]] = []
        self.git("init", "-q", "-b", "main")
        (folder / ".dvc").mkdir()
        (folder / ".dvc/config").touch()
        (folder / ".gitignore").write_text("/.dvc/cache\n/.dvc/tmp\n/aside*\n")
        (folder / "params.yaml").write_bytes((REPOSITORY / "params.yaml").read_bytes())
        self.commit()

    def git(self, *arguments: str, where: Path | None = None) -> str:
        done = subprocess.run(["git", *arguments], cwd=where or self.folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def write(self, where: Path | None = None, name: str = "data.dvc") -> set[Path]:
        """Another state: a file, or a folder of one file, that no earlier state had; returns its objects."""
        self.count += 1
        content = b"%d " % self.count * self.count
        md5 = self._put(content, "")
        objects, oid = {md5}, md5.parent.name + md5.name
        if self.count % 2:
            listing = json.dumps([{"md5": oid, "relpath": "file"}]).encode()
            objects.add(folder := self._put(listing, ".dir"))
            oid = folder.parent.name + folder.name
        text = f"outs:\n- md5: {oid}\n  hash: md5\n  path: {name.removesuffix('.dvc')}\n"
        ((where or self.folder) / name).write_text(text + "# " * self.count)
        return objects

    def _put(self, content: bytes, suffix: str) -> Path:
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        path = self.folder / CACHE / md5[:2] / (md5[2:] + suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def commit(self, where: Path | None = None) -> None:
        objects = self.write(where)
        self.git("add", "-A", where=where)
        self.git("commit", "-qm", "state", where=where)
        if where in (None, self.folder):
            self.needed |= objects
        else:
            dict(self.aside)[where].update(objects)

    def reset(self) -> None:
        self.commit()
        self.git("reset", "-q", "--hard", "HEAD~1")

    def branch_and_delete(self) -> None:
        self.git("checkout", "-qb", "passing")
        self.commit()
        self.git("checkout", "-q", "main")
        self.git("branch", "-qD", "passing")

    def stash(self) -> None:
        objects = self.write()
        if self.random.random() < 0.5:
            objects |= self.write(name="untracked.dvc")
        self.git("stash", "push", "-qu")
        self.stashed.append(objects)

    def drop_stash(self) -> None:
        if self.stashed:
            place = self.random.randrange(len(self.stashed))
            self.git("stash", "drop", "-q", f"stash@{{{len(self.stashed) - 1 - place}}}")
            self.free |= self.stashed.pop(place)

    def queue(self) -> None:
        """As DVC queues an experiment: an entry of a stash of its own."""
        self.needed |= self.write()
        entry = self.git("stash", "create")
        self.git("update-ref", "--create-reflog", "-m", "dvc-exp:", "refs/exps/celery/stash", entry)
        self.git("reset", "-q", "--hard")

    def undo(self) -> None:
        """What was never committed, and nothing but the cache has."""
        self.free |= self.write()
        self.git("checkout", "-q", "--", ".")

    def add_worktree(self) -> None:
        place = self.folder / f"aside{self.count}"
        self.git("worktree", "add", "-q", "--detach", str(place))
        self.aside.append((place, set()))
        self.commit(place)
        self.commit(place)
        self.git("reset", "-q", "--hard", "HEAD~1", where=place)

    def remove_worktree(self) -> None:
        if self.aside:
            place, objects = self.aside.pop(self.random.randrange(len(self.aside)))
            self.git("worktree", "remove", "--force", str(place))
            self.free |= objects

    def leave_work_behind(self) -> None:
        """In each worktree, one state in the index and another in the files."""
        for place in (self.folder, *(place for place, _ in self.aside)):
            self.needed |= self.write(place)
            self.git("add", "-A", where=place)
            self.needed |= self.write(place)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("NAME", "test"), ("EMAIL", "test@example.com")):
        monkeypatch.setenv(f"GIT_AUTHOR_{name}", value)
        monkeypatch.setenv(f"GIT_COMMITTER_{name}", value)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize("seed", range(4))
def test_what_git_can_give_back_stays_and_the_rest_goes(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AURA_CACHE", "")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / ".dvc/tmp/site"))
    history = History(tmp_path, seed)
    actions = [getattr(history, name) for name in ("commit", "reset", "branch_and_delete", "stash", "queue", "undo")]
    actions += [history.stash, history.drop_stash, history.add_worktree, history.remove_worktree]
    for action in [*actions, *history.random.choices(actions, k=8)]:
        action()
    history.leave_work_behind()
    needed = history.needed.union(*history.stashed, *(objects for _, objects in history.aside))
    assert history.free
    assert needed | history.free == set((tmp_path / CACHE).glob("*/*"))
    with housekeeping.find_deletable(cloud=False, older_than=1) as found:
        assert found == [], "all of it is young"
    with housekeeping.find_deletable(cloud=False, older_than=0) as found:
        for rubbish in found:
            rubbish.remove()
    assert set((tmp_path / CACHE).glob("*/*")) == needed


def _merge(history: History) -> None:
    history.git("merge", "-q", "other")


def _rebase(history: History) -> None:
    history.git("rebase", "-q", "--autostash", "other")


def _cherry_pick(history: History) -> None:
    history.git("cherry-pick", "other")


@pytest.mark.usefixtures("names")
def test_an_experiment_that_runs_aside_keeps_what_it_has_written_so_far(tmp_path: Path) -> None:
    history = History(tmp_path, 0)
    aside = tmp_path / kept.EXPERIMENTS / "standalone/abc"
    history.git("clone", "-q", str(tmp_path), str(aside))
    needed = history.write(aside)
    history.git("add", "-A", where=aside)
    history.git("commit", "-qm", "of the experiment", where=aside)
    needed |= history.write(aside, "other.dvc")
    named = {CACHE / oid[:2] / oid[2:] for oid in kept.outputs(tmp_path)}
    assert len({path.relative_to(tmp_path) for path in needed} & named) == 2


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize("begin", [_merge, _rebase, _cherry_pick])
@pytest.mark.parametrize("linked", [False, True])
def test_what_an_unfinished_merge_or_rebase_needs_is_known(
    begin, *, linked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No reflog helps here: it is expired, and the branch that is merged is gone."""
    (tmp_path / "main").mkdir()
    history = History(tmp_path / "main", 0)
    history.git("checkout", "-qb", "other")
    history.commit()
    other = history.git("rev-parse", "HEAD")
    history.git("checkout", "-q", "main")
    if linked:
        history.git("worktree", "add", "-q", "-b", "here", str(tmp_path / "linked"))
        monkeypatch.setattr(history, "folder", tmp_path / "linked")
    history.commit()
    before = history.git("rev-parse", "HEAD")
    if begin is _rebase:
        (history.folder / "params.yaml").write_text("edited\n")
    with pytest.raises(subprocess.CalledProcessError):
        begin(history)
    history.git("branch", "-qD", "other")
    history.git("reflog", "expire", "--expire=now", "--all")
    assert {before, other} <= kept.commits(tmp_path / "main")


def test_a_record_that_cannot_be_read_keeps_all_that_it_may_name() -> None:
    """A dvc.lock with the marks of a conflict, committed as it was."""
    text = "stages:\n<<<<<<< ours\n  a: {outs: [{md5: %s, path: x}]}\n=======\n  md5: %s.dir\n>>>>>>> theirs\n"
    names = ("1" * 32, "2" * 32)
    assert {oid for oid, _ in kept._outputs_of(text % names)} == {names[0], f"{names[1]}.dir"}
    assert list(kept._outputs_of("")) == []

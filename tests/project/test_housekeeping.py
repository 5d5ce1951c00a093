"""`aura gc`: what anyone can still ask for stays, in the cache and in the bucket; what goes is said before."""

import fcntl
import json
import os
import secrets
import shutil
from pathlib import Path

import pytest

from aura.core.errors import UserError
from aura.project import housekeeping
from aura.sharing import transfer
from aura.storage import placement, shard_lists
from tests.bucket import Bucket, clone, connect, contents, copy_small
from tests.conftest import REPOSITORY, Project


@pytest.fixture
def here(bucket: Bucket, small_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A pushed project, and in its cache one object that no commit names."""
    project = connect(copy_small(small_template, tmp_path / "here"), bucket.address)
    shutil.copy(REPOSITORY / "params.yaml", project.folder)
    shutil.copytree(REPOSITORY / "aura", project.folder / "aura", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", bucket.address)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.setenv("AURA_CACHE", "")
    monkeypatch.chdir(project.folder)
    return project


def find(*, cloud: bool, older_than: float) -> list[housekeeping.Deletable]:
    with housekeeping.find_deletable(cloud=cloud, older_than=older_than) as found:
        return found


def change(project: Project, text: str) -> None:
    """Another state of data/, tracked and pushed, its commit still to be made."""
    (project.folder / "data/000").unlink(missing_ok=True)
    (project.folder / "data/000").write_text(text)
    project.run("dvc", "add", "-q", "data")


def test_nothing_goes_until_asked_and_only_what_no_one_needs(here: Project, bucket: Bucket):
    transfer.push([])
    change(here, "never committed")
    transfer.push([])
    here.run("git", "checkout", "-q", "data.dvc")
    here.run("dvc", "checkout", "-q")
    before = contents(here.folder / ".dvc/cache"), set(bucket.objects())
    found = find(cloud=True, older_than=0)
    assert {rubbish.kind: rubbish.count for rubbish in found} == {
        "objects in DVC's cache": 2,
        "objects in gs://aura-tests/team": 2,
    }
    assert (contents(here.folder / ".dvc/cache"), set(bucket.objects())) == before
    assert find(cloud=True, older_than=1) == [], "a run may have made it a moment ago"
    for rubbish in found:
        rubbish.remove()
    assert find(cloud=True, older_than=0) == []
    assert "never committed" not in [path.read_text() for path in bucket.objects().values()]
    assert here.run("dvc", "status", "-c").stdout == "Cache and remote 'store' are in sync.\n"


@pytest.mark.slow
def test_branches_tags_and_a_colleagues_branch_stay(here: Project, bucket: Bucket, tmp_path: Path):
    transfer.push([])
    for kind, keep in (("branch", ["git", "checkout", "-qb", "other"]), ("tag", ["git", "checkout", "-q", "--detach"])):
        here.run(*keep)
        change(here, f"on a {kind}")
        here.run("git", "commit", "-qam", kind)
        if kind == "tag":
            here.run("git", "tag", "kept")
        transfer.push([])
        here.run("git", "checkout", "-q", "main")
        here.run("dvc", "checkout", "-q")
    colleague = clone(here, tmp_path / "colleague")
    colleague.run("git", "checkout", "-qb", "theirs")
    (colleague.folder / "data").mkdir()
    (colleague.folder / "data/000").write_text("of a colleague")
    colleague.run("dvc", "add", "-q", "data")
    colleague.run("dvc", "push", "-q")
    colleague.run("git", "commit", "-qam", "theirs")
    colleague.run("git", "push", "-q", "origin", "theirs")
    assert find(cloud=True, older_than=0) == []
    texts = [path.read_text() for path in bucket.objects().values()]
    assert {"on a branch", "on a tag", "of a colleague"} <= set(texts)


def test_without_knowing_what_others_need_the_bucket_is_left_alone(here: Project):
    here.run("git", "remote", "remove", "origin")
    with pytest.raises(UserError, match="has no git remote, so what others need is not known"):
        find(cloud=True, older_than=0)


def test_without_a_remote_a_folder_whose_list_is_nowhere_needs_nothing(here: Project):
    here.run("dvc", "remote", "remove", "store")
    change(here, "never committed")
    here.run("git", "checkout", "-q", "data.dvc")
    for path in (here.folder / ".dvc/cache").glob("files/md5/??/*.dir"):
        path.unlink()
    assert [rubbish.kind for rubbish in find(cloud=False, older_than=0)] == ["objects in DVC's cache"]


@pytest.mark.parametrize("most_lines", [4096, pytest.param(0, marks=pytest.mark.slow)])
def test_shards_in_the_store_stay_as_long_as_any_list_names_them(
    here: Project, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_lines: int
):
    """A branch whose lists are in the bucket alone, and the workspace; one shard is named by nobody.

    With no line for a shard, each list is one of inner lists, which stay, too.
    """
    monkeypatch.setattr(shard_lists, "MOST_LINES", most_lines)
    place = placement.of("gs://aura-tests/team/shards")
    text = (here.folder / "params.yaml").read_text()
    (here.folder / "params.yaml").write_text(text.replace("store: null", f"store: {place.store.url}"))

    def put(name: str) -> tuple[str, placement.Kept]:
        (tmp_path / name).write_text(f"a shard, {name}")
        stored = place.store.put(tmp_path / name)
        return stored.uri.removeprefix("gs://aura-tests/team/"), placement.Kept(
            None, {here.folder / "data/shard.parquet": stored}
        )

    transfer.push([])
    here.run("git", "checkout", "-qb", "other")
    needed = set()
    for name in ("other", "workspace"):
        uri, kept = put(name)
        needed.add(uri)
        placement.write_lists([kept])
        if not most_lines:
            [inner] = json.loads((here.folder / "data/shards.json").read_text())["lists"]
            needed.add(inner["uri"].removeprefix("gs://aura-tests/team/"))
        here.run("dvc", "add", "-q", "data")
        if name == "other":
            here.run("git", "commit", "-qam", name)
            transfer.push([])
            shutil.rmtree(here.folder / ".dvc/cache/files")
    unused, _ = put("nobody")
    found = {rubbish.kind: rubbish for rubbish in find(cloud=True, older_than=0)}
    shards = found["shards in gs://aura-tests/team/shards"]
    assert (shards.count, shards.bytes) == (1, len("a shard, nobody"))
    assert {*needed, unused} <= set(bucket.objects()), "nothing goes until asked"
    assert "shards in gs://aura-tests/team/shards" not in {rubbish.kind for rubbish in find(cloud=True, older_than=1)}
    shards.remove()
    assert needed <= set(bucket.objects())
    assert len(needed) == (2 if most_lines else 4)
    assert unused not in bucket.objects()


def test_checkpoints_go_when_no_one_went_on_with_them(here: Project):
    for name, age in (("old", 30), ("new", 1)):
        run = here.folder / ".aura/checkpoints" / name
        run.mkdir(parents=True)
        (run / "state").write_text("weights")
        for path in (run / "state", run):
            written = path.stat().st_mtime - age * housekeeping.DAY
            os.utime(path, (written, written))
    (rubbish,) = find(cloud=False, older_than=14)
    rubbish.remove()
    assert [path.name for path in (here.folder / ".aura/checkpoints").iterdir()] == ["new"]


def test_no_other_dvc_runs_until_all_is_removed(here: Project):
    with housekeeping.find_deletable(cloud=False, older_than=0):
        done = here.run("dvc", "commit", "-f", "data.dvc", check=False)
    assert done.returncode
    assert "Unable to acquire lock" in done.stderr


def test_what_killed_commands_left_unfinished_goes_and_what_is_being_written_stays(here: Project):
    left = [
        Path(".data.0123abcd.partial"),
        Path(".removed source.89abcdef.partial"),
        Path(".aura/.verified.json.partial"),
    ]
    at_work = Path(".data.00000000.partial")
    for folder in (*left[:2], at_work):
        (folder / "inner").mkdir(parents=True)
        (folder / "inner/file").write_text("half")
    left[2].parent.mkdir(exist_ok=True)
    left[2].write_text("{")
    Path(".data.partial.txt").write_text("the user's")
    copied = Path(f".{secrets.token_urlsafe(16)}.tmp")  # as DVC leaves it where a copy fails
    copied.write_text("hal")
    lock = os.open(at_work, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_SH)
    [found] = [one for one in find(cloud=False, older_than=14) if "unfinished" in one.kind]
    assert (found.count, found.bytes) == (4, 12)
    assert all(path.exists() for path in (*left, copied)), "removed before anybody asked"
    with left[2].open() as again:  # its writer was started again in the meantime
        fcntl.flock(again, fcntl.LOCK_EX)
        found.remove()
        assert [path for path in (*left, copied, at_work) if path.exists()] == [left[2], at_work]
    assert here.run("aura", "gc", "--delete").stdout.startswith(
        "removed 1 unfinished outputs that killed commands left, 1 "
    )
    os.close(lock)
    assert Path(".data.partial.txt").exists()

"""`aura gc --cloud` keeps in the bucket what git keeps: each of these takes a dozen runs of DVC."""

import shutil
from pathlib import Path

import pytest

from aura.project import housekeeping
from aura.sharing import transfer
from aura.storage import placement
from tests.bucket import Bucket, clone
from tests.conftest import Project
from tests.project.test_housekeeping import change, find, here

__all__ = ["here"]
pytestmark = pytest.mark.slow


def test_stashes_and_a_colleagues_experiment_stay_in_the_bucket(here: Project, bucket: Bucket, tmp_path: Path):
    """Two stash entries and one that was dropped; an experiment that only the git remote has."""
    transfer.push([])
    for text in ("dropped", "first", "second"):
        change(here, text)
        transfer.push([])
        here.run("git", "stash", "-q")
        here.run("dvc", "checkout", "-q")
    here.run("git", "stash", "drop", "-q", "stash@{2}")
    shutil.rmtree(here.folder / ".dvc/cache/files")  # so that lists are fetched from the bucket
    colleague = clone(here, tmp_path / "colleague")
    (colleague.folder / "data").mkdir()
    (colleague.folder / "data/000").write_text("an experiment")
    colleague.run("dvc", "add", "-q", "data")
    colleague.run("dvc", "push", "-q")
    colleague.run("git", "commit", "-qam", "theirs")
    colleague.run("git", "push", "-q", "origin", "HEAD:refs/exps/ab/cdef/theirs")
    with housekeeping.find_deletable(cloud=True, older_than=0) as found:
        for rubbish in found:
            rubbish.remove()
    texts = {path.read_text() for path in bucket.objects().values()}
    assert {"first", "second", "an experiment"} <= texts
    assert "dropped" not in texts


def test_shards_that_only_a_stash_or_reflog_lists_stay_whatever_the_stores_address_is_now(
    here: Project, bucket: Bucket, tmp_path: Path
):
    place = placement.of("gs://aura-tests/team/shards")
    needed = {}
    transfer.push([])
    for name in ("stashed", "reset", "nobody"):
        (tmp_path / name).write_text(f"a shard, {name}")
        stored = place.store.put(tmp_path / name)
        needed[name] = stored.uri.removeprefix("gs://aura-tests/team/")
        placement.write_lists([placement.Kept(None, {here.folder / "data/shard.parquet": stored})])
        if name != "nobody":
            here.run("dvc", "add", "-q", "data")
            transfer.push([])
        here.run("git", "stash", "-q") if name == "stashed" else here.run("git", "commit", "-qam", "x", check=False)
        here.run("git", "reset", "-q", "--hard", "origin/main")
        here.run("dvc", "checkout", "-q", "-f")
    text = (here.folder / "params.yaml").read_text()
    (here.folder / "params.yaml").write_text(text.replace("store: null", "store: gcs://aura-tests/team/shards"))
    found = {rubbish.kind: rubbish for rubbish in find(cloud=True, older_than=0)}
    found["shards in gcs://aura-tests/team/shards"].remove()
    there = set(bucket.objects())
    assert {needed["stashed"], needed["reset"]} <= there
    assert needed["nobody"] not in there

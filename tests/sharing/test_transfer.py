"""Push and pull against a real server: what moves is compared with its hash on both sides; nothing is left unsaid."""

import os
from pathlib import Path

import pytest

from aura.core.errors import UserError
from aura.sharing import delivery, transfer
from tests.bucket import Bucket, clone, connect, contents, copy_small
from tests.conftest import Project

FILES = 12


@pytest.fixture
def here(bucket: Bucket, small_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A pushed project, which is the working directory."""
    project = connect(copy_small(small_template, tmp_path / "here"), bucket.address)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", bucket.address)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.chdir(project.folder)
    assert len(transfer.push([]).names) == FILES + 1
    return project


@pytest.fixture
def there(here: Project, tmp_path: Path) -> Project:
    return clone(here, tmp_path / "there")


def name_of(bucket: Bucket, content: bytes) -> str:
    return next(name for name, path in bucket.objects().items() if path.read_bytes() == content)


def test_what_is_pushed_is_pulled_and_moves_once(here: Project, there: Project, monkeypatch: pytest.MonkeyPatch):
    assert transfer.push([]).names == set()
    monkeypatch.chdir(there.folder)
    assert len(transfer.pull([]).names) == FILES + 1
    assert contents(there.folder / "data") == contents(here.folder / "data")
    assert transfer.pull([]).names == set()
    assert there.run("dvc", "status", "-q").returncode == 0
    assert not list((there.folder / ".dvc/cache").glob(".arriving-*"))


def test_plain_dvc_works_on_the_same_bucket(bucket: Bucket, here: Project, there: Project):
    there.run("dvc", "pull", "-q")
    assert contents(there.folder / "data") == contents(here.folder / "data")
    (there.folder / "data/new").write_text("by dvc")
    there.run("dvc", "add", "-q", "data")
    there.run("dvc", "push", "-q")
    assert name_of(bucket, b"by dvc")


def test_an_object_deleted_in_the_bucket_is_named_and_pushed_again(
    bucket: Bucket, here: Project, there: Project, monkeypatch: pytest.MonkeyPatch
):
    gone = name_of(bucket, (here.folder / "data/003").read_bytes())
    bucket.delete(gone)
    monkeypatch.chdir(there.folder)
    with pytest.raises(UserError, match=rf"data/003 \({gone}\) is not in the bucket\n.* has it, run: aura push$"):
        transfer.pull([])
    assert not (there.folder / "data").exists()
    monkeypatch.chdir(here.folder)
    assert transfer.push([]).names == {gone}
    monkeypatch.chdir(there.folder)
    assert len(transfer.pull([]).names) == 1
    assert contents(there.folder / "data") == contents(here.folder / "data")


@pytest.mark.parametrize("silently", [False, True])
def test_an_object_with_other_bytes_never_arrives_and_is_mended(
    bucket: Bucket, here: Project, there: Project, monkeypatch: pytest.MonkeyPatch, silently: bool
):
    """`silently`: the bucket still reports the MD5 of what was written, as after damage on its disk."""
    damaged = name_of(bucket, (here.folder / "data/003").read_bytes())
    if silently:
        bucket.objects()[damaged].write_bytes(bucket.objects()[damaged].read_bytes()[:-1] + b"X")
    else:
        bucket.overwrite(damaged, b"other")
    monkeypatch.setattr(delivery, "PAUSES", (0, 0))
    monkeypatch.chdir(there.folder)
    with pytest.raises(UserError, match=rf"data/003 \({damaged}\) is damaged.*\n.* run: aura push --force$"):
        transfer.pull([])
    assert not (there.folder / ".dvc/cache" / damaged).exists()
    monkeypatch.chdir(here.folder)
    if silently:
        transfer.push(["data"], force=True)
    else:
        assert transfer.push([]).names == {damaged}
    assert bucket.objects()[damaged].read_bytes() == (here.folder / "data/003").read_bytes()
    monkeypatch.chdir(there.folder)
    transfer.pull([])
    assert contents(there.folder / "data") == contents(here.folder / "data")


def test_what_no_one_has_is_said(bucket: Bucket, here: Project):
    name = name_of(bucket, (here.folder / "data/003").read_bytes())
    bucket.delete(name)
    (here.folder / ".dvc/cache" / name).unlink()
    with pytest.raises(UserError, match=r"data/003 .* is neither here nor in the bucket\nmake it again: dvc repro"):
        transfer.push([])


def test_a_damaged_cache_is_not_taken_for_good(there: Project, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(there.folder)
    transfer.pull([])
    cached = next((there.folder / ".dvc/cache/files/md5").glob("??/*[!r]"))
    cached.chmod(0o644)
    cached.write_bytes(b"half")
    assert transfer.pull([]).names == {cached.relative_to(there.folder / ".dvc/cache").as_posix()}


def test_changes_by_hand_are_not_overwritten_unasked(here: Project):
    (here.folder / "data/003").unlink()
    (here.folder / "data/003").write_text("mine")
    with pytest.raises(UserError, match="aura pull --force"):
        transfer.pull([])
    assert (here.folder / "data/003").read_text() == "mine"
    transfer.pull([], force=True)
    assert (here.folder / "data/003").read_text() != "mine"


def test_runs_travel_with_their_outputs_and_damaged_records_do_not(
    bucket: Bucket, here: Project, there: Project, monkeypatch: pytest.MonkeyPatch
):
    """A colleague who has the code but no dvc.lock takes the outputs from the run cache."""
    stage = "stages: {one: {cmd: cp data/001 one.txt && echo ran > proof, deps: [data/001], outs: [one.txt]}}\n"
    (here.folder / "dvc.yaml").write_text(stage)
    here.run("dvc", "repro", "-q")
    transfer.push([])
    records = [name for name in bucket.objects() if name.startswith("runs/")]
    assert len(records) == 1
    monkeypatch.chdir(there.folder)
    transfer.pull([])
    (there.folder / "dvc.yaml").write_text(stage)
    there.run("dvc", "repro", "-q", "--pull")
    assert (there.folder / "one.txt").read_bytes() == (here.folder / "data/001").read_bytes()
    assert not (there.folder / "proof").exists(), "the stage ran"
    bucket.overwrite(records[0], bucket.objects()[records[0]].read_bytes().replace(b"size", b"Size"))
    (there.folder / ".dvc/cache" / records[0]).unlink()
    monkeypatch.setattr(delivery, "PAUSES", (0,))
    with pytest.raises(UserError, match=r"a run's record .* is damaged"):
        transfer.pull([])


def damage(path: Path) -> None:
    """Other bytes of the same size and time, with the mode by which DVC takes an object for right."""
    found = path.stat()
    path.chmod(0o644)
    path.write_bytes(b"X" * found.st_size)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    path.chmod(0o444)


def test_a_damaged_object_here_never_takes_the_place_of_the_buckets_good_one(bucket: Bucket, here: Project):
    right = (here.folder / "data/003").read_bytes()
    name = name_of(bucket, right)
    damage(here.folder / ".dvc/cache" / name)
    with pytest.raises(UserError, match=r"data/003 .* is damaged on this machine.*\n.*aura repair"):
        transfer.push([], force=True)
    assert bucket.objects()[name].read_bytes() == right


def test_a_pull_replaces_a_damaged_object_of_mode_0444(bucket: Bucket, here: Project):
    name = name_of(bucket, (here.folder / "data/003").read_bytes())
    transfer.pull([])
    damage(here.folder / ".dvc/cache" / name)
    assert transfer.pull([]).names == {name}
    assert (here.folder / ".dvc/cache" / name).read_bytes() == (here.folder / "data/003").read_bytes()

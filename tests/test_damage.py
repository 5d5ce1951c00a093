"""`aura.damage` lists each damaged output of a project with its stage, and nothing of a whole one."""

import hashlib
from pathlib import Path

import pytest

from aura import checksums
from aura.damage import damaged
from aura.errors import UserError

LOCK = """
stages:
  encode: {outs: [{path: data/tokens, md5: a.dir}, {path: absent, md5: b}]}
  validate: {outs: [{path: passed.json, md5: MD5}]}
"""


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    (tmp_path / "data/tokens/train").mkdir(parents=True)
    for name in ("manifest.json", "train/a.npy"):
        (tmp_path / "data/tokens" / name).write_bytes(b"content")
    checksums.write(tmp_path / "data/tokens")
    (tmp_path / "passed.json").write_bytes(b"{}")
    md5 = hashlib.md5(b"{}", usedforsecurity=False).hexdigest()
    (tmp_path / "dvc.lock").write_text(LOCK.replace("MD5", md5))
    return tmp_path / "dvc.lock"


def test_a_whole_project_has_no_damage(lock: Path):
    assert damaged(lock) == []
    assert damaged(lock.with_name("none.lock")) == []


@pytest.mark.parametrize(
    ("name", "stage"),
    [("data/tokens/manifest.json", "encode"), ("data/tokens/train/a.npy", "encode"), ("passed.json", "validate")],
)
def test_a_flipped_bit_is_listed_with_its_stage(lock: Path, name: str, stage: str):
    path = lock.parent / name
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    assert [(one.path, one.stage) for one in damaged(lock)] == [(path, stage)]


def test_a_missing_file_and_a_cut_record_are_listed(lock: Path):
    folder = lock.parent / "data/tokens"
    (folder / "train/a.npy").unlink()
    assert [one.path for one in damaged(lock)] == [folder]
    (folder / checksums.NAME).write_bytes((folder / checksums.NAME).read_bytes()[:70])
    assert [one.path for one in damaged(lock)] == [folder]


@pytest.mark.parametrize("content", ["", "stages: 7", "[", "stages: {a: {outs: [7]}}"])
def test_a_lock_that_is_none_is_one_line(lock: Path, content: str):
    lock.write_text(content)
    with pytest.raises(UserError, match="is no list of stages"):
        damaged(lock)

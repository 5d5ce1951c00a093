"""`aura lock repair`: what a DVC killed while writing leaves behind."""

import json
import shutil
import subprocess
from pathlib import Path
from random import Random

import pytest
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from ruamel.yaml import YAML

from aura.core.errors import UserError
from aura.project import dvc_state
from tests.conftest import REPOSITORY

LOCK = (REPOSITORY / "dvc.lock").read_text(encoding="utf-8")


def test_a_lock_cut_anywhere_keeps_its_whole_stages():
    whole = YAML(typ="safe").load(LOCK)["stages"]
    for cut in range(0, len(LOCK), 997):
        cut_off = LOCK[:cut]
        kept = dvc_state.whole_stages(cut_off)
        stages = YAML(typ="safe").load(cut_off if kept is None else kept)["stages"] or {}
        finished = max(0, sum(f"\n  {name}:\n" in cut_off for name in whole) - 1)
        assert list(stages)[:finished] == list(whole)[:finished]
        assert all(stages[name] == whole[name] for name in list(stages)[:finished])


def test_a_whole_lock_is_left_alone():
    assert dvc_state.whole_stages(LOCK) is None


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"]):
        subprocess.run(command, cwd=tmp_path, check=True)
    shutil.copy(REPOSITORY / "dvc.lock", tmp_path)
    (tmp_path / "dvc.yaml").write_text("stages: {one: {cmd: echo 1 > one.txt, outs: [one.txt]}}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("left", ["", '{"write": {"a', json.dumps({"read": {}})])
def test_dvc_works_again(repository: Path, left: str):
    (repository / "dvc.lock").unlink()
    (repository / ".dvc/tmp/rwlock").write_text(left)
    broken = subprocess.run(["dvc", "repro", "-q"], capture_output=True, text=True).returncode != 0
    done = dvc_state.repair()
    assert bool(done) == broken
    assert subprocess.run(["dvc", "repro", "-q"]).returncode == 0
    assert dvc_state.repair() == []


def test_a_cut_lock_is_mended_in_place(repository: Path):
    lock = repository / "dvc.lock"
    lock.write_text(LOCK[: LOCK.index("    - path: models/spm") + 10])
    assert "dvc.lock" in dvc_state.repair()[0]
    assert list(YAML(typ="safe").load(lock)["stages"]) == ["extract@sample", "select"]
    assert subprocess.run(["dvc", "status", "-q"]).returncode in (0, 1)


def test_outside_a_project_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"no \.dvc folder"):
        dvc_state.repair()


HOSTILE = [
    b"",
    b"\0" * 5000,
    bytes(range(256)) * 20,
    b"[1, 2]",
    b"just text",
    b"a: &a [x,x]\nb: &b [" + b"*a," * 50 + b"]\n",
    b"[" * 3000,
    LOCK.replace("\n", "\r\n").encode()[:-40],
    LOCK.replace("    deps:\n", "<<<<<<< ours\n    deps:\n=======\n", 1).encode(),
    (LOCK + LOCK).encode(),
    LOCK.encode() + b"x" * 9_000_000,
]


def damages() -> list[bytes]:
    """Cuts, flips, NULs and doubled parts of a dvc.lock, at random places, and files that never were one."""
    random, whole, found = Random(7), LOCK.encode(), list(HOSTILE)  # noqa: S311 - no secrets
    for _ in range(6):
        at, length = random.randrange(len(whole)), random.randrange(1, 3000)
        found += [whole[:at], whole[:at] + bytes([whole[at] ^ (1 << random.randrange(8))]) + whole[at + 1 :]]
        found += [whole[:at] + b"\0" * length + whole[at + length :], whole[: at + length] + whole[at:]]
    return found


@pytest.mark.slow
def test_whatever_the_damage_what_is_kept_is_valid_and_was_there():
    before = dict(COMPILED_LOCKFILE_SCHEMA(YAML(typ="safe").load(LOCK))["stages"])
    for damaged in damages():
        found = dvc_state.salvaged(damaged)
        if found is None:
            continue
        kept, lost = found
        assert COMPILED_LOCKFILE_SCHEMA(YAML(typ="safe").load(dvc_state.dump(kept)))
        assert set(kept) & set(lost) == set()
        if damaged.endswith(b"x" * 9):
            assert list(kept) == list(before)[:-1]

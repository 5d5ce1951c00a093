"""An account of what a stage read beside what dvc.lock has of it: each other input is told, and nothing else is."""

import hashlib
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from aura.core import stage_inputs
from aura.project import recorded_inputs
from tests.core.test_stage_inputs import PARAMS, PIPELINE

CACHE = Path(".dvc/cache")


@pytest.fixture
def entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The entry that DVC makes of an undisturbed run of `select`, whose account lies in the cache."""
    monkeypatch.chdir(tmp_path)
    for name in ("data/books/inner/2.txt", "data/extracted/0.parquet", "data/books/0.txt", "module.py"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(f"The text of {name}.")
    Path("data/extracted/_SHA256SUMS").write_text("sums")
    Path("dvc.yaml").write_text(PIPELINE.replace("gone.txt", "data/extracted") + OUTS)
    Path("params.yaml").write_text(PARAMS)
    Path("versions.json").write_text('{"numpy": "1"}')
    inputs = stage_inputs.Inputs("select")
    assert inputs.leaves_account
    account = inputs.account()
    assert account["deps"]["data/books"] == {"nfiles": 2, "size": 64}
    return {
        "cmd": "python -m aura.stages.select",
        "deps": [
            {"path": "data/books", "hash": "md5", "md5": "0" * 32 + ".dir", "size": 64, "nfiles": 2},
            {"path": "data/extracted", "hash": "md5", "md5": listed({"_SHA256SUMS": b"sums"}), "size": 41, "nfiles": 2},
            {"path": "module.py", "hash": "md5", "md5": md5(Path("module.py").read_bytes()), "size": 22},
        ],
        "params": {"params.yaml": {"select": {"caps": {}, "held_out": 0.2}}, "versions.json": {"numpy": "1"}},
        "outs": [
            {"path": "out", "hash": "md5", "md5": "1" * 32, "size": 1},
            {"path": "reports/inputs/select.json", "hash": "md5", "md5": kept(json.dumps(account).encode()), "size": 1},
        ],
    }


OUTS = "    outs:\n      - out\n      - reports/inputs/select.json\n"


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def kept(content: bytes, suffix: str = "") -> str:
    """The hash of an object that DVC's cache now has."""
    oid = md5(content) + suffix
    path = CACHE / "files/md5" / oid[:2] / oid[2:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return oid


def listed(files: dict[str, bytes]) -> str:
    return kept(json.dumps([{"md5": md5(files[name]), "relpath": name} for name in files]).encode(), ".dir")


def test_an_undisturbed_run_has_no_other_inputs(entry: dict[str, Any]):
    assert recorded_inputs.other_inputs(entry, CACHE) == []
    Path("dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": {"select": entry}}))
    assert recorded_inputs.misrecorded(CACHE) == {}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda e: e["params"]["params.yaml"]["select"].update(held_out=0.25), "select in params.yaml (read: "),
        (lambda e: e["params"]["versions.json"].update(numpy=1), "numpy in versions.json (read: '1', recorded: 1)"),
        (lambda e: e["deps"][0].update(size=65), "data/books"),
        (lambda e: e["deps"][0].update(nfiles=3), "data/books"),
        (lambda e: e["deps"][1].update(md5=listed({"_SHA256SUMS": b"other"})), "data/extracted"),
        (lambda e: e["deps"][2].update(md5="2" * 32), "module.py"),
    ],
)  # fmt: skip
def test_each_other_input_is_told(entry: dict[str, Any], change: Any, told: str):
    change(entry)
    [found] = recorded_inputs.other_inputs(entry, CACHE)
    assert found.startswith(told)
    Path("dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": {"select": entry}}))
    assert recorded_inputs.misrecorded(CACHE) == {"select": [found]}


def test_what_is_not_known_is_no_other_input(entry: dict[str, Any]):
    entry["params"]["params.yaml"]["select"]["held_out"] = 0.25
    entry["deps"][1]["md5"] = "3" * 32 + ".dir"  # a list that is not here
    entry["deps"].pop(2)
    entry["deps"].append({"path": "new.py", "md5": "4" * 32, "size": 1})
    assert len(recorded_inputs.other_inputs(entry, CACHE)) == 1
    account = entry["outs"][1]
    for other in ("5" * 32, None, "../../x", 7):
        account["md5"] = other
        assert recorded_inputs.other_inputs(entry, CACHE) == []


def test_no_damage_of_an_account_or_an_entry_is_an_alarm_or_an_error(entry: dict[str, Any]):
    oid = entry["outs"][1]["md5"]
    path, rng = CACHE / "files/md5" / oid[:2] / oid[2:], random.Random(13)  # noqa: S311 - damages, not secrets
    content = path.read_bytes()
    for _ in range(200):
        damaged = bytearray(content[: rng.randrange(len(content))])
        if damaged and rng.random() < 0.5:
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        assert recorded_inputs.other_inputs(entry, CACHE) == []
        entry["outs"][1]["md5"] = kept(bytes(damaged))  # and DVC took it for right
        assert recorded_inputs.other_inputs(entry, CACHE) == []
        entry["outs"][1]["md5"] = oid
    for value in (None, [], "x", 3, {"format": 1}, {"format": 1, "params": [], "deps": 1}, {"format": 2}):
        entry["outs"][1]["md5"] = kept(json.dumps(value).encode())
        assert recorded_inputs.other_inputs(entry, CACHE) == []
        assert recorded_inputs.other_inputs(value, CACHE) == []


@pytest.mark.usefixtures("entry")
def test_what_dvc_leaves_out_is_not_counted():
    Path(".dvcignore").write_text("# as in a project\n.aura\n*.egg-info\n")
    Path("data/books/.aura").mkdir()
    Path("data/books/.aura/x").write_text("cache")
    Path("data/books/x.egg-info").write_text("ignored")
    Path("data/books/linked").symlink_to("inner")  # a linked folder
    Path("data/books/linked.txt").symlink_to("0.txt")
    os.link("data/books/0.txt", "data/books/hard.txt")
    assert stage_inputs.Inputs("select").account()["deps"]["data/books"] == {"nfiles": 4, "size": 122}
    for line in ("data/books/*.txt", "!keep.txt"):
        Path(".dvcignore").write_text(line)
        assert stage_inputs.Inputs("select").account()["deps"]["data/books"] == {}
    Path(".dvcignore").unlink()
    Path("data/books/inner/.dvcignore").write_text("2.txt")
    assert stage_inputs.Inputs("select").account()["deps"]["data/books"] == {}


@pytest.mark.usefixtures("entry")
def test_a_large_file_is_its_size(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stage_inputs, "_HASHED", 10)
    account = stage_inputs.Inputs("select").account()
    assert account["deps"]["module.py"] == {"size": 22}
    assert account["params"] == {
        "params.yaml": {"select": {"caps": {}, "held_out": 0.2}},
        "versions.json": {"numpy": "1"},
    }


def test_a_param_that_aura_puts_in_itself_is_no_other_input(entry: dict[str, Any]):
    account = Path("reports/inputs/select.json")
    recorded_inputs.put_param("select", "select", {"held_out": 0.3, "caps": {}})
    assert not account.exists(), "an earlier version made the stage"
    account.parent.mkdir(parents=True)
    oid = entry["outs"][1]["md5"]
    account.write_bytes((CACHE / "files/md5" / oid[:2] / oid[2:]).read_bytes())
    recorded_inputs.put_param("select", "select", {"caps": {}, "held_out": 0.3})
    entry["outs"][1]["md5"] = kept(account.read_bytes())
    assert len(recorded_inputs.other_inputs(entry, CACHE)) == 1
    entry["params"]["params.yaml"]["select"]["held_out"] = 0.3
    assert recorded_inputs.other_inputs(entry, CACHE) == []

"""A name that someone else chose never leads out of the folder that it is joined to."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from dvc.utils import dict_sha256
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from aura.core.errors import UserError
from aura.core.outside_names import object_hash, relative_name, relative_names
from aura.sharing import delivery, transfer, versions
from tests.conftest import Project

PARTS = st.sampled_from(["a", "b.txt", "..", ".", "", "~", "x\0", "\ud800", "-", "\n", "n" * 300, "C:", "\\", "é"])


@given(st.lists(PARTS, min_size=1, max_size=5).map("/".join))
def test_a_name_that_is_let_through_stays_below_the_folder(name: str):
    try:
        relative_name(name, "a list")
    except UserError as error:
        assert "a list names" in str(error)  # noqa: PT017 - which of both happens depends on the name
        return
    folder = Path("/somewhere/deep")
    assert folder in (folder / name).resolve().parents
    assert (folder / name).relative_to(folder).as_posix() == name


@pytest.mark.parametrize("names", [["a", "a"], ["a", "a/b"], ["a/b", "a"], ["a/b/c", "a/b"]])
def test_names_that_cannot_stand_side_by_side_are_refused(names: list[str]):
    with pytest.raises(UserError, match="twice, or as a file and as a folder"):
        relative_names(names, "a list")


@pytest.mark.parametrize("oid", ["", "..", "../../x", "0" * 31, "0" * 33, "g" * 32, "0" * 32 + ".dirx", None, 5])
def test_what_is_no_hash_is_refused(oid: Any):
    with pytest.raises(UserError, match="expected an MD5"):
        object_hash(oid, "a list")


class Hostile:
    """A repository whose tokenizer is a folder with whatever list, and a store of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder / "repository", folder / "store"
        self.project = Project(self.folder)
        self.folder.mkdir()
        self.project.run("git", "init", "-q", "-b", "main")
        self.project.run("dvc", "init", "-q")
        self.project.run("dvc", "remote", "add", "-q", "-d", "store", str(self.store))

    def put(self, content: bytes, suffix: str = "") -> str:
        """Store an object; returns its hash."""
        oid = hashlib.md5(content, usedforsecurity=False).hexdigest() + suffix
        path = self.store / "files/md5" / oid[:2] / oid[2:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return oid

    def release(self, listed: Any) -> None:
        """Release a version with this list of files."""
        oid = self.put(listed if isinstance(listed, bytes) else json.dumps(listed).encode(), ".dir")
        out = {"md5": oid, "hash": "md5", "path": "spm"}
        (self.folder / "models").mkdir(exist_ok=True)
        YAML().dump({"outs": [out]}, self.folder / "models/spm.dvc")
        YAML().dump(
            {"artifacts": {"tokenizer": {"path": "models/spm", "type": "model"}}, "stages": {}},
            self.folder / "dvc.yaml",
        )
        self.project.run("git", "add", "-A")
        self.project.run("git", "commit", "-qm", "release")
        self.project.run("git", "tag", "-am", "a version", "tokenizer@v1.0.0")


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hostile:
    (tmp_path / "victim").mkdir()
    monkeypatch.chdir(tmp_path / "victim")
    monkeypatch.setenv("AURA_VERSIONS", str(tmp_path / "versions"))
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    return Hostile(tmp_path)


def everything(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.mark.parametrize(
    "name", ["{}/planted", "../planted", "../../victim/planted", "a/../../planted", "./planted", "a//planted", "", ".."]
)
def test_a_list_that_leads_out_of_the_output_writes_nothing(hostile: Hostile, tmp_path: Path, name: str):
    good = {"md5": hostile.put(b"a model"), "relpath": "spiece.model"}
    hostile.release([good, {"md5": hostile.put(b"planted"), "relpath": name.format(tmp_path)}])
    before = everything(tmp_path / "victim")
    with pytest.raises(UserError, match="no path below a folder"):
        versions.fetch("v1.0.0", f"file://{hostile.folder}", tmp_path / "victim/output")
    assert everything(tmp_path / "victim") == before
    assert not list(tmp_path.rglob("planted"))


@pytest.mark.parametrize(
    "listed",
    [b"no JSON", b"[" * 100_000, {"md5": "x"}, [{"relpath": "a"}], [{"md5": "../x", "relpath": "a"}], [5], None],
)
def test_a_list_that_is_none_is_refused_in_a_line(hostile: Hostile, listed: Any):
    hostile.release(listed)
    with pytest.raises(UserError, match=r"no list of files|expected an MD5"):
        versions.fetch("v1.0.0", f"file://{hostile.folder}", Path("output"))
    assert everything(Path.cwd()) == set()


def test_pull_refuses_a_list_that_leads_out_of_the_folder(hostile: Hostile, tmp_path: Path, monkeypatch):
    hostile.release([{"md5": hostile.put(b"planted"), "relpath": "../../../planted"}])
    hostile.project.run("git", "clone", "-q", str(hostile.folder), str(tmp_path / "clone"))
    monkeypatch.chdir(tmp_path / "clone")
    with pytest.raises(UserError, match="no path below a folder"):
        transfer.pull([])
    assert not list(tmp_path.rglob("planted"))


def test_a_run_that_names_other_outputs_than_its_key_is_not_taken(tmp_path: Path):
    """DVC finds a run by its key and writes what the record names: another output must not ride along."""
    record = {"cmd": "make it", "deps": [{"path": "a", "md5": "0" * 32}], "outs": [{"path": "out", "md5": "1" * 32}]}
    key = dict_sha256(record | {"outs": ["out"]})
    path = tmp_path / "record"
    for outs, taken in ((record["outs"], True), ([{"path": "/home/x/.bashrc", "md5": "1" * 32}], False)):
        altered = record | {"outs": outs}
        YAML().dump(altered, path)
        found = delivery.run_outputs(path, f"runs/{key[:2]}/{key}/{dict_sha256(altered)}")
        assert found == ({"1" * 32} if taken else None)

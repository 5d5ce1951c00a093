"""`aura source add` with what says how files are read: --encoding and --follow-links."""

import os
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from aura.core.errors import UserError
from aura.project import sources, whole_params
from aura.project.sources import NewSource, Reading
from aura.sources import url_pins
from aura.sources.listing import list_files
from aura.sources.object_reader import Stored
from aura.sources.options import TxtSource
from tests.conftest import REPOSITORY


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).write_bytes((REPOSITORY / name).read_bytes())
    (tmp_path / "data/txt").mkdir(parents=True)
    (tmp_path / "data/txt/a.txt").write_bytes(b"caf\xe9")
    (tmp_path / "data/txt/.hidden.txt").write_bytes(b"hidden")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_encoding_and_links_are_written_down_and_hidden_files_named(project: Path):
    found, _ = sources.add(NewSource("mine", "data/txt", reading=Reading(encoding="cp1252", links="anywhere")))
    assert found == "1 txt files (not read: 1 hidden, left out)"
    entry = YAML(typ="safe").load(project / "params.yaml")["extract"]["sources"]["mine"]
    assert entry == {"kind": "txt", "path": "data/txt", "encoding": "cp1252", "links": "anywhere"}


def test_an_encoding_that_is_none_changes_nothing(project: Path):
    before = (project / "params.yaml").read_bytes()
    with pytest.raises(UserError, match="an encoding that Python knows"):
        sources.add(NewSource("mine", "data/txt", "txt", Reading(encoding="base64")))
    assert (project / "params.yaml").read_bytes() == before
    assert "mine" not in whole_params.load().extract.sources


def test_a_folder_of_other_files_says_what_to_do(project: Path):
    (project / "data/other").mkdir()
    (project / "data/other/table.csv").write_bytes(b"a,b")
    with pytest.raises(UserError, match="turn tables into Parquet"):
        sources.add(NewSource("mine", "data/other"))


@pytest.mark.parametrize("place", ["{}", "file://{}"])
def test_a_pattern_of_folders_stands_for_their_files_here_and_behind_a_url(project: Path, place: str):
    for name in ("2024-01/a.txt", "2024-02/deep/b.md", "2024-02/c.csv", "2023-12/d.txt", "2024-top.jsonl"):
        path = project / "days" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a text")
    pattern = place.format(project / "days/2024-*")
    sources.add(NewSource("mine", pattern))
    files = list_files(whole_params.load().extract.sources["mine"])
    assert [file.name for file in files] == ["2024-01/a.txt", "2024-02/deep/b.md"]


def test_the_kind_is_that_of_the_files_a_pattern_chooses(project: Path):
    (project / "data/txt/a.jsonl").write_text('{"text": "a text"}')
    (project / "data/txt/b.txt").write_text("a text")
    found, _ = sources.add(NewSource("mine", "data/txt/*.jsonl"))
    assert found.startswith("1 json files")
    found, _ = sources.add(NewSource("far", f"file://{project}/data/txt", reading=Reading(glob="*.jsonl")))
    assert found.startswith("1 json objects")
    (project / "data/txt").rename(project / "texts").joinpath("deep").mkdir()
    (project / "texts/b.txt").rename(project / "texts/deep/b.txt")
    with pytest.raises(UserError, match=re.escape('write --glob "**/b.*"')):
        sources.add(NewSource("other", "texts", "txt", Reading(glob="b.*")))


def test_hidden_objects_are_left_out_and_counted_unless_a_glob_names_them(project: Path):
    folder = f"file://{project}/data/txt"
    found, _ = sources.add(NewSource("mine", folder))
    assert found == "1 txt objects (not read: 1 hidden, left out)"
    sources.add(NewSource("asked", folder, "txt", Reading(glob="**/.hid*")))
    sources.add(NewSource("one", f"{folder}/.hidden.txt"))
    entries = whole_params.load().extract.sources
    read = {name: [file.name for file in list_files(entries[name]) if not file.problem] for name in ("asked", "one")}
    assert read == {"asked": [".hidden.txt"], "one": [".hidden.txt"]}
    with pytest.raises(UserError, match=r"it holds only files with \.txt\. \.txt: name the kind: --kind txt"):
        sources.add(NewSource("none", folder, "json"))


def test_a_pin_from_elsewhere_names_nothing_outside_of_its_folder(project: Path):
    pin = project / "data/far.pin.json"
    url_pins.write(pin, f"file://{project}/data/txt", {"../../params.yaml": Stored(1, "sha256:0")})
    with pytest.raises(UserError, match="no path below a folder"):
        list_files(TxtSource(kind="txt", path=str(pin)))


@pytest.mark.parametrize("kind", [None, "json"])
def test_a_snapshot_of_links_says_to_follow_them(project: Path, kind: str | None):
    """The cache of the Hub is such a folder: each file is a link to a blob outside of it."""
    (project / "blobs").mkdir()
    (project / "blobs/deadbeef").write_text('{"text": "a text"}')
    (project / "snapshots/abc").mkdir(parents=True)
    (project / "snapshots/abc/train.jsonl").symlink_to("../../blobs/deadbeef")
    with pytest.raises(UserError, match=r"1 links that lead out of it.*--follow-links"):
        sources.add(NewSource("mine", "snapshots/abc", kind, pin=True))
    found, _ = sources.add(NewSource("mine", "snapshots/abc", kind, Reading(links="anywhere")))
    assert found == "1 json files"


@pytest.mark.parametrize(
    ("place", "words"), [("fifo", "a FIFO"), ("link.txt", "leads nowhere"), ("no", "no such file or folder")]
)
def test_what_is_neither_file_nor_folder_is_not_called_empty(project: Path, place: str, words: str):
    os.mkfifo(project / "fifo")
    (project / "link.txt").symlink_to("nowhere")
    with pytest.raises(UserError, match=words):
        sources.add(NewSource("mine", place))


def test_what_spark_writes_for_itself_is_left_out_and_counted(project: Path):
    for name in ("part-0.json", "_temporary/0/part-1.json", "_delta_log/0.json", "_notes.json", "_SUCCESS"):
        path = project / "table" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"text": "a text"}')
    found, _ = sources.add(NewSource("mine", "table"))
    assert found == "2 json files (not read: 2 hidden, left out, 1 no suffix)"

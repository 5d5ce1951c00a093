"""`aura source add` with what says how files are read: --encoding and --follow-links."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from aura import params, sources
from aura.errors import UserError
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
    reading = sources.Reading(encoding="cp1252", links="anywhere")
    found, _ = sources.add("mine", "data/txt", None, reading, pin=False, only=False)
    assert found == "1 txt files (not read: 1 hidden, left out)"
    entry = YAML(typ="safe").load(project / "params.yaml")["extract"]["sources"]["mine"]
    assert entry == {"kind": "txt", "path": "data/txt", "encoding": "cp1252", "links": "anywhere"}


def test_an_encoding_that_is_none_changes_nothing(project: Path):
    before = (project / "params.yaml").read_bytes()
    with pytest.raises(UserError, match="an encoding that Python knows"):
        sources.add("mine", "data/txt", "txt", sources.Reading(encoding="base64"), pin=False, only=False)
    assert (project / "params.yaml").read_bytes() == before
    assert "mine" not in params.load().extract.sources


def test_a_folder_of_other_files_says_what_to_do(project: Path):
    (project / "data/other").mkdir()
    (project / "data/other/table.csv").write_bytes(b"a,b")
    with pytest.raises(UserError, match="turn tables into Parquet"):
        sources.add("mine", "data/other", None, sources.Reading(), pin=False, only=False)

"""Parquet files of datasets on the Hub, against a stand-in for it: found by their commit, and read where they are."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aura.sources import url_pins
from tests.conftest import REPOSITORY, Project
from tests.extract.hub_server import Hub, serving_hub

TOKEN = "hf_" + "x" * 30


def table(first: int, rows: int = 40) -> bytes:
    texts = [f"a document of this dataset, number {number}" for number in range(first, first + rows)]
    sink = io.BytesIO()
    pq.write_table(pa.table({"id": range(rows), "text": texts}), sink, row_group_size=15)
    return sink.getvalue()


@pytest.fixture
def served() -> Iterator[tuple[Hub, str]]:
    with serving_hub() as (hub, address):
        page = (
            "---\nconfigs:\n- config_name: en\n  data_files:\n  - split: train\n    path: en/*.parquet\n"
            "- config_name: de\n  data_files: de/*.parquet\n---\n"
        )
        files = {"README.md": page.encode(), "en/0.parquet": table(0), "en/1.parquet": table(40)}
        hub.commit("team/own", files | {"de/0.parquet": table(80), "other.bin": b"x"})
        hub.commit("team/lines", {"train.jsonl": b'{"text": "a document in a line"}\n'})
        converted = {"default/train/0000.parquet": table(0), "default/partial-test/0000.parquet": table(40)}
        hub.commit("team/lines", converted, "refs/convert/parquet")
        hub.commit("team/part", {"train.jsonl": b'{"text": "a document in a line"}\n'})
        hub.commit("team/part", {"default/partial-train/0000.parquet": table(0)}, "refs/convert/parquet")
        hub.commit("team/plain", {"train.jsonl": b'{"text": "a document in a line"}\n'})
        hub.commit("team/program", {"program.py": b"open('ran', 'w')"})
        hub.commit("team/program", {"default/train/0000.parquet": table(0)}, "refs/convert/parquet")
        yield hub, address


def environment(address: str, home: Path) -> dict[str, str]:
    return {"HF_ENDPOINT": address, "HF_HOME": str(home), "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_TELEMETRY": "1"}


PROGRAM = """
import json, sys
from aura.core.errors import UserError
from aura.sources import hub, hub_files

for name, config, split, rows, newest in json.load(sys.stdin):
    revision = hub.resolve(name)
    pin = hub.DatasetPin(dataset=name, config=config, split=split, revision=revision, max_documents=rows)
    try:
        found = hub_files.find(pin, newest=newest)
    except UserError as error:
        found = str(error)
    print(json.dumps(found))
"""


def test_files_are_those_of_the_split_or_none(served: tuple[Hub, str], tmp_path: Path):
    hub, address = served
    asked: list[tuple[Any, ...]] = [
        ("team/own", "en", "train", None, True),
        ("team/own", "de", "train", None, False),
        ("team/own", "en", "test", None, True),
        ("team/own", "en", "train", 10, True),
        ("team/lines", None, "train", None, True),
        ("team/lines", None, "train", None, False),
        ("team/part", None, "train", None, True),
        ("team/plain", None, "train", None, True),
        ("team/program", None, "train", None, True),
    ]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(asked),
        env=os.environ | environment(address, tmp_path) | {"PYTHONPATH": str(REPOSITORY)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    english, german, no_split, limited, lines, old, part, plain, program = map(json.loads, done.stdout.splitlines())
    commit = hub.branches["team/own"]["main"]
    assert english[0] == german[0] == f"hf://datasets/team/own@{commit}"
    assert (list(english[1]), list(german[1])) == (["en/0.parquet", "en/1.parquet"], ["de/0.parquet"])
    assert english[1]["en/0.parquet"][0] == len(table(0))
    assert english[1]["en/0.parquet"][1].startswith("sha256:")
    assert "Bad split: test. Available splits: ['train']" in no_split
    assert lines[0] == f"hf://datasets/team/lines@{hub.branches['team/lines']['refs/convert/parquet']}"
    assert list(lines[1]) == ["default/train/0000.parquet"]
    assert limited is old is part is plain is None
    assert list(program[1]) == ["default/train/0000.parquet"]
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_a_dataset_is_added_read_in_place_and_moved(served: tuple[Hub, str], project: Project, tmp_path: Path):
    hub, address = served
    project.environment |= environment(address, tmp_path / "home")
    said = project.run("aura", "source", "add", "docs", "team/own", "--kind", "dataset", "--config", "en").stdout
    commit = hub.branches["team/own"]["main"]
    assert f"dataset team/own (config en, split train) at revision {commit}: 2 Parquet files" in said
    pin = project.folder / "data/docs.pin.json"
    assert list(url_pins.read(pin)[1]) == ["en/0.parquet", "en/1.parquet"]
    hub.requests.clear()
    assert project.ran(project.run("dvc", "repro", "extract@docs").stdout) == {"extract@docs"}
    assert all("/resolve/" in line for line in hub.requests if "agent" not in line), "only bytes are asked for"
    assert hub.headers["authorization"] == f"Bearer {TOKEN}"
    manifest = json.loads((project.folder / "data/extracted/docs/manifest.json").read_text())
    assert manifest["totals"]["documents"] == 80
    assert [file["file"] for file in manifest["files"]] == ["en/0.parquet", "en/1.parquet"]
    assert not (project.folder / "data/raw/docs").exists()
    found = project.run("grep", "-rl", TOKEN, ".", check=False).stdout
    assert found == "", "no credential in a file"

    assert "as before" in project.run("aura", "source", "scan", "docs").stdout
    assert project.ran(project.run("dvc", "repro", "extract@docs").stdout) == set()
    files = hub.commits["team/own"][commit] | {"en/2.parquet": table(120)}
    hub.commit("team/own", files)
    assert "3 Parquet files" in project.run("aura", "source", "scan", "docs").stdout
    hub.requests.clear()
    project.run("dvc", "repro", "extract@docs")
    assert {line.rpartition("/")[2] for line in hub.requests if "/resolve/" in line} == {"2.parquet"}
    del files["en/2.parquet"], files["en/1.parquet"], files["en/0.parquet"]
    hub.commit(
        "team/own",
        files
        | {"en/0.jsonl": b"{}", "README.md": b"---\nconfigs:\n- config_name: en\n  data_files: en/*.jsonl\n---\n"},
    )
    failed = project.run("aura", "source", "scan", "docs", check=False)
    assert "has no Parquet files any more" in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.slow
def test_a_dataset_without_parquet_files_is_read_by_rows(served: tuple[Hub, str], project: Project, tmp_path: Path):
    _, address = served
    project.environment |= environment(address, tmp_path / "home")
    said = project.run("aura", "source", "add", "docs", "team/plain", "--kind", "dataset").stdout
    assert "Parquet" not in said
    project.run("dvc", "repro", "extract@docs")
    assert (project.folder / "data/raw/docs/00000.jsonl").exists()

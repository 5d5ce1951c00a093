"""Lists that are read as columns hold what the readers of objects read, or are left to them."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.core import checksums, columns, files
from aura.core.errors import UserError

SCHEMA = pa.schema([("name", pa.large_string()), ("number", pa.int64())])
NUMBERS = st.integers(-(2**63), 2**63 - 1)
RECORDS = st.lists(st.fixed_dictionaries({"name": st.text(), "number": NUMBERS}), max_size=9)


@given(RECORDS, st.integers(1, 60))
@settings(deadline=None, max_examples=30)
def test_records_are_those_that_were_written(tmp_path_factory, records: list[dict[str, Any]], block: int):
    path = tmp_path_factory.mktemp("columns") / "manifest.json"
    files.write_records(path, {"format": 1, "tokens": {"a": [1]}}, "shards", records)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "_BLOCK", block)
        read = columns.read_records(path, "shards", SCHEMA)
    assert read is not None
    assert read[0] == {"format": 1, "tokens": {"a": [1]}}
    assert read[1].to_pylist() == records


@pytest.mark.parametrize(
    "shards",
    [
        *([{"name": "a"}], [{"name": "a", "number": 1, "more": 2}], [{"name": 1, "number": 1}], [3]),
        *([{"name": "a", "number": 1.5}], [{"name": "a", "number": None}], [{"name": "a", "number": 2**63}]),
    ],
)
def test_records_of_another_shape_are_left_to_others(tmp_path: Path, shards: list[Any]):
    files.write_records(tmp_path / "a.json", {"format": 1}, "shards", shards)
    assert columns.read_records(tmp_path / "a.json", "shards", SCHEMA) is None


@pytest.mark.parametrize("cut", [1, 2, 3, 20])
def test_another_layout_is_left_to_others(tmp_path: Path, cut: int):
    path = tmp_path / "a.json"
    files.write_records(path, {"format": 1}, "shards", [{"name": "a", "number": 1}])
    content = path.read_bytes()
    path.write_bytes(content[:-cut])
    assert columns.read_records(path, "shards", SCHEMA) is None
    path.write_bytes(content + b"{}\n")
    assert columns.read_records(path, "shards", SCHEMA) is None
    path.write_text(json.dumps(json.loads(content)))
    assert columns.read_records(path, "shards", SCHEMA) is None


@pytest.mark.parametrize("names", [["a", "b/é", "b/c/d"], ["two  spaces", ".hidden"]])
def test_files_are_those_of_the_record(tmp_path: Path, names: list[str]):
    for size, name in enumerate(names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes(size))
    checksums.write(tmp_path)
    found = columns.recorded(tmp_path, "make")
    expected = checksums.read(tmp_path, "make")
    assert dict(zip(found["name"].to_pylist(), map(bytes.hex, found["sha256"].to_pylist()), strict=True)) == expected
    assert found["size"].to_pylist() == [(tmp_path / name).stat().st_size for name in expected]


@pytest.mark.parametrize("damage", ["a file more", "a file less", "a line cut", "a hash cut", "a name twice"])
def test_a_difference_is_worded_by_the_reader_of_objects(tmp_path: Path, damage: str):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"x")
    checksums.write(tmp_path)
    record = tmp_path / checksums.NAME
    lines = record.read_bytes()
    if damage == "a file more":
        (tmp_path / "c").write_bytes(b"")
    elif damage == "a file less":
        (tmp_path / "a").unlink()
    elif damage == "a name twice":
        record.write_bytes(lines[:67] * 2)
    else:
        record.write_bytes(lines[:-1] if damage == "a line cut" else lines[1:])
    with pytest.raises(UserError) as told:
        checksums.read(tmp_path, "make")
    with pytest.raises(UserError) as found:
        columns.recorded(tmp_path, "make")
    assert str(found.value) == str(told.value)

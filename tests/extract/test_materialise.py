import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aura.core.errors import UserError
from aura.extract.extract import extract
from aura.project import whole_params
from aura.sources import hub, materialise
from aura.sources.documents.document import Lost
from aura.sources.materialise import RECORD, is_complete, write_shards
from aura.sources.options import TEXT_KEYS, DatasetSource
from aura.storage.cache import Cache
from tests.conftest import REPOSITORY
from tests.extract.test_hub import pin_of, repository
from tests.extract.test_readers import read


def lines(folder: Path) -> list[str]:
    written = b"".join(path.read_bytes() for path in sorted(folder.glob("*.jsonl")))
    return [json.loads(line)["text"] for line in written.splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def saved(folder: Path, rows: list[dict[str, object]]) -> Path:
    datasets.Dataset.from_list(rows).save_to_disk(folder)
    return folder


def test_every_row_becomes_a_line_in_its_order(tmp_path):
    pin = pin_of(repository(tmp_path / "repository"))
    made = write_shards(pin, ["text"], tmp_path / "out", shard_bytes=500)
    assert lines(tmp_path / "out") == [
        f"a document, number {row} of file {file}" for file in range(3) for row in range(25)
    ]
    assert (made.rows, made.added) == (75, 75)
    assert len(list((tmp_path / "out").glob("*.jsonl"))) > 5
    assert is_complete(tmp_path / "out", pin, ["text"])


def test_a_row_without_text_keeps_its_line(tmp_path):
    rows = [{"text": "one", "note": None}, {"text": None, "note": "two"}, {"text": None, "note": None}]
    pin = pin_of(saved(tmp_path / "saved", rows))
    write_shards(pin, ["text", "note"], tmp_path / "out")
    assert lines(tmp_path / "out") == ["one", "two", None]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_what_is_no_text_is_counted_and_stops_no_dataset(tmp_path, kind):
    folder = tmp_path / "set"
    folder.mkdir()
    texts = [b"first", b"ab\xff", None, b"last"]
    if kind == "parquet":
        for number, text in enumerate(texts):
            column = pa.array([text], pa.binary()).view(pa.string())
            pq.write_table(pa.table({"text": column} if text else {"id": [1]}), folder / f"train-{number}.parquet")
    else:
        (folder / "train-0.jsonl").write_bytes(b'{"text": "first"}\n{"text": "ab\xff"}\n')
        (folder / "train-1.jsonl").write_bytes(b'{"id": 1}\n{"text": "last"}\n{"text": "\\ud800"}\n')
        texts.append("\ud800".encode("utf-8", "surrogatepass"))
    assert write_shards(pin_of(folder), ["text"], tmp_path / "out").rows == len(texts)
    written = b"".join(path.read_bytes() for path in sorted((tmp_path / "out").glob("*.jsonl")))
    found = read(DatasetSource(kind="dataset", path="x"), written)
    assert found == [Lost("no text key") if text is None else text for text in texts]


def test_the_text_keys_choose_whatever_the_only_column_is_called(tmp_path):
    with pytest.raises(UserError, match="expected a column body, it has text"):
        write_shards(pin_of(saved(tmp_path / "saved", [{"text": "one"}])), ["body"], tmp_path / "out")
    (tmp_path / "set").mkdir()
    (tmp_path / "set/train.csv").write_text("text\none\n")
    assert not hub.open_rows(pin_of(tmp_path / "set"), ["body"]).are_texts


def test_a_limit_takes_the_first_rows(tmp_path):
    pin = pin_of(repository(tmp_path / "repository"), max_documents=30)
    assert write_shards(pin, ["text"], tmp_path / "out").rows == 30
    assert lines(tmp_path / "out")[-1] == "a document, number 4 of file 1"


# Writes a dataset in shards of 500 bytes, and is killed when five of them are there.
KILLED = """
import os, sys, threading, time
from pathlib import Path
from aura.sources import materialise

def kill():
    while len(list(out.parent.glob(".out.partial/*.jsonl"))) < 5:
        time.sleep(0.001)
    os.kill(os.getpid(), 9)

pin, out = materialise.DatasetPin.model_validate_json(sys.argv[1]), Path(sys.argv[2])
threading.Thread(target=kill, daemon=True).start()
materialise.write_shards(pin, ["text"], out, shard_bytes=500)
"""


@pytest.mark.parametrize("limit", [None, 2500])
@pytest.mark.parametrize("kind", ["repository", "saved"])
def test_a_killed_run_goes_on_behind_its_last_whole_shard(tmp_path, limit, kind):
    folder = tmp_path / kind
    if kind == "saved":
        saved(folder, [{"text": f"a document with the number {number}"} for number in range(3000)])
    else:
        repository(folder, rows=1000)
    pin = pin_of(folder, max_documents=limit)
    command = [sys.executable, "-c", KILLED, pin.model_dump_json(), tmp_path / "out"]
    killed = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(REPOSITORY)})
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    kept = json.loads((tmp_path / f".out.partial/{RECORD}").read_text())["rows"]
    assert 0 < kept < 2500
    made = write_shards(pin, ["text"], tmp_path / "out", shard_bytes=500)
    assert made.rows - made.added == kept
    write_shards(pin, ["text"], tmp_path / "whole", shard_bytes=500)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert len(lines(tmp_path / "out")) == (limit or 3000)


def test_a_leftover_of_another_pin_is_not_gone_on_with(tmp_path):
    pin = pin_of(repository(tmp_path / "repository"))
    partial = tmp_path / ".out.partial"
    partial.mkdir()
    (partial / "00000.jsonl").write_text('{"text": "old"}\n')
    old = {"pin": {"dataset": "old"}, "text_keys": ["text"], "rows": 1, "shards": {"00000.jsonl": 16}, "stream": None}
    old["complete"] = True
    (partial / RECORD).write_text(json.dumps(old))
    write_shards(pin, ["text"], tmp_path / "out")
    assert len(lines(tmp_path / "out")) == 75


def test_a_missing_column_is_named_with_those_that_are_there(tmp_path):
    pin = pin_of(saved(tmp_path / "saved", [{"id": 1, "data": {"note": "deeper"}, "turns": [1]}]))
    with pytest.raises(
        UserError, match=r"expected a column text or content.*, it has id, data, turns\. .*text_keys in params\.yaml"
    ):
        write_shards(pin, list(TEXT_KEYS), tmp_path / "out")
    with pytest.raises(UserError, match=r"expected text, got turns \(list\)"):
        write_shards(pin, ["turns"], tmp_path / "out")
    assert write_shards(pin, ["data.note"], tmp_path / "out").rows == 1


def test_a_dataset_without_rows_says_so(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/train.csv").write_text("id,text\n")
    with pytest.raises(UserError, match="has no rows"):
        write_shards(pin_of(tmp_path / "empty"), ["text"], tmp_path / "out")
    nothing, one = datasets.Dataset.from_dict({"text": []}), datasets.Dataset.from_dict({"text": ["one"]})
    nothing.save_to_disk(tmp_path / "saved")
    datasets.DatasetDict({"train": nothing, "test": one}).save_to_disk(tmp_path / "splits")
    for folder in (tmp_path / "saved", tmp_path / "splits"):
        with pytest.raises(UserError, match=rf"dataset {folder} \(config default, split train\) has no rows"):
            write_shards(pin_of(folder), ["text"], tmp_path / "out")
    assert write_shards(pin_of(tmp_path / "splits", split="test"), ["text"], tmp_path / "test").rows == 1
    assert not (tmp_path / "out").exists()


def test_a_pinned_dataset_is_extracted_and_written_out_once(tmp_path):
    folder = repository(tmp_path / "repository")
    path = tmp_path / "data/mine.pin.json"
    hub.write_pin(path, pin_of(folder))
    found = whole_params.load(REPOSITORY / "params.yaml").extract
    settings = found.model_copy(update={"lexicon": str(REPOSITORY / found.lexicon)})
    source = DatasetSource(kind="dataset", path=str(path))
    assert extract("mine", source, settings, tmp_path / "out", Cache(tmp_path / "cache"))[0]["documents"] == 75
    written = {shard: shard.stat().st_mtime_ns for shard in (tmp_path / "data/raw/mine").iterdir()}
    extract("mine", source, settings, tmp_path / "again", Cache(tmp_path / "cache"))
    assert {shard: shard.stat().st_mtime_ns for shard in (tmp_path / "data/raw/mine").iterdir()} == written
    assert contents(tmp_path / "again") == contents(tmp_path / "out")
    (folder / "train-0.jsonl").write_text('{"text": "something else that is long enough", "id": 1}\n')
    hub.write_pin(path, pin_of(folder))
    assert extract("mine", source, settings, tmp_path / "again", Cache(tmp_path / "cache"))[0]["documents"] == 51


def test_other_text_keys_are_another_result(tmp_path):
    pin = pin_of(saved(tmp_path / "saved", [{"text": "one", "note": "two"}]))
    path = tmp_path / "mine.pin.json"
    hub.write_pin(path, pin)
    assert lines(materialise.materialise(path, ["text"])) == ["one"]
    assert lines(materialise.materialise(path, ["note"])) == ["two"]

"""The set that files become: every record is in it or counted, and the same files give the same bytes."""

import gzip
import json
import re
import urllib.parse
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from aura.conversations import building, listing, parts
from aura.conversations.accounts import Account
from aura.conversations.options import Conversations
from aura.core.errors import UserError
from aura.core.files import write_json
from aura.core.terms import SPLITS
from aura.sources import bucket, hub, url_pins
from aura.sources.hub import DatasetPin
from aura.tokenizer.tokenizer import Tokenizer
from aura.tokens.conversation_shards import ConversationShards
from tests.bucket import Bucket, client_environment
from tests.conversations.conftest import Made, spoken
from tests.conversations.test_recognition import SHAPES


def records(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"instruction": f"What is {n} + {n}?", "output": f"It is {2 * n}."} for n in range(start, start + count)]


def write(path: Path, values: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(value)}\n" for value in values), encoding="utf-8")
    return path


def json_source(path: Path, **options: Any) -> dict[str, Any]:
    return {"kind": "json", "path": str(path)} | options


def source(shards: ConversationShards, name: str = "a") -> dict[str, Any]:
    return dict(shards.manifest["sources"][name])


def lost(shards: ConversationShards, name: str = "a") -> dict[str, int]:
    return {reason: loss["count"] for reason, loss in source(shards, name)["lost"].items()}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_shape_is_counted(made: Made, tmp_path: Path):
    write(tmp_path / "in/a.jsonl", [record for _, record, _ in SHAPES])
    shards = made(a=json_source(tmp_path / "in"))
    expected = {shape: sum(one == shape for one, _, _ in SHAPES) for shape, _, _ in SHAPES}
    assert source(shards)["shapes"] == expected
    assert source(shards)["records"] == len(SHAPES)
    different = {tuple(messages) for _, _, messages in SHAPES}
    assert lost(shards) == {"duplicate": len(SHAPES) - len(different)}
    assert {tuple(messages) for messages in spoken(shards)} == different


MALFORMED: list[tuple[bytes, str]] = [
    (b"{", "malformed JSON"),
    (b"{'instruction': 'x'}", "malformed JSON"),
    (b'{"instruction": "x", "output": "y"', "malformed JSON"),
    (b'{"instruction": "x", "output": "y"}}', "malformed JSON"),
    (b"hello world", "malformed JSON"),
    (b'{"instruction": "x" "output": "y"}', "malformed JSON"),
    (b"7", "not a mapping"),
    (b"null", "not a mapping"),
    (b"true", "not a mapping"),
    (b'"only text"', "text without <human>: and <bot>:"),
    (b"{}", "empty"),
    (b'{"messages": []}', "empty"),
    (b'{"a": 1}', "no known keys"),
    (b'{"instruction": "x"}', "no answer"),
    (b'{"instruction": "x", "output": " "}', "no answer"),
    (b'{"output": "y"}', "no question"),
    (b'{"question": "", "answer": "y"}', "no question"),
    (b'{"messages": 7}', "turns are of a wrong type"),
    (b'{"messages": [7, 8]}', "turn is not a mapping"),
    (b'{"messages": [{"content": "x"}]}', "turn without role"),
    (b'{"messages": [{"role": "user"}]}', "turn without text"),
    (b'{"messages": [{"role": "narrator", "content": "x"}]}', "unknown role"),
    (b'{"messages": [{"role": "user", "content": 1.5}]}', "text is of a wrong type"),
    (b'{"messages": [{"role": "user", "content": [{"type": "image"}]}]}', "message in parts that are no text"),
    (b'{"instruction": ["x"], "output": {"y": 1}}', "text is of a wrong type"),
    (b'{"question": "x", "answer": "\\ud800"}', "lone surrogate"),
    (b'{"question": "x", "answer": "caf\xe9"}', "invalid UTF-8"),
    (b'{"question": "x", "answer": ' + b"[" * 500 + b"]" * 500 + b"}", "JSON nested too deeply"),
    (b'{"question": "x", "answer": "' + b"y" * 20_000 + b'"}', "JSON record of more than 10,000 bytes"),
]


def test_each_malformed_line_has_its_reason_and_its_place(made: Made, tmp_path: Path):
    good = [json.dumps(record).encode() for record in records(len(MALFORMED))]
    lines = [line for pair in zip(good, [line for line, _ in MALFORMED], strict=True) for line in pair]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    shards = made(a=json_source(tmp_path / "a.jsonl"), limit=10_000)
    reasons = [reason for _, reason in MALFORMED]
    assert lost(shards) == {reason: reasons.count(reason) for reason in reasons}
    assert source(shards)["shapes"] == {"alpaca": len(good)}
    for reason, loss in source(shards)["lost"].items():
        number = 2 * reasons.index(reason) + 2
        assert re.match(rf"a\.jsonl, line {number}( \(.*\))?$", loss["first"]), (reason, loss["first"])
    assert any("lost much" in line for line in shards.manifest["warnings"])


def test_text_that_spells_a_special_token_stays_text(made: Made, tmp_path: Path, spm: Path):
    texts = ["<eos>", "<bos> <USER> <ASSISTANT>", "NUL \0 inside", "naïve 🙂", "<pad>\u2028</s>"]
    write(tmp_path / "a.jsonl", [{"question": text, "answer": f"{text}!"} for text in texts])
    shards, tokenizer = made(a=json_source(tmp_path / "a.jsonl")), Tokenizer.load(spm / "spiece.model")
    special = {name: tokenizer.encode(name, allowed_special={name})[0] for name in ("<USER>", "<ASSISTANT>")}
    for split in SPLITS:
        found = shards.split(split)
        for number, row in enumerate(shards.rows(split)):
            ids = found.ids[found.offsets[number] : found.offsets[number + 1]]
            counts = {id: int(np.sum(ids == id)) for id in (tokenizer.bos_id, tokenizer.eos_id, *special.values())}
            assert counts == dict.fromkeys(counts, 1)
            learnt = ids[found.learnt[found.offsets[number] : found.offsets[number + 1]]]
            assert tokenizer.decode(learnt[:-1].tolist()) == row["messages"][1]["content"]
            assert learnt[-1] == tokenizer.eos_id
    assert {messages[0][1] for messages in spoken(shards)} == set(texts)


def test_every_layout_of_a_file_gives_the_same_conversations(made: Made, tmp_path: Path):
    values = records(40)
    lines = "".join(f"{json.dumps(value)}\n" for value in values)
    files = {
        "a.jsonl": lines.encode(),
        "bom.jsonl": b"\xef\xbb\xbf" + lines.encode(),
        "crlf.jsonl": lines.replace("\n", "\r\n").encode(),
        "wide.jsonl": lines.encode("utf-16"),
        "array.json": json.dumps(values, indent=2).encode(),
        "a.jsonl.gz": gzip.compress(lines.encode()),
        "a.jsonl.zst": zstandard.compress(lines.encode()),
    }
    expected = None
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        shards = made("out", a=json_source(tmp_path / name))
        expected = expected or spoken(shards)
        assert spoken(shards) == expected, name
        assert lost(shards) == {}
    table = pa.table({key: [value[key] for value in values] for key in values[0]} | {"id": list(range(40))})
    pq.write_table(table, tmp_path / "a.parquet")
    assert spoken(made("parquet", a={"kind": "parquet", "path": str(tmp_path / "a.parquet")})) == expected


def test_a_damaged_file_is_lost_as_a_whole(made: Made, tmp_path: Path):
    folder = tmp_path / "in"
    write(folder / "good.jsonl", records(20))
    whole = gzip.compress("".join(f"{json.dumps(value)}\n" for value in records(500, 100)).encode())
    (folder / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jsonl").touch()
    (folder / "page.jsonl").write_text("<!doctype html><title>404</title>")
    (folder / ".hidden.jsonl").write_text("{}")
    shards = made(a=json_source(folder))
    assert source(shards)["shapes"] == {"alpaca": 20}
    assert set(lost(shards)) == {
        *("truncated gzip", "empty file", "HTML page, not JSON: download it again", "hidden, left out")
    }


def test_a_lost_file_weighs_as_a_file_however_many_records_it_had(made: Made, tmp_path: Path):
    folder = tmp_path / "in"
    write(folder / "good.jsonl", records(200))
    whole = gzip.compress("".join(f"{json.dumps(value)}\n" for value in records(200, 1000)).encode())
    (folder / "cut.jsonl.gz").write_bytes(whole[:-20])
    shards = made(a=json_source(folder))
    assert lost(shards) == {"truncated gzip": 1}
    assert any("lost much" in line for line in shards.manifest["warnings"])
    (folder / "cut.jsonl.gz").unlink()
    (folder / ".hidden.jsonl").write_text("{}")
    assert made("again", a=json_source(folder)).manifest["warnings"] == []


def test_a_line_of_100_mb_is_lost_and_the_rest_is_read(made: Made, tmp_path: Path):
    with (tmp_path / "a.jsonl").open("wb") as file:
        file.write(b'{"question": "x", "answer": "')
        for _ in range(100):
            file.write(b"y" * 1_000_000)
        file.write(b'"}\n')
        file.write("".join(f"{json.dumps(value)}\n" for value in records(10)).encode())
    shards = made(a=json_source(tmp_path / "a.jsonl"))
    assert lost(shards) == {"JSON record of more than 1,000,000 bytes": 1}
    assert source(shards)["shapes"] == {"alpaca": 10}


def test_parquet_rows_are_records(made: Made, tmp_path: Path):
    chats = [[{"from": "human", "value": f"q{n}"}, {"from": "gpt", "value": f"a{n}"}] for n in range(30)]
    chats[3] = [{"from": "nobody", "value": "x"}]
    chats[4] = [{"from": "human", "value": "x" * 2000}, {"from": "gpt", "value": "y"}]
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"id": list(range(30)), "conversations": chats}), tmp_path / "in/a.parquet")
    pq.write_table(pa.table({"id": [1, 2], "title": ["x", "y"]}), tmp_path / "in/b.parquet")
    (tmp_path / "in/c.parquet").write_bytes(b"PAR1 no parquet at all PAR1")
    shards = made(a={"kind": "parquet", "path": str(tmp_path / "in")}, limit=1000)
    assert lost(shards) == {
        "unknown role": 1,
        "record of more than 1,000 bytes": 1,
        "no text column": 2,
        "damaged Parquet": 1,
    }
    assert [("user", "q0"), ("assistant", "a0")] in spoken(shards)
    assert source(shards)["lost"]["unknown role"]["first"] == "a.parquet, row 4 (turn 1: 'nobody')"


def test_bytes_and_maps_of_parquet_are_text_and_mappings(made: Made, tmp_path: Path):
    turn = pa.map_(pa.string(), pa.binary())
    chats = [[{"role": b"user", "content": f"q{n}".encode()}, {"role": b"gpt", "content": b"\xff"}] for n in range(3)]
    chats += [[{"role": b"user", "content": b"2+2?"}, {"role": b"gpt", "content": b"4"}] for _ in range(2)]
    chats[4][0]["content"] = "2·2?".encode()
    maps = [[list(one.items()) for one in chat] for chat in chats]
    pq.write_table(pa.table({"messages": pa.array(maps, pa.list_(turn))}), tmp_path / "a.parquet")
    shards = made(a={"kind": "parquet", "path": str(tmp_path / "a.parquet")})
    assert lost(shards) == {"invalid UTF-8": 3}
    expected = [[("user", question), ("assistant", "4")] for question in ("2+2?", "2·2?")]
    assert sorted(spoken(shards)) == expected


def test_many_short_conversations_are_several_portions(tmp_path: Path):
    write(tmp_path / "a.jsonl", records(40_000))
    values = {"sources": {"a": json_source(tmp_path / "a.jsonl")}, "held_out": 0.5, "max_record_bytes": 1000}
    settings = Conversations.model_validate(values)
    files = listing.files_of(settings.sources["a"])
    [task] = parts.planned("a", settings.sources["a"], files, tmp_path)
    sizes = [len(portion) for portion in parts._portions(task, 1000, Account())]
    assert sum(sizes) == 40_000
    assert max(sizes) <= parts.PORTION / (2 * parts.MESSAGE_BYTES)


def test_the_stage_twice_gives_the_same_bytes(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for number in range(4):
        write(tmp_path / f"in/{number}.jsonl", records(50, 40 * number))
    one = made("one", a=json_source(tmp_path / "in"), b=json_source(tmp_path / "in/0.jsonl"))
    assert lost(one, "a") == {"duplicate": 30}
    assert lost(one, "b") == {"duplicate": 50}
    assert source(one, "b")["conversations"] == {"train": 0, "held_out": 0}
    (tmp_path / "in/9.jsonl").write_text("[]\n7\n")  # a task without a conversation
    one = made("one", a=json_source(tmp_path / "in"), b=json_source(tmp_path / "in/0.jsonl"))
    monkeypatch.setattr(building.parts, "TASK_BYTES", 1)  # a task a file
    monkeypatch.setattr(building.parts, "PORTION", 100)
    monkeypatch.setattr(building, "SMALL", 0)  # in workers
    made("two", a=json_source(tmp_path / "in"), b=json_source(tmp_path / "in/0.jsonl"))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert not (tmp_path / "one/work").exists()


def test_no_conversation_moves_between_the_splits_when_others_come(made: Made, tmp_path: Path):
    write(tmp_path / "a.jsonl", records(200))
    before = made("one", a=json_source(tmp_path / "a.jsonl"))
    write(tmp_path / "b.jsonl", records(200, 1000))
    after = made("two", b=json_source(tmp_path / "b.jsonl"), a=json_source(tmp_path / "a.jsonl"))
    names = {split: {row["name"] for row in before.rows(split)} for split in SPLITS}
    assert 15 < len(names["held_out"]) < 65
    for split, there in names.items():
        assert {row["name"] for row in after.rows(split) if row["source"] == "a"} == there


def test_two_conversations_are_enough_and_one_is_not(made: Made, tmp_path: Path):
    write(tmp_path / "two.jsonl", records(2))
    counts = made(a=json_source(tmp_path / "two.jsonl"), held_out=0.0001).manifest["counts"]
    assert [counts[split]["conversations"] for split in SPLITS] == [1, 1]
    write(tmp_path / "one.jsonl", records(1))
    with pytest.raises(UserError, match="expected conversations that can be split"):
        made(a=json_source(tmp_path / "one.jsonl"))


def test_affect_is_that_of_the_text(made: Made, tmp_path: Path):
    write(tmp_path / "a.jsonl", [{"question": "happy joy?", "answer": "happy"}, *records(9)])
    shards = made(a=json_source(tmp_path / "a.jsonl"))
    rows = [row for split in SPLITS for row in shards.rows(split, ["name", "affect"])]
    affect = {row["name"]: row["affect"] for row in rows}
    assert affect["a.jsonl#0"][0] > 0
    assert affect["a.jsonl#1"] == [0.0] * 8


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "1 files, 0 records; 1 empty file, first at a.jsonl"),
        (b'{"a": 1}\n', "1 no known keys, first at a.jsonl, line 1 (keys a). Next: no known keys: rename the keys"),
    ],
)
def test_a_source_without_a_conversation_is_an_error(made: Made, tmp_path: Path, content: bytes, told: str):
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(UserError, match="No conversation in source a") as error:
        made(a=json_source(tmp_path / "a.jsonl"))
    assert told in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_source_that_is_not_there_is_an_error(made: Made, tmp_path: Path):
    with pytest.raises(UserError, match="does not exist"):
        made(a=json_source(tmp_path / "nothing"))
    with pytest.raises(ValueError, match="sources"):
        made()


def test_a_dataset_keeps_its_columns(made: Made, tmp_path: Path):
    values = [{**record, "rating": number} for number, record in enumerate(records(30))]
    datasets.Dataset.from_list(values).save_to_disk(tmp_path / "set")
    pin = tmp_path / "a.conversations.pin.json"
    revision = hub.resolve(str(tmp_path / "set"))
    hub.write_pin(pin, DatasetPin(dataset=str(tmp_path / "set"), split="train", revision=revision))
    shards = made(a={"kind": "dataset", "path": str(pin)})
    assert source(shards)["shapes"] == {"alpaca": 30}
    (line, *_) = next((tmp_path / "raw/a.conversations").glob("*.jsonl")).read_text().splitlines()
    assert json.loads(line) == records(1)[0]


def test_objects_of_a_bucket_are_read_where_they_are(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    server = Bucket(tmp_path / "buckets", name="talks")
    try:
        for name, value in client_environment(server.address).items():
            monkeypatch.setenv(name, value)
        lines = "".join(f"{json.dumps(record)}\n" for record in records(20))
        packed = gzip.compress(b'{"text": "<human>: x <bot>: y"}\n')
        for name, content in (("chat/a.jsonl", lines.encode()), ("chat/b.jsonl.gz", packed)):
            query = urllib.parse.urlencode({"uploadType": "media", "name": name})
            server._request("POST", f"/upload/storage/v1/b/talks/o?{query}", content)
        pin = tmp_path / "a.conversations.pin.json"
        found = bucket.look("gs://talks/chat", lambda name: ".jsonl" in name)
        url_pins.write(pin, "gs://talks/chat", found)
        shards = made(a=json_source(pin))
        assert source(shards)["shapes"] == {"alpaca": 20, "marked text": 1}
        assert lost(shards) == {}
        assert not (tmp_path / "raw").exists()
    finally:
        server.stop()


def test_docstrings_are_held_out_by_module(made: Made, tmp_path: Path):
    from importlib import metadata

    write_json(tmp_path / "conversations.pin.json", {"packages": {"optax": metadata.version("optax")}})
    shards = made(docstrings={"kind": "docstrings", "path": str(tmp_path / "conversations.pin.json")})
    modules = {split: {row["name"].partition(":")[0] for row in shards.rows(split)} for split in SPLITS}
    assert not modules["train"] & modules["held_out"]
    assert min(map(len, modules.values())) >= 5
    answers = [text for messages in spoken(shards) for role, text in messages if role == "assistant"]
    forms = re.compile(r"^`[\w*]+` (takes (no|\w+) arguments?|returns |is |[a-z]+)")
    assert len(answers) > 700
    assert all(forms.match(answer) and answer.endswith(".") for answer in answers)

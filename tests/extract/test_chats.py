"""A chat is one document in every kind of source, and other columns of a dataset stop nothing."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from aura.sources.documents.document import Lost
from aura.sources.documents.fields import TooDeep, first_text
from aura.sources.materialise import write_shards
from aura.sources.options import TEXT_KEYS, JsonSource, ParquetSource
from tests.extract.test_hub import pin_of
from tests.extract.test_materialise import lines
from tests.extract.test_readers import read

CALL = {"function": {"name": "look", "arguments": '{"x": 1}'}, "type": "function"}
PARTS = [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]
CHATS = [
    {"messages": [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Yes."}]},
    {"conversations": [{"from": "human", "value": "Hello?"}, {"from": "gpt", "value": "Yes."}]},
    {"messages": [{"role": "user", "content": PARTS}]},
    {"messages": [{"role": "assistant", "content": None, "tool_calls": [CALL]}, {"role": "tool", "content": "2"}]},
]  # fmt: skip
EXPECTED = [
    "user: Hello?\n\nassistant: Yes.",
    "human: Hello?\n\ngpt: Yes.",
    "user: a\nb",
    'assistant: look({"x": 1})\n\ntool: 2',
]


@pytest.mark.parametrize("number", range(len(CHATS)))
def test_a_chat_is_one_document_in_all_kinds(tmp_path: Path, number: int):
    chat, expected = CHATS[number], EXPECTED[number].encode()
    data = json.dumps(chat).encode()
    assert read(JsonSource(kind="json", path="x"), data) == [expected]
    pq.write_table(pa.Table.from_pylist([chat]), tmp_path / "a.parquet")
    found = read(ParquetSource(kind="parquet", path="x"), (tmp_path / "a.parquet").read_bytes())
    assert found == [expected]
    (tmp_path / "set").mkdir()
    (tmp_path / "set/train.jsonl.zst").write_bytes(zstandard.compress(data))
    write_shards(pin_of(tmp_path / "set"), TEXT_KEYS, tmp_path / "out")
    assert lines(tmp_path / "out") == [expected.decode()]


@pytest.mark.parametrize("number", range(len(CHATS)))
@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("limit", [400, 16_000_000])  # bytes; the turns of a chat that is too large come one by one
def test_a_chat_by_itself_is_one_document_wherever_it_stands(number: int, indent: int | None, limit: int):
    (turns,), expected = CHATS[number].values(), EXPECTED[number].encode()
    line, record = json.dumps(turns, indent=indent), json.dumps({"text": "between"})
    for data in (line, f"{line}\n{line}\n", f"{record}\n{line}\n{record}\n{line}", f"{line} {line}", f"\x1e{line}\n"):
        read_values = [expected] * data.count(line)
        if record in data:
            read_values = [b"between", expected] * 2
        assert read(JsonSource(kind="json", path="x"), data.encode(), limit=limit) == read_values
    long = [{**turn, "note": "x" * 900} for turn in turns]
    found = read(JsonSource(kind="json", path="x"), json.dumps(long).encode(), limit=400)
    assert all(isinstance(one, Lost) or one != expected for one in found)


def test_an_array_of_records_is_no_chat_and_a_text_key_that_is_named_decides():
    records = [{"role": "editor", "content": "one"}, {"role": "author", "content": "two"}]
    assert read(JsonSource(kind="json", path="x"), json.dumps(records).encode()) == [b"one", b"two"]
    mixed = [{"role": "user", "content": "one"}, {"content": "two"}]
    assert read(JsonSource(kind="json", path="x"), json.dumps(mixed).encode()) == [b"one", b"two"]
    turns = json.dumps(CHATS[0]["messages"]).encode()
    assert read(JsonSource(kind="json", path="x", text_keys=["content"]), turns) == [b"Hello?", b"Yes."]
    broken = turns[:-1] + b', {"role": oops}]'
    assert read(JsonSource(kind="json", path="x"), broken) == [b"Hello?", b"Yes.", Lost("malformed JSON")]


def test_a_record_with_a_text_is_no_chat_and_what_only_looks_like_one_is_taken_apart():
    assert first_text({"messages": CHATS[0]["messages"], "text": "this"}, TEXT_KEYS) == "this"
    export = {"messages": [{"from": "Alice", "text": "one"}, {"from": "Bob", "text": "two"}]}
    assert read(JsonSource(kind="json", path="x"), json.dumps(export).encode()) == [b"one", b"two"]


def deep(levels: int, **more: object) -> list[object]:
    value: list[object] = []
    for _ in range(levels):
        value = [{"type": "x", **more, "content": value}]
    return value


def test_what_is_nested_too_deeply_is_one_counted_loss():
    chats = [deep(300), [{"role": "user", "content": deep(90, role="user")}], [{"role": "user", "content": "last"}]]
    data = b"".join(json.dumps({"messages": chat}).encode() + b"\n" for chat in chats)
    found = read(JsonSource(kind="json", path="x"), data)
    assert found == [Lost("JSON nested too deeply"), Lost("no text key"), b"user: last"]
    arguments: object = 1
    for _ in range(100_000):
        arguments = [arguments]
    call = {"role": "assistant", "content": "", "tool_calls": [{"name": "look", "arguments": arguments}]}
    with pytest.raises(TooDeep):
        first_text({"messages": [call]}, TEXT_KEYS)


def test_columns_that_differ_from_file_to_file_stop_no_dataset(tmp_path: Path):
    (tmp_path / "set").mkdir()
    for number, note in enumerate([None, 1, {"x": 1}, "s", [1, "s"]]):
        record = {"text": f"number {number}", **({"note": note} if number else {})}
        (tmp_path / f"set/train-{number}.jsonl").write_text(json.dumps(record))
    write_shards(pin_of(tmp_path / "set"), TEXT_KEYS, tmp_path / "out")
    assert lines(tmp_path / "out") == [f"number {number}" for number in range(5)]


@pytest.mark.parametrize(("kind", "name"), [("txt", "a.txt"), ("json", "a.json.gz"), ("parquet", "a.parquet")])
def test_a_pointer_or_a_page_in_the_place_of_a_file_is_called_so(kind: str, name: str):
    from aura.sources.documents.impostors import impostor

    assert "git lfs pull" in impostor(kind, name, b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n")
    assert ("HTML page" in impostor(kind, name, b" <!DOCTYPE html><html>")) == (kind != "txt")
    assert impostor(kind, name, b'{"text": "<html>"}') == ""

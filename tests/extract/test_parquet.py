import gzip
import io
import json
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aura.extract.extract import extract
from aura.extract.readers import documents
from aura.project import whole_params
from aura.sources.documents import parquet
from aura.sources.documents.document import Lost
from aura.sources.documents.impostors import impostor
from aura.sources.options import ParquetSource
from aura.storage.cache import Cache
from tests.conftest import REPOSITORY

LONG = "a happy document that is long enough, number "


def packed(columns: dict[str, object], **options: object) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink, **options)
    return sink.getvalue().to_pybytes()


def read(data: bytes, *text_keys: str) -> list[bytes | Lost]:
    options = {"text_keys": list(text_keys)} if text_keys else {}
    source = ParquetSource.model_validate({"kind": "parquet", "path": "x", **options})
    return list(documents(source, io.BytesIO(data), 16_000_000))


def test_the_first_key_that_holds_a_string_counts_row_by_row():
    data = packed({"id": [1, 2, 3], "body": ["x", "y", "z"], "content": ["one", None, "three"], "text": [1, 2, 3]})
    assert read(data) == [b"one", b"y", b"three"]
    assert read(data, "body") == [b"x", b"y", b"z"]


def test_a_row_without_text_keeps_its_number():
    assert read(packed({"text": ["one", None, "three"]})) == [b"one", Lost("no text key"), b"three"]


def test_a_dotted_path_leads_into_structs_and_names_columns_with_dots():
    rows = [{"note": {"de": "eins"}}, {"note": None}, None]
    data = packed({"data": pa.array(rows), "data.note": ["column", "column", None]})
    assert read(data, "data.note.de") == [b"eins", Lost("no text key"), Lost("no text key")]
    assert read(data, "data.note.de", "data.note") == [b"eins", b"column", Lost("no text key")]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), "string")])
def test_every_kind_of_string_column_is_read(kind):
    assert read(packed({"text": pa.array(["one", "two", "one"], kind)})) == [b"one", b"two", b"one"]


def test_more_rows_than_a_batch_come_in_order():
    texts = [f"row {number}".encode() for number in range(2000)]
    assert read(packed({"text": [text.decode() for text in texts]}, row_group_size=300)) == texts


def test_bytes_that_a_file_wrongly_calls_text_reach_the_cleaning_as_they_are():
    column = pa.array([b"good", b"ab\xff"]).view(pa.string())
    assert read(packed({"text": column})) == [b"good", b"ab\xff"]


@pytest.mark.parametrize("kind", [pa.list_(pa.string()), pa.large_list(pa.large_string()), pa.list_(pa.string(), 1)])
def test_a_row_of_a_list_or_a_chat_that_is_no_text_loses_itself_alone(kind):
    values = pa.array([b"good", b"ab\xff", b"last"]).view(pa.string())
    offsets = [0, 1, 2, 3]
    lists = pa.FixedSizeListArray.from_arrays(values, 1) if kind.__class__ is pa.FixedSizeListType else None
    column = lists or pa.ListArray.from_arrays(offsets, values).cast(kind)
    assert read(packed({"text": column})) == [b"good", b"ab\xff", b"last"]
    turns = pa.StructArray.from_arrays([pa.array(["user"] * 3), values], ["role", "content"])
    chats = pa.ListArray.from_arrays(offsets, turns)
    assert read(packed({"messages": chats})) == [b"user: good", b"user: ab\xff", b"user: last"]


def test_files_without_text_rows_or_sense_have_different_reasons():
    data = packed({"text": [LONG] * 10})
    [lost] = read(packed({"id": [1], "data": [{"text": "deeper"}]}))
    assert isinstance(lost, Lost)
    assert (lost.reason, lost.place) == ("no text column", "columns: id (int64), data (struct<text: string>)")
    assert read(packed({"text": pa.array([], "string")})) == [Lost("empty")]
    assert read(data[:-1]) == read(b"PAR1 and no more PAR1") == [Lost("damaged Parquet")]


def test_rows_before_a_damaged_page_are_kept_and_the_fault_is_counted():
    options = {"row_group_size": 256, "write_page_checksum": True, "compression": "none", "use_dictionary": False}
    data = bytearray(packed({"text": [f"{LONG}{number}" for number in range(512)]}, **options))
    data[data.index(f"{LONG}400".encode())] ^= 1
    found = read(bytes(data))
    assert found == [*(f"{LONG}{number}".encode() for number in range(256)), Lost("damaged Parquet")]


def test_a_damaged_row_group_takes_no_row_of_a_smaller_one_before_it_along():
    options = {"row_group_size": 10, "write_page_checksum": True, "compression": "none", "use_dictionary": False}
    data = bytearray(packed({"text": [f"{LONG}{number}" for number in range(100, 200)]}, **options))
    data[data.index(f"{LONG}174".encode())] ^= 1
    found = read(bytes(data))
    assert found == [*(f"{LONG}{number}".encode() for number in range(100, 170)), Lost("damaged Parquet")]


def test_extraction_names_each_document_by_file_and_row(tmp_path: Path):
    (tmp_path / "rows").mkdir()
    data = packed({"text": [f"{LONG}0", None, f"{LONG}2"]})
    (tmp_path / "rows/a.parquet").write_bytes(data)
    (tmp_path / "rows/b.parquet.gz").write_bytes(gzip.compress(data))
    found = whole_params.load(REPOSITORY / "params.yaml").extract
    settings = found.model_copy(update={"lexicon": str(REPOSITORY / found.lexicon), "shards": 1})
    source = ParquetSource(kind="parquet", path=str(tmp_path / "rows"))
    extract("mine", source, settings, tmp_path / "out", Cache(tmp_path / "cache"))
    rows = pq.read_table(tmp_path / "out/0000.parquet").to_pylist()
    assert {row["doc"]: row["text"] for row in rows} == {
        f"{name}#{row}": f"{LONG}{row}" for name in ("a.parquet", "b.parquet.gz") for row in (0, 2)
    }
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["totals"]["lost"] == {"no text key": 2}
    assert [file["bytes_decompressed"] for file in manifest["files"]] == [len(data), len(data)]


ROWS = [f"{LONG}{number}" for number in range(10)]
CHAT = [[{"role": "user", "content": row}, {"role": "assistant", "content": "Yes."}] for row in ROWS]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([row.encode() for row in ROWS]), ROWS),
        (pa.array([row.encode() for row in ROWS], pa.large_binary()).dictionary_encode(), ROWS),
        (pa.array([[row, "more"] for row in ROWS]), [f"{row}\nmore" for row in ROWS]),
        (pa.array([{"content": row, "id": 1} for row in ROWS]), ROWS),
        (pa.array(CHAT), [f"user: {row}\n\nassistant: Yes." for row in ROWS]),
    ],
    ids=["binary", "dictionary of binary", "list", "struct", "chat"],
)
def test_text_is_found_in_columns_of_other_types(column, expected):
    assert read(packed({"id": [1] * 10, "text": column})) == [text.encode() for text in expected]


def test_rows_without_text_are_counted_one_by_one_whatever_the_reason():
    assert read(packed({"text": pa.nulls(10)})) == [Lost("no text key")] * 10
    [lost] = read(packed({"id": list(range(10))}))
    assert (lost.reason, lost.count) == ("no text column", 10)


def test_of_two_columns_with_one_name_the_first_is_read():
    both = pa.Table.from_arrays([pa.array(ROWS), pa.array(["other"] * 10)], names=["text", "text"])
    sink = pa.BufferOutputStream()
    pq.write_table(both, sink)
    assert read(sink.getvalue().to_pybytes()) == [row.encode() for row in ROWS]


def test_a_damaged_file_is_a_counted_loss_wherever_the_damage_is():
    """Nothing that pyarrow raises may leave the reader: the whole source would stop."""
    random = Random(7)  # noqa: S311 - of damages
    table = {
        "text": ROWS,
        "messages": pa.array(CHAT),
        "body": pa.array(ROWS).dictionary_encode(),
        "note": [{"de": "x"}] * 10,
    }
    good = packed(table, compression="none", row_group_size=4)
    footer = len(good) - 8 - int.from_bytes(good[-8:-4], "little")
    for number in range(1500):
        data = bytearray(good)
        for _ in range(random.randint(1, 4)):
            place = random.randrange(footer, len(good)) if number % 3 else random.randrange(len(good))
            data[place] = random.randrange(256) if number % 2 else data[place] ^ 1 << random.randrange(8)
        for item in read(bytes(data), "text", "messages", "note.de"):
            assert isinstance(item, bytes | Lost)


def test_a_few_bytes_that_stand_for_much_text_are_given_up_in_bounded_memory():
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), pa.array(["x" * 10**6]))
    data = packed({"text": column}, compression="zstd", store_schema=False)
    assert len(data) < 1000
    source = ParquetSource(kind="parquet", path="x")
    before, count, lost = pa.total_allocated_bytes(), 0, []
    for item in documents(source, io.BytesIO(data), 16_000_000):
        assert pa.total_allocated_bytes() - before < 20_000_000
        count += isinstance(item, bytes)
        lost += [item] if isinstance(item, Lost) else []
    assert lost == [Lost("decompresses to more than 200 times its size and 64 MB")]
    assert (count, count + lost[0].count) == (64, 20_000)


def test_an_encrypted_file_is_called_so():
    assert read(b"PARE" + bytes(100) + b"PARE") == [Lost("encrypted Parquet")]


def test_text_in_binary_of_one_size_is_read(tmp_path):
    texts = [f"text number {number}".encode() for number in range(3)]
    table = pa.table({"text": pa.array(texts, pa.binary(len(texts[0])))})
    pq.write_table(table, tmp_path / "a.parquet")
    with (tmp_path / "a.parquet").open("rb") as stream:
        assert list(parquet.texts(stream, ["text"])) == texts


@pytest.mark.parametrize(
    ("start", "name"), [(b"\x1f\x8b\x08", "gzip"), (b"ARROW1\0\0", "Arrow"), (b"PK\x03\x04", "zip"), (b"ORC", "ORC")]
)
def test_another_format_named_parquet_is_named_and_not_called_damaged(start: bytes, name: str):
    assert impostor("parquet", "a.parquet", start + bytes(100)) == f"{name}, not Parquet: rename or convert it"
    assert impostor("parquet", "a.parquet.gz", start + bytes(100)) == ""
    assert impostor("parquet", "a.parquet", b"PAR1" + bytes(100)) == ""

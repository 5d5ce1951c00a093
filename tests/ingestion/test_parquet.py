import gzip
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aura import params
from aura.cache import Cache
from aura.ingestion.document import Lost
from aura.ingestion.extract import extract
from aura.ingestion.readers import documents
from tests.conftest import REPOSITORY

LONG = "a happy document that is long enough, number "


def packed(columns: dict[str, object], **options: object) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink, **options)
    return sink.getvalue().to_pybytes()


def read(data: bytes, *text_keys: str) -> list[bytes | Lost]:
    options = {"text_keys": list(text_keys)} if text_keys else {}
    source = params.ParquetSource.model_validate({"kind": "parquet", "path": "x", **options})
    return list(documents(source, "a.parquet", io.BytesIO(data), 16_000_000))


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


def test_files_without_text_rows_or_sense_have_different_reasons():
    data = packed({"text": [LONG] * 10})
    assert read(packed({"id": [1], "data": [{"text": "deeper"}]})) == [Lost("no text column")]
    assert read(packed({"text": pa.array([], "string")})) == [Lost("empty")]
    assert read(data[:-1]) == read(b"PAR1 and no more PAR1") == [Lost("damaged Parquet")]


def test_rows_before_a_damaged_page_are_kept_and_the_fault_is_counted():
    options = {"row_group_size": 256, "write_page_checksum": True, "compression": "none", "use_dictionary": False}
    data = bytearray(packed({"text": [f"{LONG}{number}" for number in range(512)]}, **options))
    data[data.index(f"{LONG}400".encode())] ^= 1
    found = read(bytes(data))
    assert found == [*(f"{LONG}{number}".encode() for number in range(256)), Lost("damaged Parquet")]


def test_extraction_names_each_document_by_file_and_row(tmp_path: Path):
    (tmp_path / "rows").mkdir()
    data = packed({"text": [f"{LONG}0", None, f"{LONG}2"]})
    (tmp_path / "rows/a.parquet").write_bytes(data)
    (tmp_path / "rows/b.parquet.gz").write_bytes(gzip.compress(data))
    found = params.load(REPOSITORY / "params.yaml").extract
    settings = found.model_copy(update={"lexicon": str(REPOSITORY / found.lexicon), "shards": 1})
    source = params.ParquetSource(kind="parquet", path=str(tmp_path / "rows"))
    extract("mine", source, settings, tmp_path / "out", Cache(tmp_path / "cache"))
    rows = pq.read_table(tmp_path / "out/0000.parquet").to_pylist()
    assert {row["doc"]: row["text"] for row in rows} == {
        f"{name}#{row}": f"{LONG}{row}" for name in ("a.parquet", "b.parquet.gz") for row in (0, 2)
    }
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["totals"]["lost"] == {"no text key": 2}
    assert [file["bytes_decompressed"] for file in manifest["files"]] == [len(data), len(data)]

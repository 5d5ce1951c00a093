"""What `aura corpus duplicates` shows."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aura.cli.corpus import duplicates
from aura.select.record import SCHEMA


def test_the_counts_name_a_document_to_ask_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    record = tmp_path / "duplicates.parquet"
    pq.write_table(SCHEMA.empty_table(), record, write_page_checksum=True)
    duplicates(None, record=record)
    assert capsys.readouterr().out == "select dropped no duplicates\n"
    row = {"source": "a", "doc": "one file.txt", "reason": "duplicate", "of_source": "b", "of_doc": "two.txt"}
    pq.write_table(pa.Table.from_pylist([row], SCHEMA), record, write_page_checksum=True)
    duplicates(None, record=record)
    assert "aura corpus duplicates 'one file.txt'" in capsys.readouterr().out
    duplicates("one file.txt", record=record)
    assert "duplicate of b: two.txt" in capsys.readouterr().out

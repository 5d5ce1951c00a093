"""Shards are read some documents at a time, however large the documents and the row groups are."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aura.core import checksums
from aura.corpus import corpus
from aura.corpus.corpus import SCHEMA, text_hash
from aura.encode.shard_encoding import blocks


@pytest.mark.parametrize("rows_of_a_group", [1, 7, 1000])
@pytest.mark.parametrize("size", [10, 3_000])
def test_a_reader_holds_some_documents_whatever_their_size(tmp_path: Path, monkeypatch, rows_of_a_group, size):
    monkeypatch.setattr(corpus, "BATCH_BYTES", 10_000)
    texts = [f"{number} {'x' * size}" for number in range(600)]
    columns = {
        "text": texts,
        "doc": [str(number) for number in range(600)],
        "source": ["a"] * 600,
        "affect": [[0.0] * 8] * 600,
        "text_hash": [text_hash(text.encode()) for text in texts],
    }
    pq.write_table(pa.table(columns, SCHEMA), tmp_path / "a-0.parquet", rows_of_a_group, use_dictionary=False)
    checksums.write(tmp_path)
    [shard] = corpus.shards(tmp_path)
    read = list(corpus.read_column(shard, "text"))
    assert [text for some in read for text in some.to_pylist()] == texts
    assert max(map(len, read)) <= 256
    assert max(sum(map(len, some.to_pylist())) for some in read) <= 10_000
    assert [text for block in blocks(shard) for text in block["text"].to_pylist()] == texts

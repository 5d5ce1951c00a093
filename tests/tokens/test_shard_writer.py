from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aura.core import files
from aura.tokens import shard_writer
from aura.tokens.shard_writer import TokenShardWriter
from aura.tokens.token_shards import DOCUMENTS

BLOCKS = st.lists(st.lists(st.integers(0, 9), max_size=8), min_size=1, max_size=5)  # tokens of each document


def index_of(tokens: list[int], first: int) -> pa.Table:
    columns = {
        "tokens": tokens,
        "bytes": [3 * count for count in tokens],
        "doc": [f"document {first + place}" for place in range(len(tokens))],
        "source": ["a"] * len(tokens),
        "affect": [[0.125 * place] * 8 for place in range(len(tokens))],
    }
    schema = pa.schema([field for field in DOCUMENTS if field.name != "offset"])
    return pa.table(columns, schema=schema)


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
@given(blocks=BLOCKS)
def test_blocks_give_the_bytes_of_a_shard_written_at_once(
    tmp_path_factory: pytest.TempPathFactory, dtype: type, blocks: list[list[int]]
):
    folder = tmp_path_factory.mktemp("shard")
    starts = np.cumsum([0, *map(len, blocks)]).tolist()
    indexes = [index_of(tokens, first) for tokens, first in zip(blocks, starts, strict=False)]
    parts = [np.arange(sum(tokens), dtype=dtype) for tokens in blocks]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard_writer, "GROUP_ROWS", 6)
        with TokenShardWriter(folder, "train/a-000", np.dtype(dtype)) as writer:
            for ids, index in zip(parts, indexes, strict=True):
                writer.add(ids, index)
            entry = writer.finish()
    ids = np.concatenate(parts)
    np.save(folder / "ids.npy", ids)
    assert (folder / "train/a-000.npy").read_bytes() == (folder / "ids.npy").read_bytes()
    whole = pa.concat_tables(indexes)
    tokens = whole["tokens"].to_numpy()
    whole = whole.add_column(0, "offset", pa.array(np.cumsum(tokens) - tokens)).cast(DOCUMENTS)
    pq.write_table(whole, folder / "documents.parquet", compression="zstd", row_group_size=6)
    assert (folder / "train/a-000.parquet").read_bytes() == (folder / "documents.parquet").read_bytes()
    assert (entry.documents, entry.tokens, entry.bytes) == (len(whole), len(ids), 3 * len(ids))
    assert (entry.ids_size, entry.ids_sha256) == (
        (folder / "ids.npy").stat().st_size,
        files.sha256_file(folder / "ids.npy"),
    )


def test_a_shard_that_fails_leaves_its_files_closed_and_what_was_linked_as_it_was(tmp_path: Path):
    kept = tmp_path / "kept"
    kept.write_bytes(b"of the cache")
    (tmp_path / "train").mkdir()
    (tmp_path / "train/a-000.npy").hardlink_to(kept)
    writer = TokenShardWriter(tmp_path, "train/a-000", np.dtype(np.uint16))
    with pytest.raises(KeyError, match="bytes"), writer:
        writer.add(np.arange(3, dtype=np.uint16), index_of([3], 0).drop_columns(["bytes"]))
    assert writer._ids.closed
    assert kept.read_bytes() == b"of the cache"

"""The corpus hash is that of all text hashes in order, however many files and ranges carry them."""

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.core import checksums
from aura.core.errors import UserError
from aura.corpus import set_hash
from aura.corpus.set_hash import corpus_hash

HALF = st.sampled_from([b"\0" * 8, b"\xff" * 8, b"\x80" + b"\0" * 7, b"\x7f" * 8]) | st.binary(min_size=8, max_size=8)


def write(folder: Path, shards: list[list[bytes]]) -> Path:
    folder.mkdir(parents=True)
    for number, hashes in enumerate(shards):
        pq.write_table(pa.table({"text_hash": pa.array(hashes, pa.binary(16))}), folder / f"{number:03d}.parquet")
    checksums.write(folder)
    return folder


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.tuples(HALF, HALF).map(b"".join), max_size=8), min_size=1, max_size=6), st.integers(1, 3))
def test_it_is_the_hash_of_all_hashes_in_order(tmp_path_factory, shards, together):
    folder = write(tmp_path_factory.mktemp("corpus") / "train", shards)
    expected = hashlib.sha256(b"".join(sorted(hash for hashes in shards for hash in hashes))).hexdigest()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(set_hash, "GROUP_SHARDS", together)
        patch.setattr(set_hash, "RANGE_HASHES", 2)
        assert corpus_hash(folder, folder.parent) == expected
    assert corpus_hash(folder) == expected
    assert [path.name for path in folder.parent.iterdir()] == ["train"]


def test_an_altered_shard_is_told(tmp_path):
    folder = write(tmp_path / "train", [[bytes(16)], [bytes(range(16))]])
    path = folder / "001.parquet"
    path.write_bytes(path.read_bytes() + b"!")
    with pytest.raises(UserError, match=r"001\.parquet was altered"):
        corpus_hash(folder)

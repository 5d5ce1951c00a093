"""A store that takes a while to answer: requests go 16 at a time and more, and lists are asked for once."""

import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aura.core import checksums
from aura.corpus.corpus import SCHEMA, text_hash
from aura.select import select as select_module
from aura.select.options import Select
from aura.select.select import select
from aura.storage import store
from aura.storage.placement import Kept, ShardPlace, of, write_lists
from tests.waiting_store import WaitingFileSystem

RULES = Select.model_validate({"deduplicate": "exact", "near_duplicates": 0.9, "held_out": 0.5, "caps": {}})


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ShardPlace:
    monkeypatch.delenv("AURA_CACHE", raising=False)
    monkeypatch.setattr(select_module, "SMALL", 1e12)  # in this process, which counts
    store._system.cache_clear()
    return of(f"waiting://{tmp_path}/store")


def extracted(folder: Path, place: ShardPlace, number: int) -> None:
    """Write shards of two documents each into a store, as `extract` leaves them; the store does not wait meanwhile."""
    WaitingFileSystem.begin(0)
    folder.mkdir(parents=True)
    kept = []
    for shard in range(number):
        texts = [f"document {place} of shard {shard} of {folder.name}, and so on" for place in range(2)]
        columns = {
            "text": texts,
            "doc": [f"{shard}-{place}" for place in range(2)],
            "source": [folder.name] * 2,
            "affect": [[0.0] * 8] * 2,
            "text_hash": [text_hash(text.encode()) for text in texts],
        }
        path = folder / f"{shard:06d}.parquet"
        pq.write_table(pa.table(columns, schema=SCHEMA), path)
        assert place.store
        kept.append(Kept(None, {path: place.store.put(path)}))
        path.unlink()
    write_lists(kept)
    checksums.write(folder)


@pytest.mark.parametrize(("number", "delay"), [(200, 0.05), pytest.param(1024, 0.03, marks=pytest.mark.slow)])
def test_select_waits_for_many_requests_at_a_time(tmp_path, place, number, delay):
    extracted(tmp_path / "extracted/a", place, number)
    for again in (False, True):
        WaitingFileSystem.begin(delay)
        began = time.monotonic()
        select(["a"], RULES, tmp_path / "extracted", tmp_path / "corpus", place.cache(), place)
        wall, requests = time.monotonic() - began, WaitingFileSystem.requests.total()
        print(
            f"{number} shards: {wall:.1f} s, {requests:,} requests, {WaitingFileSystem.at_once():.1f} at a time; "
            f"{requests * delay / 16:.1f} s with 16 of {delay:.2f} s; {dict(WaitingFileSystem.requests)}"
        )
        assert WaitingFileSystem.at_once() > 16
        if again:
            assert WaitingFileSystem.requests["write"] == 0
            assert WaitingFileSystem.requests["info"] == 0 or number < 4096, "lists say what is there"

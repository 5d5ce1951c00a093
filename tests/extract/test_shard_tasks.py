"""Tasks of shards: what a cluster's scheduler passes on does not grow with a shard's files."""

from pathlib import Path

import pytest

from aura.core import parallel
from aura.core.cluster_calls import Here
from aura.extract import extract as extraction
from aura.extract import shard_tasks
from aura.extract.assembly import ShardPlan
from aura.sources.input_files import InputFile
from aura.sources.object_reader import Stored
from aura.sources.options import TxtSource
from aura.storage.cache import Cache
from tests.mini_tokens import PARAMS

FILES = [
    InputFile("a.txt", "in", "a.txt", 7, -(2**62)),
    InputFile("\\udc80é.txt", "in", "\udc80é.txt", 0, 0, "hidden, left out"),
    InputFile("b.txt", "in", "b.txt", 9, 2**62, known=("0" * 32, 9)),
    InputFile("c.txt", "gs://bucket", "c.txt", 9, 3, stored=Stored(9, "md5Hash:x", "1", "gzip")),
]


@pytest.mark.parametrize("digests", [None, ["0" * 32] * len(FILES)])
def test_a_task_has_the_plan_of_its_shard(tmp_path: Path, digests: list[str] | None):
    shard = ShardPlan(3, 16, FILES, [0, 1, 2, 3], digests)
    task = shard_tasks.sent(shard, tmp_path)
    assert str(task) == str(shard)
    assert shard_tasks._plan(task) == ShardPlan(3, 16, FILES, [], digests)


class _Weighed(parallel.SerialExecutor):
    """Counts the bytes of each call and of its result, as a cluster packs them."""

    def __init__(self) -> None:
        self.here, self.sizes = Here("Dask"), list[int]()

    def submit(self, fn, /, *args, **kwargs):
        packed = self.here.packed(fn, args, kwargs)
        self.sizes.append(len(packed) + len(self.here.call(packed)))
        return super().submit(fn, *args, **kwargs)


def test_a_shard_of_many_files_is_a_small_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "in").mkdir()
    for number in range(1200):
        (tmp_path / f"in/{number:x}.txt").write_text(f"a document with the number {number}")
    pool = _Weighed()
    monkeypatch.setattr(parallel, "SerialExecutor", lambda: pool)
    settings = PARAMS.extract.model_copy(update={"shards": 2})
    source = TxtSource(kind="txt", path=str(tmp_path / "in"))
    extraction.extract("mine", source, settings, tmp_path / "out", Cache(tmp_path / "cache"))
    assert len(pool.sizes) == 2
    assert max(pool.sizes) < 5000
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".parquet", ".json", ""}

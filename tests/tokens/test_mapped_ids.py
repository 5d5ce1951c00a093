import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aura.core.errors import UserError
from aura.tokens import mapped_ids
from aura.tokens.mapped_ids import MappedIds
from aura.tokens.streams import TokenStream
from aura.tokens.token_shards import TokenShards
from tests.conftest import REPOSITORY
from tests.mini_tokens import MiniTokens


def saved(folder: Path, number: int, count: int) -> MappedIds:
    path = folder / f"{number}.npy"
    np.save(path, np.arange(count, dtype=np.uint16) + 10 * number)
    found = MappedIds.of(path)
    assert found is not None
    return found


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def few_maps(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """At most three maps at a time."""
    monkeypatch.setattr(mapped_ids, "MOST_MAPS", 3)
    mapped_ids._maps.cache_clear()
    yield
    mapped_ids._maps.cache_clear()


@pytest.mark.usefixtures("few_maps")
def test_a_stream_opens_nothing_until_it_is_read_and_few_files_then(tmp_path: Path):
    before = open_files()
    stream = TokenStream([saved(tmp_path, number, 10) for number in range(40)])
    assert open_files() == before
    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lambda start: stream.read(start, 25), list(range(0, 375, 25)) * 20))
    assert [part.tolist() for part in parts] == [list(range(start, start + 25)) for start in range(0, 375, 25)] * 20
    assert open_files() <= before + 3


@given(sizes=st.lists(st.integers(0, 30), min_size=1, max_size=9), data=st.data())
def test_files_read_as_arrays_do(tmp_path_factory: pytest.TempPathFactory, sizes: list[int], data: st.DataObject):
    folder = tmp_path_factory.mktemp("ids")
    found = [saved(folder, number, size) for number, size in enumerate(sizes)]
    arrays = [np.load(part.path) for part in found]
    start = data.draw(st.integers(0, sum(sizes)))
    count = data.draw(st.integers(0, sum(sizes) - start))
    assert TokenStream(found).read(start, count).tolist() == TokenStream(arrays).read(start, count).tolist()


@pytest.mark.parametrize("content", [b"", b"PK", b"\x93NUMPY\x01\x00\x05\x00{'a'}"])
def test_a_file_that_is_no_array_of_ids_is_told_by_its_header(tmp_path: Path, content: bytes):
    (tmp_path / "a.npy").write_bytes(content)
    assert MappedIds.of(tmp_path / "a.npy") is None
    np.save(tmp_path / "b.npy", np.zeros((2, 2), np.uint16))
    assert MappedIds.of(tmp_path / "b.npy") is None


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: np.save(path, np.zeros(5, np.uint16))])
def test_a_file_that_changed_since_the_stream_was_made_is_named(mini: MiniTokens, damage):
    stream = TokenShards(mini.tokens, mini.tokenizer.sha256).stream("train")
    damage(mini.tokens / "train/a-001.npy")
    with pytest.raises(UserError, match=r"train/a-001\.npy went missing, or was altered"):
        stream.read(0, len(stream))


PROGRAM = """
import json, os, resource, sys
from pathlib import Path
import pyarrow as pa, pyarrow.parquet as pq
from aura.core import checksums, files
from aura.corpus import corpus, set_hash
from aura.encode.encoding import encode_with
from aura.pretrain.options import Pretrain
from aura.pretrain.pretrain import training_sources
from aura.pretrain.step.batches import Batches
from aura.training.evaluation import evaluation_windows
from aura.storage.cache import Cache
from aura.tokenizer.tokenizer import Tokenizer
from aura.tokens.token_shards import TokenShards
from tests.mini_tokens import PARAMS, tiny

model, folder = Path(sys.argv[1]), Path(sys.argv[2])
listed, texts = [], []
for number in range(3000):
    file = folder / ("held_out" if number % 20 == 0 else "train") / f"s{number % 40:02d}-{number:04d}.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    text = f"The shard of number {number} has a text of its own, and no other shard has it. " * 3
    columns = {"text": [text], "doc": [file.name], "source": [file.name[:3]], "affect": [[0.0] * 8]}
    columns["text_hash"] = [corpus.text_hash(text.encode())]
    pq.write_table(pa.table(columns, schema=corpus.SCHEMA), file)
    path = f"{file.parent.name}/{file.name}"
    listed.append({"path": path, "sha256": files.sha256_file(file), "documents": 1, "bytes": len(text)})
for split in ("train", "held_out"):
    checksums.write(folder / split)
listed.sort(key=lambda file: file["path"])
hashes = {split: set_hash.corpus_hash(folder / split) for split in ("train", "held_out")}
files.write_json(folder / "manifest.json", checksums.sealed({"format": 1, "hash": hashes, "files": listed}))
tokenizer = Tokenizer(model)
assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 256
encode_with(tokenizer, folder, folder / "tokens", PARAMS.encode, Cache(folder / "cache"))
shards = TokenShards(folder / "tokens", tokenizer.encoding_sha256)
shards.verify()
options = tiny(source_weights={"s01": 2.0}, affect_conditioning=True)
batches = Batches(training_sources(shards, options), 64, options.seq_len, 0)
evaluation_windows({name: shards.stream("held_out", name) for name in shards.sources("held_out")}, 32, 10**6)
for step in range(batches.windows_per_epoch // 64 + 1):
    batches.batch(step)
print(len(shards.entries), len(os.listdir("/proc/self/fd")))
"""


@pytest.mark.slow
def test_a_process_of_few_files_encodes_and_reads_3000_shards(made: MiniTokens, tmp_path: Path):
    (tmp_path / "program.py").write_text(PROGRAM)
    command = f'ulimit -n 256 && exec "{sys.executable}" program.py "{made.spm}/spiece.model" corpus'
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shards, open_now = map(int, done.stdout.split())
    assert shards == 3000
    assert open_now < 128

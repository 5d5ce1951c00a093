from pathlib import Path

import pyarrow as pa
import pytest

from aura.core import checksums
from aura.corpus import corpus
from aura.corpus.shards import ShardWriter
from aura.storage.cache import Cache
from aura.train_tokenizer import corpus_counts
from aura.train_tokenizer.corpus_counts import count_corpus, count_texts
from aura.train_tokenizer.counts import MAX_WORD_CHARS, Account, Counts
from aura.train_tokenizer.segments import Splitting

SPLITTING = Splitting(split_digits=True, split_by_script=True, split_by_number=True, user_symbols=())

TEXTS = [
    ["a few words\n", "and  more\0 words"],
    ["x" * (MAX_WORD_CHARS + 9), "a few words of another shard \u2581"],
    ["中文字符 words"],
]


def plain(counts: Counts) -> tuple[dict[str, int], Account]:
    return dict(zip(counts.table["text"].to_pylist(), counts.table["count"].to_pylist(), strict=True)), counts.account


def counted(folder: Path, cache: Cache) -> tuple[dict[str, int], Account]:
    return plain(count_corpus(folder, SPLITTING, cache))


def write_shard(path: Path, texts: list[str]) -> None:
    rows = [
        {"text": text, "doc": "d", "source": "s", "affect": [0.0] * 8, "text_hash": corpus.text_hash(text.encode())}
        for text in texts
    ]
    path.unlink(missing_ok=True)
    writer = ShardWriter(path)
    writer.add(pa.Table.from_pylist(rows, schema=corpus.SCHEMA))
    writer.close()
    checksums.write(path.parent)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "train"
    folder.mkdir()
    for number, texts in enumerate(TEXTS):
        write_shard(folder / f"{number}.parquet", texts)
    return folder


def test_counts_of_shards_add_up_to_those_of_the_documents(folder, tmp_path):
    cache = Cache(tmp_path / "cache")
    expected = plain(count_texts([text for texts in TEXTS for text in texts], SPLITTING))
    assert counted(folder, cache) == expected
    assert counted(folder, cache) == expected, "read back from the cache"
    assert cache.stats().entries == len(TEXTS)


def test_worker_processes_count_the_same(folder, tmp_path, monkeypatch):
    expected = counted(folder, Cache(tmp_path / "cache"))
    monkeypatch.setattr(corpus_counts, "SMALL", 0)
    assert counted(folder, Cache(tmp_path / "other cache")) == expected


def test_only_a_changed_shard_is_counted_again(folder, tmp_path):
    cache = Cache(tmp_path / "cache")
    counted(folder, cache)
    write_shard(folder / "1.parquet", ["another text"])
    assert counted(folder, cache) == plain(count_texts([*TEXTS[0], "another text", *TEXTS[2]], SPLITTING))
    assert cache.stats().entries == len(TEXTS) + 1


def test_damaged_counts_are_made_again(folder, tmp_path):
    cache = Cache(tmp_path / "cache")
    expected = counted(folder, cache)
    for path in cache.folder.glob("[0-9a-f][0-9a-f]/*"):
        path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert counted(folder, cache) == expected
    assert counted(folder, cache) == expected

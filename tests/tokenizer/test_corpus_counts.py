from pathlib import Path

import pyarrow as pa
import pytest

from aura.cache import Cache
from aura.ingestion import corpus
from aura.ingestion.shards import ShardWriter
from aura.tokenizer.corpus_counts import count_corpus
from aura.tokenizer.counts import MAX_WORD_CHARS, count_words

TEXTS = [
    ["a few words\n", "and  more\0 words"],
    ["x" * (MAX_WORD_CHARS + 9), "a few words of another shard \u2581"],
    ["中文字符 words"],
]


def write_shard(path: Path, texts: list[str]) -> None:
    rows = [
        {"text": text, "doc": "d", "source": "s", "affect": [0.0] * 8, "text_hash": corpus.text_hash(text.encode())}
        for text in texts
    ]
    path.unlink(missing_ok=True)
    writer = ShardWriter(path)
    writer.add(pa.Table.from_pylist(rows, schema=corpus.SCHEMA))
    writer.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "train"
    folder.mkdir()
    for number, texts in enumerate(TEXTS):
        write_shard(folder / f"{number}.parquet", texts)
    return folder


def test_counts_of_shards_add_up_to_those_of_the_documents(folder, tmp_path):
    cache = Cache(tmp_path / "cache")
    expected = count_words(text for texts in TEXTS for text in texts)
    assert count_corpus(folder, cache) == expected
    assert count_corpus(folder, cache) == expected, "read back from the cache"
    assert cache.stats().entries == len(TEXTS)


def test_only_a_changed_shard_is_counted_again(folder, tmp_path):
    cache = Cache(tmp_path / "cache")
    count_corpus(folder, cache)
    write_shard(folder / "1.parquet", ["another text"])
    assert count_corpus(folder, cache) == count_words([*TEXTS[0], "another text", *TEXTS[2]])
    assert cache.stats().entries == len(TEXTS) + 1


def test_damaged_counts_are_made_again(folder, tmp_path):
    cache = Cache(tmp_path / "cache")
    expected = count_corpus(folder, cache)
    for path in cache.folder.glob("[0-9a-f][0-9a-f]/*"):
        path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert count_corpus(folder, cache) == expected
    assert count_corpus(folder, cache) == expected

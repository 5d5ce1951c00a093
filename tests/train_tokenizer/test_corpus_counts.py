from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.core import checksums
from aura.core.errors import UserError
from aura.corpus import corpus
from aura.corpus.set_hash import corpus_hash
from aura.corpus.shards import ShardWriter
from aura.storage import placement
from aura.storage.cache import Cache
from aura.train_tokenizer import corpus_counts, sorted_tables, sums
from aura.train_tokenizer.corpus_counts import count_corpus, count_texts
from aura.train_tokenizer.counts import MAX_WORD_CHARS, Account, Counts, texts_hash
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


def test_shards_that_were_counted_are_not_verified_again(folder, tmp_path, monkeypatch):
    listed, cache = corpus.shards(folder), Cache(tmp_path / "cache")
    count_corpus(folder, SPLITTING, cache, shards=listed)
    monkeypatch.setattr(placement, "sha256_file", lambda _: "another")
    assert corpus_hash(folder, found=listed) == texts_hash([text for texts in TEXTS for text in texts])
    listed = corpus.shards(folder)
    count_corpus(folder, SPLITTING, cache, shards=listed)
    with pytest.raises(UserError, match="was altered"):  # the cache had their counts, so nobody had read them
        corpus_hash(folder, found=listed)


def test_counts_of_shards_add_up_to_those_of_the_documents(folder, tmp_path):
    cache = Cache(tmp_path / "cache")
    expected = plain(count_texts([text for texts in TEXTS for text in texts], SPLITTING))
    assert counted(folder, cache) == expected
    assert counted(folder, cache) == expected, "read back from the cache"
    assert cache.stats().entries == len(TEXTS) + 2, "each shard, the sum, and the sum's only range"


def test_worker_processes_count_the_same(folder, tmp_path, monkeypatch):
    expected = counted(folder, Cache(tmp_path / "cache"))
    monkeypatch.setattr(corpus_counts, "SMALL", 0)
    assert counted(folder, Cache(tmp_path / "other cache")) == expected


def test_only_a_changed_shard_is_counted_again(folder, tmp_path):
    cache = Cache(tmp_path / "cache")
    counted(folder, cache)
    write_shard(folder / "1.parquet", ["another text"])
    assert counted(folder, cache) == plain(count_texts([*TEXTS[0], "another text", *TEXTS[2]], SPLITTING))
    assert cache.stats().entries == len(TEXTS) + 1 + 2 * 2


def test_damaged_counts_are_made_again(folder, tmp_path):
    cache = Cache(tmp_path / "cache")
    expected = counted(folder, cache)
    for path in cache.folder.glob("[0-9a-f][0-9a-f]/*"):
        path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert counted(folder, cache) == expected
    assert counted(folder, cache) == expected


def test_lost_counts_are_made_again_at_whatever_height_of_the_tree(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(sums, "CHILDREN", 2)
    shards = 10  # of a few, keys that depend on the code may all fall into one group
    for number in range(len(TEXTS), shards):
        write_shard(folder / f"{number}.parquet", [f"text {number}"])
    cache = Cache(tmp_path / "cache")
    expected = counted(folder, cache)
    entries = sorted(cache.folder.glob("[0-9a-f][0-9a-f]/*"))
    assert len(entries) > shards + 2, "sums of sums"
    for number in range(len(entries)):
        for place, path in enumerate(sorted(cache.folder.glob("[0-9a-f][0-9a-f]/*"))):
            if place % 4 == number % 4 or place == number:
                path.unlink() if place % 3 else path.write_bytes(path.read_bytes()[:-1] + b"!")
        assert counted(folder, cache) == expected


def test_a_cache_that_takes_nothing_costs_only_the_next_run(folder, tmp_path):
    expected = counted(folder, Cache(tmp_path / "cache"))
    (tmp_path / "file").touch()
    nowhere = Cache(tmp_path / "file", spare=tmp_path / "file")
    assert counted(folder, nowhere) == expected


@settings(max_examples=10, deadline=None, database=None)
@given(
    st.lists(
        st.lists(st.text(alphabet="ab é中\U0001f600", max_size=8), min_size=1, max_size=4), min_size=1, max_size=9
    ),
    st.sampled_from([(1, 1, 2), (2, 3, 2), (3, 1, 16), (1000, 1000, 16)]),
)
def test_counts_do_not_depend_on_shards_ranges_or_the_tree(texts: list[list[str]], limits: tuple[int, int, int]):
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        for module, limit, value in zip(
            (sorted_tables, sorted_tables, sums), ("PART", "RANGE", "CHILDREN"), limits, strict=True
        ):
            patch.setattr(module, limit, value)
        folder = Path(name, "train")
        folder.mkdir()
        for number, some in enumerate(texts):
            write_shard(folder / f"{number}.parquet", some)
        made = count_corpus(folder, SPLITTING, Cache(Path(name, "cache")))
        most = count_corpus(folder, SPLITTING, Cache(Path(name, "cache")), most=len(made.table) or None)
    assert most.cap is None
    assert most.table.equals(made.table)
    assert plain(made) == plain(count_texts([text for some in texts for text in some], SPLITTING))
    assert made.table["text"].to_pylist() == sorted(made.table["text"].to_pylist()), "in order of the text"

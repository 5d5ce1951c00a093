import numpy as np
import pyarrow.parquet as pq
import pytest

from aura.core import checksums, files
from aura.core.errors import UserError
from aura.corpus import corpus
from aura.encode import encoding
from aura.storage.cache import Cache
from aura.tokens.token_shards import TokenShards
from tests.mini_tokens import MiniTokens


def documents(mini: MiniTokens, split: str) -> list[tuple[list[int], dict]]:
    shards = TokenShards(mini.tokens, mini.tokenizer.sha256)
    return [(ids.tolist(), row) for ids, row in shards.documents(split)]


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_every_document_comes_back_from_the_shards_in_order(made: MiniTokens, split: str):
    texts = list(corpus.read_texts(made.corpus / split))
    found = documents(made, split)
    assert [made.tokenizer.decode(ids) for ids, _ in found] == texts
    assert [row["bytes"] for _, row in found] == [len(text.encode()) for text in texts]


def test_the_table_keeps_where_a_document_came_from(made: MiniTokens):
    columns = ("doc", "source", "affect")
    expected = [row for file in corpus.shards(made.corpus / "train") for row in pq.read_table(file.path).to_pylist()]
    found = [row for _, row in documents(made, "train")]
    assert [[row[name] for name in columns] for row in found] == [[row[name] for name in columns] for row in expected]


@pytest.mark.parametrize("add_bos", [True, False])
@pytest.mark.parametrize("add_eos", [True, False])
def test_each_document_begins_and_ends_as_params_say(mini: MiniTokens, add_bos: bool, add_eos: bool):
    mini.encode(add_bos=add_bos, add_eos=add_eos)
    tokenizer = mini.tokenizer
    for ids, row in documents(mini, "held_out"):
        assert (ids[0] == tokenizer.bos_id) == add_bos
        assert (ids[-1] == tokenizer.eos_id) == add_eos
        assert tokenizer.byte_lengths[ids].sum() == row["bytes"]


def test_the_stream_is_all_documents_one_after_the_other(made: MiniTokens):
    stream = TokenShards(made.tokens, made.tokenizer.sha256).stream("train")
    joined = [token for ids, _ in documents(made, "train") for token in ids]
    np.testing.assert_array_equal(stream.read(0, len(stream)), joined)


def test_the_manifest_counts_what_is_there(made: MiniTokens):
    counts = files.read_json(made.tokens / "manifest.json", made_by="")["counts"]
    for split, sources in counts.items():
        rows = [row for _, row in documents(made, split)]
        for source, count in sources.items():
            mine = [row for row in rows if row["source"] == source]
            sums = {"tokens": sum(row["tokens"] for row in mine), "bytes": sum(row["bytes"] for row in mine)}
            assert count == {"documents": len(mine)} | sums


def test_encoding_twice_gives_the_same_bytes(mini: MiniTokens):
    before = {path.name: files.sha256_file(path) for path in mini.tokens.rglob("*.*")}
    Cache(mini.folder / "cache").prune(0)
    mini.encode()
    assert {path.name: files.sha256_file(path) for path in mini.tokens.rglob("*.*")} == before


def test_shards_from_the_cache_are_those_encoded_anew(mini: MiniTokens):
    """Encoded anew, from the cache, and from one whose every entry is damaged: the same bytes."""

    def contents() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in mini.tokens.rglob("*.*")}

    before, cache = contents(), Cache(mini.folder / "cache")
    stored = cache.stats()
    mini.encode()
    assert (contents(), cache.stats()) == (before, stored)
    for path in cache.folder.glob("[0-9a-f][0-9a-f]/*"):
        path.write_bytes(path.read_bytes()[:-1] + b"!")
    mini.encode()
    assert contents() == before
    cache.prune(0)
    mini.encode()
    assert contents() == before


@pytest.mark.parametrize(
    ("small", "cores"), [(1e9, 1), (1e9, 3), *(pytest.param(0, many, marks=pytest.mark.slow) for many in (2, 8))]
)
def test_any_number_of_processes_and_threads_makes_the_same_bytes(
    mini: MiniTokens, monkeypatch: pytest.MonkeyPatch, small: float, cores: int
):
    """Blocks of each shard in threads; and whole shards in processes, with the tokenizer handed over."""

    def contents() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in mini.tokens.rglob("*") if path.is_file()}

    before = contents()
    monkeypatch.setattr(encoding.unit_table, "BLOCK_CHARS", (1000, 5000))
    monkeypatch.setattr(encoding, "SMALL", small)
    monkeypatch.setattr(encoding.parallel, "cores", lambda: cores)
    Cache(mini.folder / "cache").prune(0)
    mini.encode()
    assert contents() == before


def test_another_layout_takes_nothing_from_the_cache(mini: MiniTokens):
    """Each layout from a cache that holds the others equals the same from an empty one."""
    for add_bos, add_eos in ((True, False), (False, True), (True, True)):
        mini.encode(add_bos=add_bos, add_eos=add_eos)
        before = files.sha256_file(mini.tokens / "manifest.json")
        Cache(mini.folder / "cache").prune(0)
        mini.encode(add_bos=add_bos, add_eos=add_eos)
        assert files.sha256_file(mini.tokens / "manifest.json") == before


def test_a_tokenizer_that_did_not_pass_is_refused_and_nothing_changes(mini: MiniTokens):
    files.write_json(mini.passed, {"tokenizer": "f" * 64})
    before = files.sha256_file(mini.tokens / "manifest.json")
    with pytest.raises(UserError, match=r"is for the tokenizer ffff.* Run: dvc repro validate"):
        mini.encode()
    mini.passed.unlink()
    with pytest.raises(UserError, match=r"is missing.* dvc repro validate"):
        mini.encode()
    assert files.sha256_file(mini.tokens / "manifest.json") == before


def test_an_absent_tokenizer_names_the_command(mini: MiniTokens):
    (mini.spm / "spiece.model").unlink()
    with pytest.raises(UserError, match="dvc repro train_tokenizer"):
        mini.encode()


def test_a_tokenizer_of_another_corpus_is_refused(mini: MiniTokens):
    config = files.read_json(mini.spm / "spiece_config.json", made_by="")
    files.write_json(mini.spm / "spiece_config.json", config | {"corpus": {"hash": "f" * 64}})
    checksums.write(mini.spm)
    with pytest.raises(UserError, match=r"learnt from the corpus ffff.* Run: dvc repro train_tokenizer"):
        mini.encode()


def test_missing_and_extra_corpus_files_are_named(mini: MiniTokens):
    (mini.corpus / "train/a-001.parquet").rename(mini.corpus / "train/c-000.parquet")
    with pytest.raises(UserError, match=r"a-001\.parquet is missing; c-000\.parquet is not listed"):
        mini.encode()


def test_an_altered_corpus_file_is_named_unless_none_of_its_bytes_is_used(mini: MiniTokens):
    file, before = mini.corpus / "train/b-000.parquet", files.sha256_file(mini.tokens / "manifest.json")
    file.write_bytes(file.read_bytes() + b"x")
    mini.encode()
    assert files.sha256_file(mini.tokens / "manifest.json") == before, "the action cache has its tokens"
    Cache(mini.folder / "cache").prune(0)
    with pytest.raises(UserError, match=r"b-000\.parquet was altered: expected sha256"):
        mini.encode()

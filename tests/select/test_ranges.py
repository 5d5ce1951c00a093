"""Selection in groups of shards and ranges of hashes keeps what the rules keep, one document after another."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.core import checksums
from aura.core.errors import UserError
from aura.corpus.corpus import SCHEMA, text_hash
from aura.select import candidates, large_buckets, signatures
from aura.select.choices import NUMBER
from aura.select.options import Select
from aura.select.select import select
from aura.select.signatures import signature
from aura.storage.cache import Cache
from tests.select.test_select import contents

Document = tuple[str, int, int, str, str]  # source, shard, row, name, text


def sequential(documents: list[Document], rules: Select) -> list[Document]:
    """The documents that stay, by the rules of docs/contracts.md, in the order of their places."""

    def by_name(document: Document) -> tuple[int, str, int, int]:
        source, shard, row, name, _ = document
        return rank(source, rules), name, shard, row

    order = sorted(documents, key=by_name)
    if rules.deduplicate == "exact":
        order = sorted({one[4]: one for one in reversed(order)}.values(), key=by_name)
    if rules.near_duplicates is not None:
        order = without_near(order, rules.near_duplicates)
    kept = sorted(order)
    for source, caps in rules.caps.items():
        rank_of = {one: int.from_bytes(text_hash(one[4].encode())[8:], "big") for one in kept if one[0] == source}
        mine = [one for one in rank_of if caps.share is None or rank_of[one] / 2**64 < caps.share]
        if caps.max_files is not None:
            files = {one: xxhash.xxh3_64_intdigest(NUMBER.sub("", one[3]).encode()) for one in mine}
            lowest = set(sorted(set(files.values()))[: caps.max_files])
            mine = [one for one in mine if files[one] in lowest]
        mine.sort(key=lambda one: rank_of[one])
        mine = mine[: caps.max_documents]
        if caps.max_bytes is not None:
            sizes = np.cumsum([len(one[4].encode()) for one in mine])
            mine = mine[: int((sizes <= caps.max_bytes).sum())]
        kept = sorted([one for one in kept if one[0] != source] + mine)
    return kept


def rank(source: str, rules: Select) -> int:
    return [*rules.prefer, *sorted({"a", "b"} - set(rules.prefer))].index(source)


def without_near(order: Iterable[Document], similarity: float) -> list[Document]:
    from datasketch import MinHash, MinHashLSH  # with parts of SciPy: 0.7 s that every process of pytest would spend

    index, kept = MinHashLSH(threshold=min(similarity, 0.98), num_perm=128), []  # it refuses 0.985
    for one in order:
        mine = signature(one[4])
        signed = MinHash(128, 1, hashvalues=mine, scheme="affine32")
        if not any(np.mean(kept[other][1] == mine) >= similarity for other in index.query(signed)):
            index.insert(len(kept), signed)
            kept.append((one, mine))
    return [one for one, _ in kept]


def corpus_of(seed: int, number: int, *, near: bool) -> list[Document]:
    """Documents of two sources in several shards, many of them alike, under names that are hard to order."""
    chance = random.Random(seed)  # noqa: S311 - documents, not secrets
    words = [f"w{number}" for number in range(40)]
    texts: list[str] = []
    documents = []
    for row in range(number):
        if texts and chance.random() < 0.6:
            text = chance.choice(texts)
            if near and chance.random() < 0.8:
                parts = text.split(" ")
                parts[chance.randrange(len(parts))] = chance.choice(words)
                text = " ".join(parts)
        else:
            text = " ".join(chance.choices(words, k=chance.choice([1, 5, 60, 60])))
        texts.append(text)
        name = chance.choice(["x", "x!", "x#1", "x#10", "x#2", "é", "z"]) + chance.choice(["", "", f"#{row}"])
        documents.append((chance.choice("ab"), chance.randrange(5), row, name, text))
    for source in "ab":  # no source and no split is empty
        documents += [(source, 0, number + row, "first", f"{source} {row} kept whatever") for row in range(30)]
    return sorted(documents)


def write(folder: Path, documents: list[Document]) -> None:
    for source in sorted({one[0] for one in documents}):
        (folder / source).mkdir(parents=True)
        for shard in range(5):
            mine = [one for one in documents if one[:2] == (source, shard)]
            rows = [
                {"text": text, "doc": name, "source": source, "affect": [0.0] * 8,
                 "text_hash": text_hash(text.encode())}
                for _, _, _, name, text in mine
            ]  # fmt: skip
            pq.write_table(pa.Table.from_pylist(rows, SCHEMA), folder / source / f"{shard:04d}.parquet")
        checksums.write(folder / source)


def test_signatures_are_those_of_datasketch():
    from datasketch import MinHash

    texts = ["", "one", "Ä ß\u2003two", "a b c d", "a b c d e", "A b c d e f", *(f"{n} x y z " * 700 for n in range(9))]
    for text in texts:
        words = text.lower().split()
        runs = {" ".join(words[start : start + 5]) for start in range(max(1, len(words) - 4))}
        theirs = MinHash(128, 1, hashfunc=xxhash.xxh32_intdigest, scheme="affine32")
        theirs.update_batch([run.encode() for run in runs])
        assert signature(text).tolist() == theirs.hashvalues.tolist()


@pytest.mark.parametrize("similarity", [0.5, 0.63, 0.8, 0.98])
def test_bands_are_those_of_datasketch(similarity):
    from datasketch import MinHashLSH

    assert signatures.bands(similarity) == [slice(*ends) for ends in MinHashLSH(similarity, 128).hashranges]


def test_two_signatures_that_differ_in_one_number_share_a_band_at_any_similarity():
    from datasketch import MinHashLSH

    for similarity in (0.99, 1.0):
        with pytest.raises(ValueError, match="too small"):
            MinHashLSH(similarity, 128)
        assert signatures.bands(similarity) == [slice(0, 64), slice(64, 128)]


CAPS = st.fixed_dictionaries(
    {},
    optional={
        "share": st.floats(0.1, 1),
        "max_files": st.integers(1, 30),
        "max_documents": st.integers(1, 90),
        "max_bytes": st.integers(1, 9000),
    },
)


def rules_with(near_duplicates: list[float | None]) -> st.SearchStrategy[dict[str, object]]:
    return st.fixed_dictionaries(
        {
            "deduplicate": st.sampled_from(["exact", "none"]),
            "near_duplicates": st.sampled_from(near_duplicates),
            "prefer": st.sampled_from([[], ["b"]]),
            "held_out": st.just(0.4),
            "caps": st.dictionaries(st.just("a"), CAPS),
        }
    )


@given(st.integers(0, 10**6), st.integers(0, 150), rules_with([None]))
@settings(max_examples=3, deadline=None)
def test_what_stays_is_what_the_rules_keep_in_any_groups_and_ranges(tmp_path_factory, seed, number, rules):
    compare(tmp_path_factory.mktemp("ranges"), corpus_of(seed, number, near=False), Select.model_validate(rules))


@pytest.mark.slow  # 4 s an example: a task for each of 25 bands and 64 ranges
@given(st.integers(0, 10**6), st.integers(0, 150), rules_with([0.5, 0.6, 0.8, 0.99, 1.0]))
@settings(max_examples=10, deadline=None)
def test_near_duplicates_are_what_the_sequential_rule_drops(tmp_path_factory, seed, number, rules):
    compare(tmp_path_factory.mktemp("near"), corpus_of(seed, number, near=True), Select.model_validate(rules))


@pytest.mark.slow
@given(st.integers(0, 10**6), st.integers(0, 150), rules_with([0.5, 0.8]), st.integers(1, 5))
@settings(max_examples=8, deadline=None)
def test_buckets_that_are_made_small_change_nothing(tmp_path_factory, seed, number, rules, large):
    documents = [one for one in corpus_of(seed, number, near=True) if len(one[4].split(" ")) > 5]
    documents += corpus_of(0, 0, near=True)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(large_buckets, "LARGE", large)
        compare(tmp_path_factory.mktemp("large"), sorted(documents), Select.model_validate(rules), ((1, 64), (3, 2)))


def test_many_documents_that_are_alike_are_not_compared_with_each_other(tmp_path, monkeypatch):
    words = " ".join(f"word{number}" for number in range(120))
    documents = [(source, row % 5, row, f"{row}", f"{words} {row}") for row in range(400) for source in "ab"[row % 2]]
    write(tmp_path / "extracted", sorted(documents))
    compared, alike = 0, signatures.alike

    def counted(equal: np.ndarray, similarity: float) -> np.ndarray:
        nonlocal compared
        compared += len(equal)
        return alike(equal, similarity)

    monkeypatch.setattr(signatures, "alike", counted)
    monkeypatch.setattr(large_buckets, "LARGE", 100)
    rules = Select.model_validate({"deduplicate": "exact", "near_duplicates": 0.8, "held_out": 0.5, "caps": {}})
    with pytest.raises(UserError, match="held"):  # one document is left, so one split is empty
        select(["a", "b"], rules, tmp_path / "extracted", tmp_path / "corpus", Cache(tmp_path / "cache"), ranges=3)
    assert 400 < compared < 20_000, "there are 80,000 pairs, in each of 9 bands"


def compare(
    tmp_path: Path,
    documents: list[Document],
    rules: Select,
    cuts: Sequence[tuple[int, int]] = ((1, 64), (7, 2), (64, 1)),
) -> None:
    """Select with these numbers of ranges and of shards in a group, and compare with the sequential rule."""
    write(tmp_path / "extracted", documents)
    made = []
    for ranges, shards in cuts:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(candidates, "GROUP_SHARDS", shards)
            out = tmp_path / f"corpus-{ranges}"
            select(["a", "b"], rules, tmp_path / "extracted", out, Cache(tmp_path / "cache"), ranges=ranges)
        made.append(contents(out))
    kept = [
        (row["source"], row["doc"], row["text"])
        for path in sorted(out.glob("*/*.parquet"))
        for row in pq.read_table(path, columns=["source", "doc", "text"]).to_pylist()
    ]
    assert sorted(kept) == sorted((source, name, text) for source, _, _, name, text in sequential(documents, rules))
    assert all(one == made[0] for one in made)
    check_record(out / "duplicates.parquet", documents, rules)


def check_record(record: Path, documents: list[Document], rules: Select) -> None:
    """Each document that the rules on duplicates drop has one row, which names an earlier one."""
    stay = sequential(documents, rules.model_copy(update={"caps": {}}))
    rows = pq.read_table(record).to_pylist()
    places = Counter((source, name) for source, _, _, name, _ in documents)
    places.subtract((source, name) for source, _, _, name, _ in stay)
    assert Counter((row["source"], row["doc"]) for row in rows) == +places
    order = [(rank(source, rules), name) for source, _, _, name, _ in documents]
    for row in rows:
        earlier, later = (
            (rank(row[source], rules), row[doc]) for source, doc in (("of_source", "of_doc"), ("source", "doc"))
        )
        assert earlier <= later
        assert earlier in order

import json
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.core.errors import UserError
from aura.storage.cache import Cache
from aura.train_tokenizer import artifact, cap, sorted_tables
from aura.train_tokenizer.corpus_counts import count_corpus, count_texts
from aura.train_tokenizer.segments import Splitting

SPLITTING = Splitting(split_digits=True, split_by_script=True, split_by_number=True, user_symbols=())


def kept(counts: list[int], least: int) -> int:
    return sum(count >= least for count in counts)


@settings(max_examples=50, deadline=None, database=None)
@given(st.lists(st.lists(st.integers(1, 9), max_size=6), min_size=1, max_size=4), st.integers(1, 12))
def test_the_least_count_is_the_smallest_that_leaves_few_enough(parts: list[list[int]], most: int):
    counts = [count for part in parts for count in part]
    histograms = [cap.histogram(pa.table({"count": pa.array(part, pa.int64())})) for part in parts]
    if kept(counts, max(counts, default=0)) > most:
        with pytest.raises(UserError, match="max_segments"):
            cap.fitting(cap.added(histograms), most)
        return
    found = cap.fitting(cap.added(histograms), most)
    if len(counts) <= most:
        assert found is None
        return
    assert found is not None
    rare = [count for count in counts if count < found.min_count]
    assert kept(counts, found.min_count) <= most < kept(counts, found.min_count - 1)
    assert (found.segments, found.occurrences) == (len(rare), sum(rare))


def test_a_corpus_and_its_texts_are_capped_alike(tmp_path: Path, documents, write_corpus, monkeypatch):
    write_corpus(tmp_path / "train", documents)
    every = count_texts(documents, SPLITTING)
    capped = count_texts(documents, SPLITTING, 500)
    assert len(capped.table) <= 500 < len(every.table)
    assert capped.account == every.account
    for ranges in (sorted_tables.RANGE, 100):
        monkeypatch.setattr(sorted_tables, "RANGE", ranges)
        monkeypatch.setattr(sorted_tables, "PART", ranges)
        made = count_corpus(tmp_path / "train", SPLITTING, Cache(tmp_path / f"cache-{ranges}"), 500)
        assert made.table.equals(capped.table.sort_by("text"))
        assert (made.cap, made.account) == (capped.cap, capped.account)


def test_the_record_names_the_cap_only_where_it_acts(documents, options, capsys):
    files = {}
    for most in (10**6, 10**9, 1000):
        assert "max_segments" not in capsys.readouterr().out
        files[most] = artifact.build_from_texts(documents, options(max_segments=most)).files()
    assert "max_segments: training leaves out" in capsys.readouterr().out
    assert files[10**6] == files[10**9]
    record = json.loads(files[1000]["spiece_config.json"])
    assert record["options"]["max_segments"] == 1000
    said = record["corpus"]["left_out_as_rare"]
    every = json.loads(files[10**6]["spiece_config.json"])
    assert every["corpus"]["distinct_segments"] == record["corpus"]["distinct_segments"] <= 1000 + said["segments"]
    assert "max_segments" not in every["options"]

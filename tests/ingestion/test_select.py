import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aura import params
from aura.errors import UserError
from aura.ingestion.corpus import SCHEMA, corpus_hash, is_held_out, text_hash
from aura.ingestion.select import select


def write_extracted(folder: Path, texts: dict[str, list[str]], shards: int = 2) -> None:
    """Lay documents out as `extract` does: `texts` by source, dealt to shards in turn."""
    for source, documents in texts.items():
        (folder / source).mkdir(parents=True)
        for shard in range(shards):
            rows = [
                {"text": text, "doc": f"{number}.txt", "source": source, "affect": [0.0] * 8,
                 "text_hash": text_hash(text.encode())}
                for number, text in enumerate(documents) if number % shards == shard
            ]  # fmt: skip
            pq.write_table(pa.Table.from_pylist(rows, SCHEMA), folder / source / f"{shard:04d}.parquet")


def run(tmp_path: Path, texts: dict[str, list[str]], name: str = "a", **settings: object) -> Path:
    write_extracted(tmp_path / name / "extracted", texts)
    chosen = {"deduplicate": "exact", "held_out": 0.3, "caps": {}, **settings}
    out = tmp_path / name / "corpus"
    select(list(texts), params.Select.model_validate(chosen), tmp_path / name / "extracted", out)
    return out


def texts_of(folder: Path) -> set[str]:
    return {text for path in folder.glob("*.parquet") for text in pq.read_table(path).column("text").to_pylist()}


MANY = [f"document number {number}" for number in range(200)]


def test_each_document_is_in_one_split_and_the_manifest_counts_them(tmp_path):
    out = run(tmp_path, {"mine": MANY})
    train, held_out = texts_of(out / "train"), texts_of(out / "held_out")
    manifest = json.loads((out / "manifest.json").read_text())
    assert train | held_out == set(MANY)
    assert not train & held_out
    assert manifest["sources"]["mine"]["train"]["documents"] == len(train)
    assert sum(record["bytes"] for record in manifest["files"]) == sum(len(text) for text in MANY)


@given(st.lists(st.text(min_size=1), min_size=1, unique=True), st.floats(0.01, 0.4), st.floats(0.01, 0.1))
def test_a_larger_share_only_adds_held_out_documents(texts, share, more):
    hashes = pa.array([text_hash(text.encode("utf-8", "surrogatepass")) for text in texts])
    assert not (is_held_out(hashes, share) & ~is_held_out(hashes, share + more)).any()


def test_the_split_holds_still_when_the_corpus_grows(tmp_path):
    small = run(tmp_path, {"mine": MANY[:100]}, "small")
    large = run(tmp_path, {"mine": MANY, "other": [f"other {text}" for text in MANY]}, "large")
    assert texts_of(small / "held_out") == texts_of(large / "held_out") & set(MANY[:100])


def test_duplicates_go_once_whichever_source_they_are_in(tmp_path):
    out = run(tmp_path, {"b": MANY[:50] + MANY[:10], "a": MANY[40:90]})
    kept = [text for split in ("train", "held_out") for text in texts_of(out / split)]
    manifest = json.loads((out / "manifest.json").read_text())
    assert sorted(kept) == sorted(MANY[:90])
    assert manifest["sources"]["a"]["dropped"] == {"duplicate": 0}
    assert manifest["sources"]["b"]["dropped"] == {"duplicate": 20}


def test_duplicates_stay_when_asked_for(tmp_path):
    out = run(tmp_path, {"a": MANY + MANY}, deduplicate="none")
    assert sum(len(pq.read_table(path)) for path in out.rglob("*.parquet")) == 400


@pytest.mark.parametrize("caps", [{"max_documents": 60}, {"max_files": 60}, {"max_bytes": 1000}])
def test_a_cap_keeps_the_same_documents_when_more_come(tmp_path, caps):
    """Of the first hundred, a cap over all may keep only documents that it keeps of the hundred alone."""
    few = run(tmp_path, {"mine": MANY[:100]}, "few", caps={"mine": caps})
    all_of_them = run(tmp_path, {"mine": MANY}, "all", caps={"mine": caps})
    kept_of_few = texts_of(few / "train") | texts_of(few / "held_out")
    kept_of_all = texts_of(all_of_them / "train") | texts_of(all_of_them / "held_out")
    assert 40 <= len(kept_of_few) <= 60
    assert kept_of_all & set(MANY[:100]) <= kept_of_few


def test_a_cap_on_files_counts_names_with_a_number_sign(tmp_path):
    folder = tmp_path / "extracted/mine"
    folder.mkdir(parents=True)
    row = {"source": "mine", "affect": [0.0] * 8}
    rows = [
        {**row, "text": text, "doc": f"notes#{number // 2}.txt#{number % 2}", "text_hash": text_hash(text.encode())}
        for number, text in enumerate(MANY)
    ]
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), folder / "0000.parquet")
    caps = {"deduplicate": "none", "held_out": 0.3, "caps": {"mine": {"max_files": 10}}}
    select(["mine"], params.Select.model_validate(caps), tmp_path / "extracted", tmp_path / "corpus")
    kept = [doc for path in tmp_path.glob("corpus/*/*") for doc in pq.read_table(path).column("doc").to_pylist()]
    assert len(kept) == 20
    assert len({doc.rpartition("#")[0] for doc in kept}) == 10


def test_a_cap_does_not_choose_the_held_out_documents(tmp_path):
    out = run(tmp_path, {"mine": MANY}, caps={"mine": {"max_documents": 60}})
    assert 5 <= len(texts_of(out / "held_out")) <= 35


def test_the_corpus_hash_is_of_the_set_of_documents(tmp_path):
    one = run(tmp_path, {"mine": MANY}, "one")
    other = run(tmp_path, {"x": MANY[::-2], "y": MANY[::-1][1::2]}, "other")
    changed = run(tmp_path, {"mine": [*MANY, "one more", "and one more"]}, "changed")
    assert corpus_hash(one / "train") == corpus_hash(other / "train")
    assert corpus_hash(one / "train") != corpus_hash(changed / "train")


def test_an_absent_source_is_refused_with_the_command_that_makes_it(tmp_path):
    write_extracted(tmp_path, {"a": MANY})
    settings = params.Select.model_validate({"deduplicate": "exact", "held_out": 0.3, "caps": {}})
    with pytest.raises(UserError, match=r"folder .*/b is missing\. It is made by: dvc repro extract@b"):
        select(["a", "b"], settings, tmp_path, tmp_path / "corpus")


def test_a_split_without_documents_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"came 1 and 0 \(select\.held_out: 0\.0001\)"):
        run(tmp_path, {"mine": ["just one document"]}, held_out=0.0001)

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from aura.cli.app import app
from aura.core import checksums
from aura.core.errors import UserError
from aura.corpus.corpus import SCHEMA, is_held_out, text_hash
from aura.corpus.set_hash import corpus_hash
from aura.select.choices import within_share
from aura.select.options import Select
from aura.select.select import select
from aura.storage.cache import Cache


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
        checksums.write(folder / source)


def run(tmp_path: Path, texts: dict[str, list[str]], name: str = "a", **rules: object) -> Path:
    write_extracted(tmp_path / name / "extracted", texts)
    chosen = RULES | rules
    out = tmp_path / name / "corpus"
    select(list(texts), Select.model_validate(chosen), tmp_path / name / "extracted", out, Cache(tmp_path / "cache"))
    return out


def texts_of(folder: Path) -> set[str]:
    return {text for path in folder.glob("*.parquet") for text in pq.read_table(path).column("text").to_pylist()}


RULES = {"deduplicate": "exact", "near_duplicates": None, "held_out": 0.3, "caps": {}}
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


def test_the_record_says_what_each_dropped_document_duplicates(tmp_path):
    texts = {"a": [near(MANY[0]), "x"], "b": ["x", near(MANY[0]).replace("word50", "another"), *MANY]}
    out = run(tmp_path, texts, near_duplicates=0.8, prefer=["b"])
    assert pq.read_table(out / "duplicates.parquet").to_pylist() == [
        {"source": "a", "doc": "0.txt", "reason": "near duplicate", "of_source": "b", "of_doc": "1.txt"},
        {"source": "a", "doc": "1.txt", "reason": "duplicate", "of_source": "b", "of_doc": "0.txt"},
    ]
    record = ["corpus", "duplicates", "--record", str(out / "duplicates.parquet")]
    assert "near duplicate" in CliRunner().invoke(app, record).output
    assert "a: 1.txt\n  duplicate of b: 0.txt" in CliRunner().invoke(app, [*record, "0.txt"]).output
    missing = CliRunner().invoke(app, [*record, "none.txt"]).exception
    assert str(missing).endswith("The column doc of data/extracted/NAME has the names.")


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
    checksums.write(folder)
    caps = RULES | {"deduplicate": "none", "caps": {"mine": {"max_files": 10}}}
    select(
        ["mine"],
        Select.model_validate(caps),
        tmp_path / "extracted",
        tmp_path / "corpus",
        Cache(tmp_path / "cache"),
    )
    kept = [
        doc for path in tmp_path.glob("corpus/*/*.parquet") for doc in pq.read_table(path).column("doc").to_pylist()
    ]
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
    rules = Select.model_validate(RULES)
    with pytest.raises(UserError, match=r"folder .*/b is missing\. It is made by: dvc repro extract@b"):
        select(["a", "b"], rules, tmp_path, tmp_path / "corpus", Cache(tmp_path / "cache"))


def test_a_split_without_documents_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"got 1 and 0 \(select\.held_out: 0\.0001\)"):
        run(tmp_path, {"mine": ["just one document"]}, held_out=0.0001)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def near(text: str) -> str:
    """Long enough that one other word in it leaves the document much the same."""
    return " ".join(f"{text} word{number}" for number in range(100))


def test_near_duplicates_go_and_are_counted_per_source(tmp_path):
    distinct = [near(text) for text in MANY[:30]]
    copies = [text.replace("word50", "another") for text in distinct[:10]]
    out = run(tmp_path, {"a": distinct, "b": copies}, near_duplicates=0.8)
    assert texts_of(out / "train") | texts_of(out / "held_out") == set(distinct)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["sources"]["a"]["dropped"] == {"duplicate": 0, "near duplicate": 0}
    assert manifest["sources"]["b"]["dropped"] == {"duplicate": 0, "near duplicate": 10}
    off = run(tmp_path, {"a": distinct, "b": copies}, "off")
    assert len(texts_of(off / "train") | texts_of(off / "held_out")) == 40


@given(st.floats(0.05, 0.95), st.floats(0, 0.05))
def test_a_share_is_kept_and_a_higher_one_only_adds(share, more):
    hashes = pa.array([text_hash(text.encode()) for text in MANY], pa.binary(16))
    kept = within_share(hashes, share)
    assert abs(kept.mean() - share) < 0.2
    assert not (kept & ~within_share(hashes, share + more)).any()
    assert within_share(hashes, None).all()


def test_a_share_is_counted_and_keeps_the_same_documents_when_more_come(tmp_path):
    few = run(tmp_path, {"mine": MANY[:100], "other": ["x y"]}, "few", caps={"mine": {"share": 0.5}})
    more = run(tmp_path, {"mine": MANY}, "more", caps={"mine": {"share": 0.5}})
    kept_of_few = texts_of(few / "train") | texts_of(few / "held_out")
    kept_of_more = texts_of(more / "train") | texts_of(more / "held_out")
    assert kept_of_more & set(MANY[:100]) == kept_of_few - {"x y"}
    manifest = json.loads((more / "manifest.json").read_text())
    assert manifest["sources"]["mine"]["dropped"] == {
        "duplicate": 0,
        "beyond its share": 200 - len(kept_of_more),
        "over a cap": 0,
    }
    assert texts_of(more / "held_out")


@given(st.lists(st.tuples(st.sampled_from(["add", "remove", "move"]), st.integers(0, 199)), min_size=1, max_size=3))
@settings(max_examples=4, deadline=None)
def test_after_any_edits_a_cached_selection_equals_one_from_scratch(tmp_path_factory, edits):
    tmp_path = tmp_path_factory.mktemp("select")
    texts = {"a": [near(text) for text in MANY[:20]], "b": MANY[20:60]}
    rules = {"near_duplicates": 0.8, "caps": {"b": {"share": 0.7}}}
    for number, (edit, at) in enumerate(edits):
        match edit:
            case "add":
                texts["a"].append(near(MANY[at]).replace("word7", "another"))
            case "remove" if len(texts["b"]) > 20:
                texts["b"].pop(at % len(texts["b"]))
            case "move" if len(texts["b"]) > 20:
                texts["a"].append(texts["b"].pop(at % len(texts["b"])))
        out = run(tmp_path, texts, f"cached-{number}", **rules)
        scratch = run(tmp_path / f"scratch-{number}", texts, **rules)
        assert contents(out) == contents(scratch)
        manifest = json.loads((out / "manifest.json").read_text())
        assert manifest["hash"] == {split: corpus_hash(out / split) for split in ("train", "held_out")}

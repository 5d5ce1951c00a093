import csv
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML

from aura.core import files
from aura.core.errors import UserError
from aura.corpus import corpus
from aura.corpus.shards import ShardWriter
from aura.encode.corpus_checks import require_passed
from aura.storage.placement import ShardFile
from aura.validate import held_out as counting
from aura.validate.options import Validate
from aura.validate.validation import validate

REPOSITORY = Path(__file__).parents[2]
PLOTS = ("affect.csv", "piece_frequencies.csv", "piece_lengths.csv", "scripts.csv", "sources.csv")
EASY = {
    "min_bytes_per_token": 1.0,
    "max_fertility": 100.0,
    "max_unknown_share": 0.0,
    "max_byte_fallback_share": 0.5,
    "max_group_byte_fallback_share": 1.0,
    "max_unused_share": 1.0,
    "max_unreachable_share": 1.0,
    "waive": [],
}
BROKEN = {
    "min_bytes_per_token": 16.0,
    "max_fertility": 1.0,
    "max_byte_fallback_share": 0.0,
    "max_group_byte_fallback_share": 0.0,
    "max_unused_share": 0.0,
}  # the others hold for every tokenizer that can be loaded; test_broken_tokenizers and test_measures break them


@pytest.fixture
def held_out(tmp_path, documents, write_corpus) -> Path:
    write_corpus(tmp_path / "held_out", documents[::10])
    return tmp_path / "held_out"


@pytest.fixture
def model(tmp_path, tokenizer) -> Path:
    path = tmp_path / "spm/spiece.model"
    path.parent.mkdir()
    path.write_bytes(tokenizer.proc.serialized_model_proto())
    return path


def test_passed_holds_the_tokenizers_hash_and_nothing_else(tmp_path, tokenizer, model, held_out):
    gates = validate(model, held_out, Validate(**EASY), tmp_path / "out")
    assert all(gate.holds for gate in gates)
    assert json.loads((tmp_path / "out/passed.json").read_text()) == {"tokenizer": tokenizer.sha256}


@pytest.mark.parametrize("key", BROKEN)
def test_a_broken_gate_is_named_and_passed_vouches_for_no_tokenizer(tmp_path, model, held_out, key):
    validate(model, held_out, Validate(**EASY), tmp_path / "out")
    limits = Validate(**(EASY | {key: BROKEN[key]}))
    gates = validate(model, held_out, limits, tmp_path / "out", training=held_out)
    [missed] = [gate for gate in gates if not gate.holds]
    assert missed.measure == key.split("_", 1)[1]
    verdict = json.loads((tmp_path / "out/passed.json").read_text())
    assert verdict == {"tokenizer": "", "missed": [missed.told]}
    assert f"expected {key} {BROKEN[key]}, got {missed.value}. " in missed.told
    assert json.loads((tmp_path / "out/metrics.json").read_text())["missed_gates"] == 1


def test_an_edited_limit_that_passes_changes_no_byte(tmp_path, model, held_out):
    validate(model, held_out, Validate(**EASY), tmp_path / "one")
    validate(model, held_out, Validate(**(EASY | {"max_fertility": 50.0})), tmp_path / "two")
    written = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*")]
    files = [name for name in written if name.name != "details.json"]  # which lists the limits
    assert len(files) == len(written) - 1 == 2 + len(PLOTS)
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in files)


def test_plots_are_tables_that_agree_with_the_metrics(tmp_path, tokenizer, model, held_out):
    validate(model, held_out, Validate(**EASY), tmp_path / "out")
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    _, frequencies, lengths, _, sources = (
        list(csv.DictReader((tmp_path / "out/plots" / name).read_text().splitlines())) for name in PLOTS
    )
    assert sum(int(row["tokens"]) for row in sources) == metrics["tokens"]
    assert [row["source"] for row in sources] == ["a", "b"]
    assert sum(int(row["pieces"]) for row in lengths) == tokenizer.vocab_size - 30 - 2 - 256
    occurrences = [int(row["occurrences"]) for row in frequencies]
    assert occurrences == sorted(occurrences, reverse=True)


def run_stage(folder: Path, **limits: float) -> subprocess.CompletedProcess[str]:
    yaml = YAML()
    values = yaml.load(REPOSITORY / "params.yaml")
    values["validate"].update(EASY | limits)
    yaml.dump(values, folder / "params.yaml")
    shutil.copy(REPOSITORY / "versions.json", folder)
    script = REPOSITORY / "stages/validate.py"
    return subprocess.run([sys.executable, script], cwd=folder, capture_output=True, text=True, check=False)


def test_the_stage_says_that_all_gates_hold_or_names_the_remedies(tmp_path, tokenizers, documents, write_corpus):
    write_corpus(tmp_path / "data/corpus/held_out", documents[::10])
    write_corpus(tmp_path / "data/corpus/train", documents[1::10])
    (tmp_path / "models/spm").mkdir(parents=True)
    model = tokenizers["bpe"].proc.serialized_model_proto()
    (tmp_path / "models/spm/spiece.model").write_bytes(model)
    passed = run_stage(tmp_path)
    assert (passed.returncode, passed.stderr) == (0, "")
    assert "all 9 hold" in passed.stdout
    missed = run_stage(tmp_path, max_fertility=1.0, max_byte_fallback_share=0.0)
    assert missed.returncode == 0, "DVC keeps nothing of an experiment whose stage fails"
    assert "2 of 9 missed" in missed.stdout
    assert "encode will refuse it" in missed.stderr
    assert "fertility: expected max_fertility 1.0, got " in missed.stderr
    assert "Raise character_coverage" in missed.stderr
    with pytest.raises(UserError, match=r"misses gates.*\n.*max_fertility 1.0, got .*\n.*Raise character_coverage"):
        require_passed(tmp_path / "reports/validate/passed.json", tokenizers["bpe"].sha256)


def test_a_sample_is_the_documents_of_least_hash(tokenizer, model, held_out, documents):
    def documents_in(max_bytes):
        counted = counting.count_held_out(model, tokenizer, held_out, max_bytes)
        return counted.share, sum(tally.documents for tally in counted.tallies.values())

    size = sum(len(text.encode()) for text in documents[::10])
    share, every = documents_in(float("inf"))
    assert share == 1
    share, some = documents_in(0.6 * size)
    assert 0 < share < 1
    assert 0 < some < every
    assert documents_in(0.6 * size) == (share, some)
    assert documents_in(0.8 * size)[1] >= some


def test_the_size_of_the_text_is_known_without_reading_it(tmp_path, held_out):
    shard = corpus.shards(held_out)[0]
    table = pq.read_table(shard.path).cast(corpus.SCHEMA)
    writer = ShardWriter(tmp_path / "as_select.parquet")
    for _ in range(50):
        writer.add(table)
    writer.close()
    size = 50 * sum(len(text.encode()) for text in table["text"].to_pylist())
    written = ShardFile(writer.path, 0, "", files.sha256_file(writer.path))
    assert counting._text_bytes(written) == pytest.approx(size, rel=0.01)


def test_of_a_sample_only_row_groups_with_some_of_it_are_read(tmp_path, tokenizer, model, documents, write_corpus):
    """The text of all others is damaged, under a record that says the file must be so."""
    write_corpus(tmp_path / "small", documents)
    file = tmp_path / "small/a.parquet"
    pq.write_table(pq.read_table(file), file, row_group_size=1)
    groups, share, content = pq.ParquetFile(file), 0.2, bytearray(file.read_bytes())
    place = groups.schema_arrow.names.index("text")
    spared = 0
    for group in range(groups.num_row_groups):
        if not counting._has_sampled(groups, group, share):
            column = groups.metadata.row_group(group).column(place)
            begin = column.dictionary_page_offset or column.data_page_offset
            content[begin + column.total_compressed_size // 2] ^= 0xFF
            spared += 1
    assert 0 < spared < groups.num_row_groups
    sound = counting.count_shard(model, tokenizer.sha256, share, ShardFile(file, 0, "", files.sha256_file(file)))
    file.write_bytes(content)
    damaged = ShardFile(file, 0, "", files.sha256_file(file))
    assert pickle.dumps(counting.count_shard(model, tokenizer.sha256, share, damaged)) == pickle.dumps(sound)
    with pytest.raises(OSError, match=r"Corrupt|deserialize"):
        counting.count_shard(model, tokenizer.sha256, 1.0, damaged)


def test_counts_of_a_small_shard_are_small_to_send(tokenizer):
    counted = counting.Counted()
    counted.count(tokenizer, ["some text, " * 3000], ["a"], ["one"], [b"0" * 16])
    counted.shorten(tokenizer)
    sent = pickle.dumps(counted)
    assert len(sent) < 5000
    [before], [after] = counted.tallies.values(), pickle.loads(sent).tallies.values()  # noqa: S301 - our own
    assert after.id_counts.tolist() == before.id_counts.tolist()
    assert (after.words, after.bytes) == (before.words, before.bytes)


def test_a_file_that_is_no_tokenizer_takes_passed_away(tmp_path, model, held_out):
    validate(model, held_out, Validate(**EASY), tmp_path / "out")
    model.write_bytes(model.read_bytes()[:-1000])
    with pytest.raises(UserError):
        validate(model, held_out, Validate(**EASY), tmp_path / "out")
    assert not (tmp_path / "out/passed.json").exists()


def test_the_stage_refuses_an_absent_corpus_or_model(tmp_path, tokenizers):
    done = run_stage(tmp_path)
    assert (done.returncode, "dvc repro train_tokenizer" in done.stderr) == (1, True)
    (tmp_path / "models/spm").mkdir(parents=True)
    (tmp_path / "models/spm/spiece.model").write_bytes(tokenizers["bpe"].proc.serialized_model_proto())
    done = run_stage(tmp_path)
    assert (done.returncode, "dvc repro select" in done.stderr) == (1, True)

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from aura.core.errors import UserError
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
def test_a_broken_gate_is_named_and_takes_passed_away(tmp_path, model, held_out, key):
    validate(model, held_out, Validate(**EASY), tmp_path / "out")
    gates = validate(model, held_out, Validate(**(EASY | {key: BROKEN[key]})), tmp_path / "out")
    assert [gate.measure for gate in gates if not gate.holds] == [key.split("_", 1)[1]]
    assert not (tmp_path / "out/passed.json").exists()
    assert (tmp_path / "out/metrics.json").exists()


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


def test_the_stage_passes_or_ends_with_a_table_and_one_message(tmp_path, tokenizers, documents, write_corpus):
    write_corpus(tmp_path / "data/corpus/held_out", documents[::10])
    (tmp_path / "models/spm").mkdir(parents=True)
    model = tokenizers["bpe"].proc.serialized_model_proto()
    (tmp_path / "models/spm/spiece.model").write_bytes(model)
    passed = run_stage(tmp_path)
    assert (passed.returncode, passed.stderr) == (0, "")
    assert "all 9 hold" in passed.stdout
    missed = run_stage(tmp_path, max_fertility=1.0)
    assert missed.returncode == 1
    assert "fertility" in missed.stderr
    assert "max_fertility 1.0" in missed.stderr
    assert "Traceback" not in missed.stderr
    assert not (tmp_path / "reports/validate/passed.json").exists()


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

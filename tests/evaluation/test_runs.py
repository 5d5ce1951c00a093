"""Evaluation sets of a run of pretraining: what it writes, and that they change nothing else."""

import json
from pathlib import Path

import numpy as np
import pytest

from aura.compare import evaluating
from aura.core import files
from aura.core.errors import UserError
from aura.export.llama import export
from aura.hugging_face import loading
from aura.pretrain import identity
from aura.pretrain.pretrain import pretrain
from aura.training.history import Row
from tests.conftest import stdlib_texts
from tests.mini_tokens import MiniTokens, tiny


def run(mini: MiniTokens, folder: Path, **changes: object) -> dict[str, object]:
    options = tiny(checkpoint_folder=str(folder / "checkpoints"), checkpoint_every=4, **changes)
    pretrain(mini.tokens, mini.spm / "spiece.model", folder / "lm", folder / "reports", options)
    return files.read_json(folder / "reports/metrics.json", made_by="")


def plot(folder: Path, name: str) -> list[list[float]]:
    return np.loadtxt(folder / "reports/plots/metrics/evaluations" / f"{name}.tsv", skiprows=1, ndmin=2).tolist()


def written(path: Path, *records: object) -> str:
    path.write_text("\n".join(map(json.dumps, records)))
    return str(path)


@pytest.mark.slow
def test_a_finished_run_measures_a_new_set_without_training(made: MiniTokens, tmp_path: Path):
    texts = stdlib_texts(6)
    cloze = written(tmp_path / "cloze.jsonl", *({"text": text[:50], "answer": "class"} for text in texts))
    first = run(made, tmp_path, evaluate={"words": cloze})
    weights = files.sha256_file(tmp_path / "lm/model.safetensors")
    assert [row[0] for row in plot(tmp_path, "words/accuracy")] == [4, 8]
    assert first["evaluations"]["words"].keys() >= {"accuracy", "accuracy_stderr", "bits_per_byte", "items"}
    assert first["evaluations"]["words"]["bits_per_byte"] == plot(tmp_path, "words/bits_per_byte")[-1][1]
    assert first["bits_per_byte_by_script"] == {"Latin": first["bits_per_byte"]}

    folder, spm = tmp_path / "lm", made.spm / "spiece.model"
    alone = evaluating.evaluate(folder, spm, {"words": Path(cloze)}, None)
    told = alone.record()["sets"]["words"]
    of_run = first["evaluations"]["words"]
    assert told.pop("kind") == of_run["kind"] == "cloze"
    assert told == pytest.approx({name: value for name, value in of_run.items() if name != "kind"}, rel=1e-5)
    difference = evaluating.differences(alone, alone)["words"]
    assert difference == dict.fromkeys(difference, 0)
    assert difference.keys() >= {"accuracy_stderr", "bits_per_byte"}

    text = tmp_path / "text.txt"
    text.write_text(texts[0])
    again = run(made, tmp_path, evaluate={"words": cloze, "text": str(text)})
    assert files.sha256_file(tmp_path / "lm/model.safetensors") == weights
    assert again["evaluations"]["words"] == first["evaluations"]["words"]
    assert plot(tmp_path, "text/bits_per_byte")[-1][0] == 8
    assert [row[0] for row in plot(tmp_path, "words/accuracy")] == [4, 8]
    timings = files.read_json(tmp_path / "reports/timings.json", made_by="")
    assert timings["tokens_per_second"] is None

    written(tmp_path / "cloze.jsonl", *({"text": text[:50], "answer": "module"} for text in texts))
    last = run(made, tmp_path, evaluate={"words": cloze})
    assert last["evaluations"].keys() == {"words"}
    assert [row[0] for row in plot(tmp_path, "words/accuracy")] == [8]
    assert not (tmp_path / "reports/plots/metrics/evaluations/text").exists()


def test_measurements_of_sets_survive_in_a_history_that_knows_other_sets():
    columns = ("loss", "bits_per_byte")
    row = Row(3, {"loss": 1.5, "evaluations/a@1/accuracy": 0.1 + 0.2, "evaluations/b@2/bits_per_byte": 1e-9})
    assert Row.from_line(row.to_line(columns), columns) == row
    assert Row.from_line(row.to_line(columns), columns).values == row.values
    assert Row.from_record(row.to_record(), columns).values == row.values
    plain = Row(3, {"loss": 1.5})
    assert Row.from_line(plain.to_line(columns), columns).values == plain.values
    assert Row.from_record({"step": 3, "loss": 1.5, "other": 1.0}, columns) is None
    assert Row.from_line(row.to_line(columns)[:40], columns) is None


def test_sets_are_no_part_of_a_runs_identity():
    one, other = (identity.run_identity(tiny(evaluate=sets), "tokens") for sets in ({}, {"a": "b.txt"}))
    assert one.key == other.key


def test_a_set_that_cannot_be_scored_ends_the_run_before_it_trains(made: MiniTokens, tmp_path: Path):
    bad = written(tmp_path / "bad.jsonl", {"question": "a", "choices": ["b", "c"], "answer": "D"})
    with pytest.raises(
        UserError, match=r"pretrain.evaluate.mine: .*bad.jsonl, line 1: answer: expected the right choice"
    ):
        run(made, tmp_path, evaluate={"mine": bad})
    assert not (tmp_path / "reports").exists()


def test_a_model_reads_a_text_as_training_began_documents(made: MiniTokens, tmp_path: Path):
    apart, bos, eos = made.copy(tmp_path / "apart"), made.tokenizer.bos_id, made.tokenizer.eos_id
    apart.encode(add_bos=False)
    for mini, begin in ((made, bos), (apart, eos)):
        folder = tmp_path / str(begin)
        run(mini, folder, steps=1, warmup_steps=0)
        export(folder / "lm", mini.spm, folder / "hf", add_bos=begin == bos)
        for model in ("lm", "hf"):
            reader = loading.load(folder / model, mini.spm / "spiece.model").reader
            assert reader.ids("a text").tolist() == [begin, *mini.tokenizer.encode("a text")]

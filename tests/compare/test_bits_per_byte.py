"""Bits per byte of tokenizers: equal bytes for all, every held-out byte counted, runs remembered, equal to the bit."""

import csv
import math
from dataclasses import replace
from pathlib import Path

import mistral_common
import numpy as np
import pytest
import typer.testing
from ruamel.yaml import YAML

from aura.cli.app import app
from aura.compare import bits_per_byte as judging
from aura.compare.bits_per_byte import Course, Summary, Texts, Trial, trials
from aura.core.errors import UserError
from aura.corpus import corpus
from aura.project import whole_params
from aura.storage.cache import Cache
from aura.tokenizer import foreign
from aura.tokenizer.foreign import Foreign
from tests.conftest import REPOSITORY
from tests.mini_tokens import PARAMS, MiniTokens

MISTRAL = Path(mistral_common.__file__).parent / "data/mistral_instruct_tokenizer_240323.model.v3"
SIZE = {"layers": 1, "width": 16, "heads": 2, "kv_heads": 1, "hidden": 32}
SMALL = {"size": SIZE, "batch_size": 4, "seq_len": 16, "warmup_steps": 2, "eval_tokens": 1024}
VALUES = whole_params.changed(PARAMS, {f"pretrain.{name}": value for name, value in SMALL.items()})


@pytest.fixture(scope="module")
def texts(made: MiniTokens) -> Texts:
    return Texts(judging.sample(made.corpus / "train", 10_000), judging.sample(made.corpus / "held_out", 4_000))


@pytest.fixture(scope="module")
def ours(made: MiniTokens) -> Foreign:
    return foreign.load(made.spm, "ours")


@pytest.fixture(scope="module")
def by_bytes(ours: Foreign) -> Foreign:
    """A tokenizer of bytes."""

    def encode(texts):
        return [np.frombuffer(text.encode(), np.uint8).astype(int) for text in texts]

    pieces = tuple(bytes([byte]) for byte in range(256))
    return replace(ours, name="bytes", pieces=pieces, kinds=ours.kinds[:256], encoder=encode)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("trials"))


@pytest.fixture(scope="module")
def interrupted(ours: Foreign, by_bytes: Foreign, texts: Texts, store: Cache) -> list[Trial]:
    """What a comparison came to before it was interrupted."""
    running = trials([ours, by_bytes], texts, VALUES, 2, store)
    return [next(running), next(running), next(running)]


def test_an_interrupted_comparison_goes_on(ours, by_bytes, texts, store, interrupted):
    assert store.stats().entries == 3
    done = list(trials([ours, by_bytes], texts, VALUES, 2, store))
    assert done[:3] == interrupted  # to their seconds
    assert [(trial.tokenizer, trial.seed) for trial in done] == [
        (name, seed) for name in ("ours", "bytes") for seed in (0, 1)
    ]
    assert store.stats().entries == 4


def test_a_trial_is_the_same_bits_again_and_another_seed_is_not(ours, texts, interrupted):
    again = Course(ours, texts, VALUES).run(1)["bits_per_byte"]
    assert again == interrupted[1].bits_per_byte != interrupted[0].bits_per_byte


def test_every_held_out_byte_is_counted_whatever_the_tokenizer(ours, by_bytes, texts):
    for tokenizer in (ours, by_bytes):
        course = Course(tokenizer, texts, VALUES)
        assert course.kept == 1
        tokens = sum(map(len, tokenizer.encode_batch(texts.held_out)))
        assert course.bytes_per_token == judging.size(texts.held_out) / tokens
    # Mistral's puts a space before each document, and has all else.
    added = len(texts.held_out) / judging.size(texts.held_out)
    assert Course(foreign.load(MISTRAL, "mistral"), texts, VALUES).kept == pytest.approx(1 + added)


def test_a_model_that_learnt_nothing_needs_the_bits_of_a_uniform_guess(by_bytes, texts, tmp_path):
    values = whole_params.changed(VALUES, {"pretrain.learning_rate": 1e-9})
    (found,) = trials([by_bytes], texts, values, 1, Cache(tmp_path))
    assert found.bits_per_byte == pytest.approx(math.log2(257), rel=0.03)


@pytest.mark.parametrize("bytes_per_token", [1.0, 2.9, 4.4, 7.3])
def test_all_see_the_same_bytes_in_windows_of_the_same_bytes(bytes_per_token):
    size = 1_000_000
    run = judging.equal_bytes(PARAMS, size, round(size / bytes_per_token)).pretrain
    window = run.seq_len * bytes_per_token
    assert window == pytest.approx(PARAMS.pretrain.seq_len * judging.NOMINAL, abs=bytes_per_token / 2)
    assert run.steps * run.batch_size * window == pytest.approx(size, abs=run.batch_size * window / 2)


def test_too_little_text_says_so(ours, texts):
    with pytest.raises(UserError, match=r"warmup_steps \(90\) steps at least.* Raise --mb"):
        Course(
            ours, Texts(texts.train[:1], texts.held_out), whole_params.changed(VALUES, {"pretrain.warmup_steps": 90})
        )


def test_a_sample_is_whole_documents_and_the_same_ones(made):
    every = list(corpus.read_texts(made.corpus / "train"))
    assert judging.sample(made.corpus / "train", 1e9) == every
    some, fewer = (judging.sample(made.corpus / "train", size) for size in (20_000, 10_000))
    assert set(fewer) < set(some) < set(every)
    longest = max(map(len, map(str.encode, every)))
    assert 20_000 - longest < judging.size(some) <= 20_000
    assert len(judging.sample(made.corpus / "train", 1)) == 1


def test_a_summary_is_the_mean_and_its_spread():
    made = [Trial("a", 500, 3.0, 1.0, seed, bits, 2.0) for seed, bits in enumerate((1.0, 2.0, 3.0))]
    assert Summary.of(made) == Summary("a", 500, 3.0, 1.0, 2.0, 1.0, 2.0)
    assert Summary.of(made[:1]).spread == 0


def test_the_command_prints_a_table_and_writes_both_files(made, tmp_path, monkeypatch):
    yaml = YAML()
    values = yaml.load(REPOSITORY / "params.yaml")
    values["pretrain"].update(SMALL)
    yaml.dump(values, tmp_path / "params.yaml")
    made.copy(tmp_path / "made").corpus.rename(tmp_path / "corpus")
    (tmp_path / "data").mkdir()
    (tmp_path / "corpus").rename(tmp_path / "data/corpus")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AURA_CACHE", str(tmp_path / "cache"))
    command = ["bits-per-byte", "made/spm", "made/spm/spiece.model", "--mb", "0.01", "--seeds", "2"]
    done = typer.testing.CliRunner().invoke(app, command, env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    assert "made/spm" in done.output
    runs, summary = (
        list(csv.DictReader((tmp_path / f"reports/bits_per_byte/{name}.csv").read_text().splitlines()))
        for name in ("runs", "summary")
    )
    assert [row["seed"] for row in runs] == ["0", "1", "0", "1"]
    assert {row["vocab_size"] for row in summary} == {"500"}
    assert summary[0]["bits_per_byte"] == summary[1]["bits_per_byte"]  # two names of one tokenizer
    assert float(summary[0]["spread"]) > 0
    assert Cache(tmp_path / "cache").stats().entries == 2

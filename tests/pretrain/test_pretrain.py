from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from jax._src.lru_cache import LRUCache

from aura.core import checksums, files
from aura.core.errors import UserError
from aura.corpus import corpus
from aura.model.weights import load
from aura.pretrain.pretrain import Metrics, keep_compiled, pretrain, training_sources
from aura.pretrain.step.batches import Batches
from aura.tokens.token_shards import TokenShards
from tests.mini_tokens import MiniTokens, tiny

PLOTTED = ("loss", "bits_per_byte", "gradient_norm", "learning_rate", "skipped")


def run(mini: MiniTokens, folder: Path, **changes: object) -> Metrics:
    options = tiny(checkpoint_folder=str(folder / "checkpoints"), **changes)
    return pretrain(mini.tokens, mini.spm / "spiece.model", folder / "lm", folder / "reports", options)


@pytest.fixture(scope="module")
def trained(made: MiniTokens, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    run(made, folder)
    return folder


def held_out_texts(mini: MiniTokens) -> list[str]:
    return list(corpus.read_texts(mini.corpus / "held_out"))


def results(folder: Path) -> dict[str, str]:
    found = [path for path in folder.rglob("*") if path.is_file() and path.name != "timings.json"]
    return {path.relative_to(folder).as_posix(): files.sha256_file(path) for path in found}


def test_training_twice_gives_the_same_bytes(made: MiniTokens, trained: Path, tmp_path: Path):
    run(made, tmp_path)
    assert results(tmp_path) == results(trained)


def test_these_and_no_other_files_are_written(trained: Path):
    plots = {f"reports/plots/metrics/{name}.tsv" for name in PLOTTED}
    model = {"lm/model.safetensors", "lm/config.json", f"lm/{checksums.NAME}"}
    assert set(results(trained)) == plots | model | {"reports/metrics.json", "reports/samples.txt"}


def test_the_model_names_its_tokenizer_and_tokens(made: MiniTokens, trained: Path):
    config = files.read_json(trained / "lm/config.json", made_by="")
    assert config["tokenizer"] == files.sha256_file(made.spm / "spiece.model")
    assert config["tokens"] == files.sha256_file(made.tokens / "manifest.json")
    assert load(trained / "lm").config.vocab_size == made.tokenizer.vocab_size == 500


def test_every_step_is_plotted_and_the_metrics_agree_with_the_plots(trained: Path):
    metrics = files.read_json(trained / "reports/metrics.json", made_by="")
    losses, bits = (
        np.loadtxt(trained / f"reports/plots/metrics/{name}.tsv", skiprows=1) for name in ("loss", "bits_per_byte")
    )
    assert losses[:, 0].tolist() == list(range(1, 9))
    assert bits[:, 0].tolist() == [4, 8]
    assert (metrics["step"], metrics["loss"], metrics["bits_per_byte"]) == (8, losses[-1, 1], bits[-1, 1])


def test_samples_continue_the_beginnings_of_held_out_documents(made: MiniTokens, trained: Path):
    samples = (trained / "reports/samples.txt").read_text(encoding="utf-8")
    beginnings = [made.tokenizer.decode(made.tokenizer.encode(text)[:14]) for text in held_out_texts(made)[:4]]
    assert all(beginning in samples for beginning in beginnings)
    assert samples.count("--- continued by the model") == 4


def test_timings_are_apart_from_results(trained: Path):
    timings = files.read_json(trained / "reports/timings.json", made_by="")
    assert timings["tokens_per_second"] > 0
    laps = {"prepare", "initialise", "compile", "first_step", "train", "evaluate", "log_and_save", "sample_and_save"}
    assert set(timings["seconds"]) == laps
    assert (timings["attempts"], timings["mfu"]) == (1, None)


def test_a_small_model_learns_context(made: MiniTokens, tmp_path: Path):
    metrics = run(made, tmp_path, steps=300, eval_every=300, learning_rate=0.01, warmup_steps=10)
    assert metrics.bits_per_byte < 0.95 * metrics.context_free_bits_per_byte


def test_tokens_of_another_tokenizer_are_refused(mini: MiniTokens, tmp_path: Path):
    manifest = files.read_json(mini.tokens / "manifest.json", made_by="")
    files.write_json(mini.tokens / "manifest.json", manifest | {"tokenizer": "f" * 64})
    checksums.write(mini.tokens)
    with pytest.raises(UserError, match="was made by the tokenizer ffff"):
        run(mini, tmp_path)


def test_altered_tokens_are_refused_before_training(mini: MiniTokens, tmp_path: Path):
    file = mini.tokens / "train/a-000.npy"
    file.write_bytes(file.read_bytes()[:-1] + b"\xff")
    with pytest.raises(UserError, match="was altered"):
        run(mini, tmp_path)
    assert not (tmp_path / "lm").exists()


def test_a_sequence_longer_than_the_corpus_says_so(made: MiniTokens, tmp_path: Path):
    with pytest.raises(UserError, match=r"training tokens for one sequence.* Lower pretrain\.seq_len"):
        run(made, tmp_path, seq_len=2**20)


def test_affect_conditioning_learns_from_the_documents_vectors(made: MiniTokens, trained: Path, tmp_path: Path):
    """Every vector of the corpus is (0.5, 0.5, 0, …): the rows of joy and sadness are learnt, and no other."""
    run(made, tmp_path, affect_conditioning=True)
    told = load(tmp_path / "lm")
    moved = np.abs(np.asarray(told.affect[...])).max(axis=1) > 0
    assert moved.tolist() == [True, True, *[False] * 6]
    assert not hasattr(load(trained / "lm"), "affect")
    losses = [(folder / "reports/plots/metrics/loss.tsv").read_text().splitlines() for folder in (trained, tmp_path)]
    assert losses[0][1] == losses[1][1]  # it starts as if it were not there
    assert losses[0][2:] != losses[1][2:]


@pytest.mark.parametrize(("weight", "times"), [(3.0, 3.0), (0.5, 0.5), (0.0, 0.0)])
def test_source_weights_decide_how_often_a_source_is_seen(made: MiniTokens, weight: float, times: float):
    """Against its share of the tokens; counted over 2,000 windows."""
    shards = TokenShards(made.tokens, made.tokenizer.sha256)
    seen = []
    for weights in ({"b": 1.0}, {"b": weight}):
        named = training_sources(shards, tiny(source_weights=weights))
        batches = Batches([replace(source, documents=None) for source in named], 8, 32, seed=0)  # which takes seconds
        drawn = "; ".join(batches.describe(step) for step in range(250))
        seen.append((drawn.count("b tokens"), drawn.count("a tokens")))
    (b_before, a_before), (b_after, a_after) = seen
    assert b_after / a_after == pytest.approx(times * b_before / a_before, rel=0.15)


def test_a_run_with_source_weights_is_another_run(made: MiniTokens, trained: Path, tmp_path: Path):
    run(made, tmp_path, source_weights={"a": 0.0})
    assert results(tmp_path)["lm/model.safetensors"] != results(trained)["lm/model.safetensors"]


def test_a_profile_is_a_trace_and_changes_no_result(made: MiniTokens, trained: Path, tmp_path: Path):
    options = tiny(checkpoint_folder=str(tmp_path / "checkpoints"))
    folder, trace = tmp_path / "run", tmp_path / "trace"
    pretrain(made.tokens, made.spm / "spiece.model", folder / "lm", folder / "reports", options, trace)
    (written,) = trace.glob("plugins/profile/*/*.xplane.pb")
    assert b"jit_step" in written.read_bytes()
    assert results(folder) == results(trained)


CACHE = ("jax_compilation_cache_dir", "jax_compilation_cache_max_size", "jax_persistent_cache_min_compile_time_secs")


@pytest.fixture
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty folder as the current one, and JAX not yet told where to keep compiled programs."""
    monkeypatch.chdir(tmp_path)
    before = {name: getattr(jax.config, name) for name in CACHE}
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.mark.usefixtures("no_cache")
def test_compiled_programs_are_kept_unless_someone_said_where(tmp_path: Path):
    keep_compiled()
    assert Path(jax.config.jax_compilation_cache_dir).parent == tmp_path / ".aura/compiled"
    jax.config.update("jax_compilation_cache_dir", "elsewhere")
    keep_compiled()
    assert jax.config.jax_compilation_cache_dir == "elsewhere"


@pytest.mark.usefixtures("no_cache")
def test_an_entry_that_a_kill_cut_short_is_removed():
    """JAX's own cache puts nothing in the place of what is there, and cannot make room beside it."""
    keep_compiled()
    cache = LRUCache(jax.config.jax_compilation_cache_dir, max_size=1000)
    cache.put("whole", b"program")
    cache.put("cut", b"program")
    (cache.path / "cut-cache").write_bytes(b"pro")
    (cache.path / "cut-atime").unlink()  # written last
    jax.config.update("jax_compilation_cache_dir", None)
    keep_compiled()
    cache.put("cut", b"program")
    assert cache.get("cut") == cache.get("whole") == b"program"

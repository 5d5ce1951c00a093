"""Runs that begin from existing weights: their first step, their vocabulary, and what makes them another run."""

import hashlib
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from aura.core import checksums, files
from aura.core.errors import UserError
from aura.export.llama import export
from aura.hugging_face import base as base_weights
from aura.hugging_face import llama_reading, loading
from aura.hugging_face.base import open_base
from aura.model import weights
from aura.model.model import LanguageModel, leaf_name
from aura.pretrain.identity import run_identity
from aura.pretrain.pretrain import Metrics, pretrain, training_sources
from aura.pretrain.step.batches import Batches
from aura.tokenizer import opening
from aura.tokens.token_shards import TokenShards
from aura.train_tokenizer.adoption import Base, More, adopt
from aura.train_tokenizer.corpus_counts import count_texts
from aura.train_tokenizer.extension import Rules
from aura.train_tokenizer.extension import extended as with_more_pieces
from aura.train_tokenizer.segments import Splitting
from aura.training.checkpoints import Checkpoints
from tests.hugging_face.llamas import LLAMA3, write_llama
from tests.llama import NumpyLlama
from tests.mini_tokens import MiniTokens, tiny

SHAPE = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}


def llama(folder: Path, vocab_size: int = 500, **changes: object) -> dict[str, np.ndarray]:
    return write_llama(folder, dtype="bfloat16", vocab_size=vocab_size, rope_scaling=LLAMA3, **(SHAPE | changes))


def run(mini: MiniTokens, folder: Path, base: Path | None, **changes: object) -> Metrics:
    place = {"from": str(base) if base else None}
    options = tiny(checkpoint_folder=str(folder / "checkpoints"), learning_rate=1e-3, **(place | changes))
    return pretrain(mini.tokens, mini.spm / "spiece.model", folder / "lm", folder / "reports", options)


def losses(folder: Path) -> np.ndarray:
    return np.loadtxt(folder / "reports/plots/metrics/loss.tsv", skiprows=1)[:, 1]


def by_name(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / "lm/model.safetensors")


@pytest.fixture(scope="module")
def went_on(made: MiniTokens, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama (`base`) and a run that began from it, with embeddings first (`lm`)."""
    folder = tmp_path_factory.mktemp("went-on")
    llama(folder / "base")
    run(made, folder, folder / "base", train_embeddings_first=3, checkpoint_every=5)
    return folder


def test_the_first_loss_is_that_of_the_base_in_float64(made: MiniTokens, went_on: Path):
    """The model and the shape are the base's; size and tied_embeddings of the options are others."""
    reference = NumpyLlama(went_on / "base")
    options = tiny()
    shards = TokenShards(made.tokens, made.tokenizer.encoding_sha256)
    nats = []
    for window in Batches(training_sources(shards, options), 8, 32, options.seed).batch(0)["tokens"]:
        logits = reference.logits(window[:-1])
        total = np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1)) + logits.max(1)
        nats.append((total - logits[np.arange(32), window[1:]]).mean())
    assert losses(went_on)[0] == pytest.approx(np.mean(nats), abs=1e-4)


def test_a_model_says_what_it_began_from_and_is_exported_with_its_values(
    made: MiniTokens, went_on: Path, tmp_path: Path
):
    record = weights.config(went_on / "lm")
    digests = "".join(
        f"{files.sha256_file(went_on / 'base' / name)}  {name}\n" for name in ("config.json", "model.safetensors")
    )
    assert record["base"] == {"sha256": hashlib.sha256(digests.encode()).hexdigest(), "context": 128}
    assert (record["model"]["rope_base"], record["model"]["scaled_embeddings"]) == (500_000.0, False)
    export(went_on / "lm", made.spm, tmp_path / "hf", add_bos=True)
    theirs, ours = (json.loads((folder / "config.json").read_text()) for folder in (went_on / "base", tmp_path / "hf"))
    assert {name: ours.get(name) for name in theirs if name != "rope_scaling"} == {
        name: value for name, value in theirs.items() if name != "rope_scaling"
    }
    assert ours["rope_scaling"] == LLAMA3
    ids = np.arange(24) * 7 % 500
    logits = jax.jit(LanguageModel.__call__)(weights.load(went_on / "lm"), ids[None])[0]
    np.testing.assert_allclose(logits, NumpyLlama(tmp_path / "hf").logits(ids), atol=1e-4)
    again = loading.load(tmp_path / "hf", made.spm / "spiece.model")
    assert again.context == 128
    assert again.model.config == weights.load(went_on / "lm").config


def test_embeddings_move_alone_for_so_many_steps(made: MiniTokens, went_on: Path, tmp_path: Path):
    first, _ = llama_reading.read(went_on / "base", "")
    began = {leaf_name(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(first)}
    run(made, tmp_path / "frozen", went_on / "base", steps=3, warmup_steps=1, train_embeddings_first=3)
    moved = {name for name, array in by_name(tmp_path / "frozen").items() if (array != began[name]).any()}
    assert moved == {"embedding", "head"}
    assert {name for name, array in by_name(went_on).items() if (array == began[name]).all()} == set()


def test_a_run_goes_on_to_the_same_bytes(made: MiniTokens, went_on: Path, tmp_path: Path):
    """Within the steps that move embeddings alone, and after them; and the base is read no more."""
    for step in (2, 5):
        folder = tmp_path / str(step)
        options = {"train_embeddings_first": 3, "checkpoint_every": step, "schedule": "wsd"}
        with pytest.raises(StopIteration):
            _killed_after(step, lambda: run(made, folder, went_on / "base", **options))  # noqa: B023
        run(made, folder, went_on / "base", **options)
        assert files.read_json(folder / "reports/timings.json", "")["attempts"] == 2
        assert (folder / "lm/model.safetensors").read_bytes() == (went_on / "lm/model.safetensors").read_bytes()


def _killed_after(step: int, train) -> None:
    """End a run as soon as the checkpoint of `step` is begun and complete."""
    save = Checkpoints.save

    def then_end(self: Checkpoints, row, state) -> None:
        save(self, row, state)
        if row.step == step:
            self.close()
            raise StopIteration

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "save", then_end)
        train()


def test_a_changed_base_is_another_run_wherever_it_lies(made: MiniTokens, went_on: Path, tmp_path: Path):
    shutil.copytree(went_on / "base", tmp_path / "copy")
    shutil.copytree(went_on / "base", tmp_path / "changed")
    file = tmp_path / "changed/model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\1")
    opened = [
        open_base(str(folder), made.tokenizer, made.spm, affect=False)
        for folder in (went_on / "base", tmp_path / "copy", tmp_path / "changed")
    ]
    keys = [run_identity(tiny(**{"from": base.sha256}), "tokens", base.decides).key for base in opened]
    assert keys[0] == keys[1] != keys[2]
    other = tiny(size="tiny", tied_embeddings=False, **{"from": "anywhere"})
    assert run_identity(other, "tokens", opened[0].decides).key == keys[0]
    assert run_identity(tiny(train_embeddings_first=1), "tokens", opened[0].decides).key != keys[0]


def extended(mini: MiniTokens, base_size: int) -> list[list[int]]:
    """Say in models/spm that the last ids extend a vocabulary; returns how they are spelt."""
    spelt = [[place % 7, 40 + place, 40 + place][: 1 + place % 3] for place in range(500 - base_size)]
    record = {"format": 1, "base_vocab_size": base_size, "spelt": spelt}
    files.write_json(mini.spm / "extended.json", record)
    checksums.write(mini.spm)
    return spelt


@pytest.mark.parametrize(("tied", "rows"), [(True, 480), (False, 480), (False, 490)])
def test_new_rows_begin_as_the_mean_of_those_that_spell_them(mini: MiniTokens, tmp_path: Path, tied: bool, rows: int):
    spelt = extended(mini, 480)
    tensors = llama(tmp_path / "base", rows, tie_word_embeddings=tied)
    opened = open_base(str(tmp_path / "base"), mini.tokenizer, mini.spm, affect=False)
    assert opened.config.vocab_size == 500
    names = {"embedding": "model.embed_tokens.weight"} | ({} if tied else {"head": "lm_head.weight"})
    for ours, theirs in names.items():
        expected = np.concatenate([tensors[theirs][:480], [tensors[theirs][ids].mean(axis=0) for ids in spelt]])
        whole = opened.part(ours, (slice(None), slice(None)))
        np.testing.assert_allclose(whole, expected, rtol=1e-6)
        np.testing.assert_array_equal(whole[470:495, 4:20], opened.part(ours, (slice(470, 495), slice(4, 20))))
        np.testing.assert_array_equal(whole[490:], opened.part(ours, (slice(490, None), slice(None))))
    assert any("20 new rows begin as the mean" in note for note in opened.notes)
    assert any("10 rows of the base belong to no token" in note for note in opened.notes) == (rows == 490)


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
def test_fifty_steps_after_an_export_are_those_without_it(made: MiniTokens, tmp_path: Path, tied: bool):
    """A model of ours goes on alike from models/lm and from its export: embeddings keep the factor that Adam feels."""
    run(made, tmp_path, None, steps=30, tied_embeddings=tied)
    export(tmp_path / "lm", made.spm, tmp_path / "hf", add_bos=True)
    for name in ("lm", "hf"):
        run(made, tmp_path / f"from-{name}", tmp_path / name, steps=50, eval_every=50, schedule="cosine")
    direct, detour = (losses(tmp_path / f"from-{name}") for name in ("lm", "hf"))
    print(
        f"greatest difference of losses {np.abs(direct - detour).max():.1e}; from {direct[0]:.3f} to {direct[-1]:.3f}"
    )
    np.testing.assert_allclose(detour, direct, rtol=1e-5)
    for leaf, other in zip(*(by_name(tmp_path / f"from-{name}").values() for name in ("lm", "hf")), strict=True):
        assert np.abs(leaf - other).max() < 2e-3


def test_the_tokenizer_that_was_extended_is_compared_with_the_bases(mini: MiniTokens, tmp_path: Path):
    """A tokenizer.json beside the base says nothing of a SentencePiece model: both may be of one tokenizer."""
    extended(mini, 480)
    (mini.spm / "base.model").write_bytes(b"what was extended")
    checksums.write(mini.spm)
    llama(tmp_path / "base", 480)

    def compared_by_size_alone() -> bool:
        opened = open_base(str(tmp_path / "base"), mini.tokenizer, mini.spm, affect=False)
        return any("only its size" in note for note in opened.notes)

    assert compared_by_size_alone()
    (tmp_path / "base/tokenizer.json").write_bytes(b"{}")
    assert compared_by_size_alone()
    (tmp_path / "base/tokenizer.model").write_bytes(b"what was extended")
    assert not compared_by_size_alone()
    llama(tmp_path / "base", 500)  # as many rows as the extended one has ids, but the last 20 are padding
    opened = open_base(str(tmp_path / "base"), mini.tokenizer, mini.spm, affect=False)
    assert any("20 new rows begin as the mean" in note for note in opened.notes)
    (tmp_path / "base/tokenizer.model").unlink()
    opened = open_base(str(tmp_path / "base"), mini.tokenizer, mini.spm, affect=False)
    assert any("its tokenizer is taken for the extended one" in note for note in opened.notes)
    (tmp_path / "base/tokenizer.model").write_bytes(b"another")
    with pytest.raises(UserError, match=r"was trained on another tokenizer .* than .*base\.model"):
        compared_by_size_alone()


def test_an_extended_tokenizer_goes_on_from_models_of_its_base_alone(made: MiniTokens, went_on: Path, tmp_path: Path):
    """Their folders are told by the tokenizer that models/lm records, and by the file that an export holds."""
    greek = ["Ξεσκεπάζω την ψυχοφθόρα βδελυγμία και την αλήθεια της ημέρας"] * 20
    splitting = Splitting(split_digits=True, split_by_script=True, split_by_number=True, user_symbols=())
    counts, rules = count_texts(greek, splitting), Rules(scripts=("GREEK",))
    more = More(
        lambda file: with_more_pieces(file, counts, 12, rules), {"corpus": "", "keep": [], "max_changed": 0.001}
    )
    tokenizer = adopt(Base(made.spm, "spm", {}), tmp_path / "spm", more)
    lm, exported = went_on / "lm", tmp_path / "hf"
    export(lm, made.spm, exported, add_bos=True)
    for folder in (lm, exported):
        opened = open_base(str(folder), tokenizer, tmp_path / "spm", affect=False)
        assert (opened.config.vocab_size, len(opened.notes)) == (512, 1)
        assert "12 new rows begin as the mean" in opened.notes[0]
    other = tmp_path / "lm"
    shutil.copytree(lm, other)
    files.write_json(other / "config.json", files.read_json(other / "config.json", "") | {"tokenizer": "f" * 64})
    checksums.write(other)
    sent = opening.files_of(tmp_path / "spm")  # to a pod, where the same base must be refused
    assert list(sent) == ["adopted.json", "extended.json", "base.model", "spiece.model"]
    (tmp_path / "pod").mkdir()
    for name, file in sent.items():
        shutil.copyfile(file, tmp_path / "pod" / name)
    for folder in (tmp_path / "spm", tmp_path / "pod"):
        with pytest.raises(UserError, match="lm was trained on another tokenizer"):
            open_base(str(other), tokenizer, folder, affect=False)


def test_affect_begins_at_nothing_beside_a_base_without_it(made: MiniTokens, went_on: Path):
    opened = open_base(str(went_on / "base"), made.tokenizer, made.spm, affect=True)
    assert not opened.part("affect", (slice(None), slice(4, 8))).any()
    assert opened.part("affect", (slice(None), slice(4, 8))).shape == (8, 4)


def test_a_base_of_another_tokenizer_or_size_is_refused(mini: MiniTokens, went_on: Path, tmp_path: Path):
    def opened(folder: Path) -> base_weights.Base:
        return open_base(str(folder), mini.tokenizer, mini.spm, affect=False)

    llama(tmp_path / "small", 400)
    with pytest.raises(UserError, match="has 400 rows of embeddings, and the tokenizer has 500 ids"):
        opened(tmp_path / "small")
    llama(tmp_path / "large", 1600)
    with pytest.raises(UserError, match="has 1,600 rows"):
        opened(tmp_path / "large")
    shutil.copytree(went_on / "base", tmp_path / "base")
    (tmp_path / "base/spiece.model").write_bytes(b"another")
    with pytest.raises(UserError, match="base was trained on another tokenizer"):
        opened(tmp_path / "base")
    shutil.copyfile(mini.spm / "spiece.model", tmp_path / "base/tokenizer.model")
    assert not any("only its size" in note for note in opened(tmp_path / "base").notes)
    assert any("only its size was compared" in note for note in opened(went_on / "base").notes)
    lm = tmp_path / "lm"
    shutil.copytree(went_on / "lm", lm)
    assert opened(lm).config.rope_factor == 8
    files.write_json(lm / "config.json", files.read_json(lm / "config.json", "") | {"tokenizer": "f" * 64})
    checksums.write(lm)
    with pytest.raises(UserError, match="lm was trained on another tokenizer"):
        opened(lm)
    with pytest.raises(
        UserError, match=r"params\.yaml: pretrain\.from: expected the folder .* found no folder nowhere"
    ):
        opened(Path("nowhere"))
    extended(mini, 480)
    files.write_json(mini.spm / "extended.json", {"format": 1, "base_vocab_size": 480, "spelt": [[480]] * 20})
    checksums.write(mini.spm)
    with pytest.raises(UserError, match=r"extended\.json: expected for each of 20 new ids some ids below 480"):
        opened(went_on / "base")

"""Masks of documents: a window's loss is that of its documents alone, in training and in evaluation."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aura.core.errors import UserError
from aura.model.model import Compute, LanguageModel, ModelConfig, initial_model
from aura.pretrain.step.training import make_step, mean_loss
from aura.tokens.token_shards import TokenShards
from aura.training.documents import document_start, segments_of
from aura.training.evaluation import token_nats
from tests.mini_tokens import MiniTokens, tiny

CONFIG = ModelConfig(
    vocab_size=40, layers=2, width=16, heads=2, kv_heads=1, hidden=16, tied_embeddings=False, qk_norm=True
)
START = 1
LENGTHS = [5, 1, 7, 3]  # of the documents of a window, from its second on with START; the first one is a document's end


def window() -> np.ndarray:
    tokens = np.random.default_rng(0).integers(4, 40, sum(LENGTHS) + 1).astype(np.int32)
    tokens[np.cumsum(LENGTHS)[:-1]] = START
    return tokens[None]


def nats(tokens: np.ndarray, start: int | None) -> np.ndarray:
    return np.asarray(token_nats(initial_model(CONFIG, 0, Compute()), tokens, start))[0]


def test_a_document_begins_with_its_first_token():
    expected = np.repeat([1, 2, 3, 4], LENGTHS)
    np.testing.assert_array_equal(segments_of(window()[:, :-1], START)[0], expected)
    np.testing.assert_array_equal(segments_of(np.full((1, 3), START), START), [[2, 3, 4]])


def test_the_nats_of_a_window_are_those_of_its_documents_alone():
    tokens, end = window(), np.cumsum(LENGTHS)
    apart = [nats(tokens[:, begin : stop + 1], None) for begin, stop in zip(end - LENGTHS, end, strict=True)]
    together = nats(tokens, START)
    np.testing.assert_allclose(together, np.concatenate(apart), atol=1e-5)
    assert np.abs(together - nats(tokens, None))[LENGTHS[0] :].max() > 1e-3


def test_training_and_evaluation_have_the_same_masks():
    model, tokens = initial_model(CONFIG, 0, Compute()), window()
    loss = jax.jit(partial(mean_loss, document_start=START))(model, {"tokens": tokens})[1]
    assert float(loss) == pytest.approx(nats(tokens, START).mean(), rel=1e-6)


def test_a_step_whose_options_mask_is_told_where_documents_begin():
    for masks, start in ((True, None), (False, START)):
        with pytest.raises(AssertionError):
            make_step(tiny(document_masks=masks), start)
    assert not tiny(seq_len=16_383, document_masks="auto").masks_documents
    assert tiny(seq_len=16_384, document_masks="auto").masks_documents
    assert not tiny(seq_len=16_384, document_masks=False).masks_documents


@pytest.mark.parametrize("layout", [{}, {"add_bos": False}, {"add_bos": False, "add_eos": False}])
def test_documents_begin_with_bos_or_with_the_eos_before(mini: MiniTokens, layout: dict[str, bool]):
    mini.encode(**layout)
    tokenizer, shards = mini.tokenizer, TokenShards(mini.tokens, mini.tokenizer.encoding_sha256)
    assert document_start(shards, tokenizer, masks=False) is None
    if "add_eos" in layout:
        with pytest.raises(UserError, match=r"expected <bos> before or <eos> after .* Set encode.add_bos: true"):
            document_start(shards, tokenizer)
        return
    start = document_start(shards, tokenizer)
    assert start == (tokenizer.eos_id if layout else tokenizer.bos_id)
    stream = shards.stream("train")
    found = np.asarray(segments_of(stream.read(0, len(stream))[None], start))[0]
    sizes = [row["tokens"] for _, row in shards.documents("train")]
    first = 0 if layout else 1  # without <bos>, the first document has no mark before it
    expected = np.repeat(np.arange(len(sizes)) + 1 + first, sizes)
    if layout:
        expected[np.cumsum(sizes) - 1] += 1  # each <eos> belongs to the document after it
    np.testing.assert_array_equal(found, expected)


def test_a_run_says_that_it_masked_and_keeps_its_masks_in_the_evaluation(made: MiniTokens, tmp_path: Path):
    from aura.core import files
    from aura.model import weights
    from aura.pretrain.pretrain import pretrain
    from aura.training.evaluation import HeldOut, evaluation_windows

    options = tiny(document_masks=True, qk_norm=True, checkpoint_folder=str(tmp_path / "checkpoints"))
    metrics = pretrain(made.tokens, made.spm / "spiece.model", tmp_path / "lm", tmp_path / "reports", options)
    record = files.read_json(tmp_path / "lm/config.json", made_by="")
    assert (record["document_masks"], record["model"]["qk_norm"]) == (True, True)
    shards = TokenShards(made.tokens, made.tokenizer.encoding_sha256)
    streams = {source: shards.stream("held_out", source) for source in shards.sources("held_out")}
    windows, sources = evaluation_windows(streams, options.seq_len, options.eval_tokens)
    measured = [
        HeldOut(windows, sources, made.tokenizer.byte_lengths, 8, start).bits_per_byte(weights.load(tmp_path / "lm"))[0]
        for start in (made.tokenizer.bos_id, None)
    ]
    assert measured[0] == pytest.approx(metrics.bits_per_byte, rel=1e-5)
    assert measured[1] != pytest.approx(metrics.bits_per_byte, rel=1e-5)


def test_nothing_flows_from_one_document_to_another():
    tokens = window()
    segments = segments_of(tokens[:, :-1], START)

    @jax.jit
    @jax.grad
    def slope(model: LanguageModel) -> jax.Array:
        return (model.features(tokens[:, :-1], None, segments)[0, -LENGTHS[-1] :] ** 3).sum()

    slopes = jnp.abs(slope(initial_model(CONFIG, 0, Compute())).embedding[...]).sum(axis=1)
    last = {*tokens[0, -LENGTHS[-1] - 1 : -1].tolist()}
    assert {*np.flatnonzero(np.asarray(slopes)).tolist()} <= last

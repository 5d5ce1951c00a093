"""Samples as text: ids that cut a character in two break none."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from aura.core.errors import UserError
from aura.model.model import ModelConfig, initial_model
from aura.pretrain import samples
from aura.project import whole_params
from aura.tokenizer.reader import Reader
from aura.tokenizer.tokenizer import Tokenizer
from aura.train_tokenizer import artifact
from aura.training import sampling
from aura.training.answers import Drawing
from aura.training.sampling import Tail, Wish, continued
from tests.conftest import REPOSITORY
from tests.strict_dtypes import strict_dtypes  # noqa: F401 - for every test of this module

EMOJI = "🙂"  # four ids, one for each byte


@pytest.fixture(scope="module")
def options():
    return whole_params.load(REPOSITORY / "params.yaml")


@pytest.fixture(scope="module")
def tokenizer(options):
    small = artifact.with_changes(options.train_tokenizer, vocab_size=310, model_type="bpe")
    return Tokenizer.from_bytes(artifact.build_from_texts(["the words of people, learnt at a time"] * 3, small).model)


def says(monkeypatch, ids):
    """The model draws `ids`, whatever the prompt; drawing itself is tested in test_generation.py."""
    drawn = np.array(ids, np.int32)
    monkeypatch.setattr(
        sampling, "continuations", lambda _, prompts, *__, **___: np.repeat(drawn[None], len(prompts), axis=0)
    )


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_continuation_does_not_end_in_a_part_of_a_character(tokenizer, cut):
    said = np.array(tokenizer.encode(f" a{EMOJI}{EMOJI}"))
    assert Tail(tokenizer, {tokenizer.eos_id}, []).text(said[:-cut]) == f" a{EMOJI}"
    ended = Tail(tokenizer, {tokenizer.eos_id}, [])
    assert ended.text(np.array([*said, tokenizer.eos_id, *said])) == f" a{EMOJI}{EMOJI}"
    assert ended.ended
    assert ended.text(said) == ""


@pytest.mark.parametrize("stop", ["le", "earnt a", ", ", "wholly absent"])
def test_a_text_ends_before_a_stop_wherever_its_parts_are_cut(tokenizer, stop):
    whole = "words of people, learnt at a time"
    ids = np.array(tokenizer.encode(whole))
    expected = whole.split(stop)[0]
    for size in (1, 2, 3, 50):
        tail, said = Tail(tokenizer, {tokenizer.eos_id}, [stop, "never there"]), ""
        for begin in range(0, len(ids), size):
            said += tail.text(ids[begin : begin + size])
            assert stop not in said
        assert tail.ended == (stop in whole)
        assert tokenizer.decode(tokenizer.encode(said + ("" if tail.ended else tail.rest))) == expected


def test_stops_are_tokens_by_their_names_and_texts_otherwise(tokenizer):
    assert sampling.ends_of(tokenizer, ["<pad>", "people"]) == {tokenizer.eos_id, 0}
    with pytest.raises(UserError, match="--stop: expected a text or the name of a special token"):
        sampling.ends_of(tokenizer, [""])


def test_texts_continue_together_as_alone_and_as_in_one_program(tokenizer):
    config = ModelConfig(tokenizer.vocab_size, 2, 16, 2, 1, 16, tied_embeddings=True)
    model = initial_model(config, 0)
    model.embedding[...] *= 20
    wish = Wish(20, Drawing(temperature=0))

    reader = partial(Reader.of, tokenizer, add_bos=True)

    def said(*texts: str, wish: Wish = wish, context: int = 64) -> list[str]:
        return ["".join(parts) for parts in zip(*continued(model, reader(context), texts, wish), strict=True)]

    texts = ("the words", "people", "")
    together = said(*texts)
    assert together == [said(text)[0] for text in texts]
    ids = np.array([[tokenizer.bos_id, *tokenizer.encode("people")]], np.int32)
    made = sampling.drawn(model, ids, jax.random.key(0), 0.0, tokens=20)[0]
    assert together[1] == tokenizer.incremental_decoder().decode(sampling.until_end(made, tokenizer))
    hot = Wish(20, Drawing(temperature=2.0, seed=3), number=3)
    several = said("people", wish=hot)
    assert several == said("people", wish=hot)
    assert len(set(several)) == 3
    assert several[0] == said("people", wish=replace(hot, number=1))[0]
    stop = together[0][3:5]
    assert said(texts[0], wish=replace(wish, stops=[stop]))[0] == together[0].split(stop)[0]
    with pytest.raises(
        UserError, match=r"expected a text of at most 3 tokens.* got .* in the one that begins 'the words"
    ):
        said(*texts, context=4)


def test_a_prompt_that_cuts_a_character_goes_on_with_it(monkeypatch, tokenizer, options):
    [letter] = tokenizer.encode("a")
    # The prompt's 32 tokens end inside of the emoji.
    document = np.array([letter] * 30 + tokenizer.encode(f"{EMOJI} b"), np.int32)
    shards = SimpleNamespace(documents=lambda _: [(document, {"doc": "one"})])
    says(monkeypatch, document[32:])
    text = samples.sample_text(None, shards, tokenizer, options.pretrain)
    assert f"continued by the model\n{EMOJI} b\n" in text
    assert "\ufffd" not in text

"""Samples as text: ids that cut a character in two break none."""

from types import SimpleNamespace

import numpy as np
import pytest

from aura.pretrain import samples
from aura.project import whole_params
from aura.tokenizer.tokenizer import Tokenizer
from aura.train_tokenizer import artifact
from aura.training import sampling
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
def test_a_continuation_does_not_end_in_a_part_of_a_character(monkeypatch, tokenizer, cut):
    said = tokenizer.encode(f" a{EMOJI}{EMOJI}")
    says(monkeypatch, said[:-cut])
    assert sampling.continue_text(None, tokenizer, "the", tokens=9, temperature=1.0, seed=0) == f" a{EMOJI}"
    says(monkeypatch, [*said, tokenizer.eos_id, *said])
    assert sampling.continue_text(None, tokenizer, "the", tokens=9, temperature=1.0, seed=0) == f" a{EMOJI}{EMOJI}"


def test_a_prompt_that_cuts_a_character_goes_on_with_it(monkeypatch, tokenizer, options):
    [letter] = tokenizer.encode("a")
    # The prompt's 32 tokens end inside of the emoji.
    document = np.array([letter] * 30 + tokenizer.encode(f"{EMOJI} b"), np.int32)
    shards = SimpleNamespace(documents=lambda _: [(document, {"doc": "one"})])
    says(monkeypatch, document[32:])
    text = samples.sample_text(None, shards, tokenizer, options.pretrain)
    assert f"continued by the model\n{EMOJI} b\n" in text
    assert "\ufffd" not in text

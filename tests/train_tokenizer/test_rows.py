from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.tokenizer import saving
from aura.train_tokenizer import rows, seeds, train
from aura.train_tokenizer.corpus_counts import count_texts
from aura.train_tokenizer.options import TrainTokenizer


def trained(table: pa.Table, chosen: TrainTokenizer, size: int, least: int | None = None) -> bytes:
    """A tokenizer of `size` pieces, or the largest possible; `least` in place of the guess."""
    with pytest.MonkeyPatch.context() as patched:
        if least is not None:
            patched.setattr(rows, "least_count", lambda *_: least)
        try:
            return train.train_model(table, chosen, size)
        except train.VocabularyTooLarge as error:
            return train.train_model(table, chosen, error.largest)


@settings(max_examples=10, deadline=None, database=None)
@given(
    st.lists(st.text(alphabet="aab cé中文1_", max_size=60), min_size=1, max_size=4),
    st.integers(2, 9),
    st.integers(320, 345),
    st.booleans(),
    st.sampled_from([0.98, 1.0]),
    st.sampled_from([2, 3, 16]),
)
def test_any_guess_gives_the_same_pieces(options, texts, least, size, pieces, coverage, longest):
    chosen = options(
        model_type="bpe",
        whitespace_pieces=pieces,
        character_coverage=coverage,
        max_piece_chars=longest,
        vocab_size=size,
    )
    table = count_texts([*texts, "words and wards " * 3], train.splitting_of(chosen)).table
    assert trained(table, chosen, size, least) == trained(table, chosen, size, 0)


@pytest.fixture(scope="module")
def table(documents: list[str], options: Callable[..., TrainTokenizer]) -> pa.Table:
    return count_texts(documents, train.splitting_of(options())).table


@pytest.mark.parametrize("size", [600, 2000])
def test_the_guess_for_real_text_is_proven_and_gives_the_same_pieces(table, options, size, monkeypatch):
    calls: list[int] = []
    train_once = train._train_once
    monkeypatch.setattr(train, "_train_once", lambda table, *more: calls.append(len(table)) or train_once(table, *more))
    chosen = options(model_type="bpe", vocab_size=size)
    assert trained(table, chosen, size) == trained(table, chosen, size, 0)
    assert len(calls) == 2, "the guess was not proven"
    assert calls[0] < calls[1]


def met(table: pa.Table) -> Counter[str]:
    """How often two characters stand beside each other."""
    found = Counter[str]()
    for row in table.to_pylist():
        for pair in pairwise(row["text"]):
            found["".join(pair)] += row["count"]
    return found


def characters(table: pa.Table) -> Counter[str]:
    """How often each character occurs."""
    found = Counter[str]()
    for row in table.to_pylist():
        for character in row["text"]:
            found[character] += row["count"]
    return found


def test_segments_are_cut_at_rare_pairs_alone_and_never_after_a_space(table):
    least = 7
    cut = rows.cut_at_rare_pairs(table, least)
    assert met(cut) == {pair: count for pair, count in met(table).items() if count >= least or pair[0] == " "}
    assert characters(cut) == characters(table)
    assert len(set(cut["text"].to_pylist())) == len(cut)


def test_segments_are_cut_where_no_seed_lies_and_never_after_a_space(table):
    pieces = [seed.replace("\u2581", " ") for seed, _ in seeds.seeds(table, 500, 16)]
    held = {piece[place : place + 2] for piece in pieces for place in range(len(piece) - 1)}
    cut = rows.cut_between_seeds(table, pieces)
    assert met(cut) == {pair: count for pair, count in met(table).items() if pair in held or pair[0] == " "}
    assert characters(cut) == characters(table)


def test_unigram_learns_the_same_from_cut_segments_but_for_the_last_bit_of_some_scores(table, options, monkeypatch):
    chosen = options(model_type="unigram", vocab_size=1500)
    made = [saving.vocabulary(trained(table, chosen, 1500))]
    monkeypatch.setattr(train, "_may_be_cut", lambda _: False)
    made.append(saving.vocabulary(trained(table, chosen, 1500)))
    cut, whole = (dict(line.split("\t") for line in text.splitlines()) for text in made)
    assert cut.keys() == whole.keys()
    assert all(abs(float(cut[piece]) - float(whole[piece])) <= 1 / 64 for piece in whole)


def test_no_guess_where_segments_are_too_few(table):
    assert rows.least_count(table, 10 * len(table), 16) == 0

import re

import pytest

from aura.errors import UserError
from aura.tokenizer import artifact, train
from aura.tokenizer.counts import WordCounts, count_words


@pytest.fixture(scope="module")
def counts(documents: list[str]) -> WordCounts:
    return count_words(documents[:12])


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_too_large_a_vocabulary_names_the_largest_and_that_trains(counts, options, model_type):
    with pytest.raises(UserError, match="largest possible") as caught:
        train.train_model(counts, options(model_type=model_type, vocab_size=50_000))
    assert "--vocab_size" in str(caught.value)
    largest = int(re.search(r"to at most (\d+)", str(caught.value))[1])
    model = train.train_model(counts, options(model_type=model_type, vocab_size=largest))
    assert len(train.vocabulary(model).splitlines()) == largest
    with pytest.raises(UserError, match=f"at most {largest}"):
        train.train_model(counts, options(model_type=model_type, vocab_size=largest + 1))


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_too_small_a_vocabulary_names_the_smallest_and_that_trains(counts, options, model_type):
    chosen = {"model_type": model_type, "reserved_tokens": 500}
    with pytest.raises(UserError, match="at least") as caught:
        train.train_model(counts, options(**chosen, vocab_size=700))
    smallest = int(re.search(r"to at least (\d+)", str(caught.value))[1])
    assert train.train_model(counts, options(**chosen, vocab_size=smallest))
    with pytest.raises(UserError, match=f"at least {smallest}"):
        train.train_model(counts, options(**chosen, vocab_size=smallest - 1))


def test_no_words_at_all_is_one_message(options):
    with pytest.raises(UserError, match="no words"):
        train.train_model(count_words(["\n\n", ""]), options())


def test_vocabulary_has_one_line_per_piece(tokenizer):
    written = train.vocabulary(tokenizer.proc.serialized_model_proto())
    lines = written.split("\n")
    assert len(lines) == tokenizer.vocab_size + 1
    assert lines[30].startswith("\\n\t")
    assert lines[31].startswith("\\t\t")


def test_sentencepiece_prints_nothing(counts, options, capfd):
    train.train_model(counts, options(vocab_size=500))
    assert capfd.readouterr() == ("", "")


def test_a_notice_about_a_special_user_symbol_is_shown(counts, options, capsys):
    artifact.build(counts, "", options(vocab_size=500, user_symbols=["<INST>"]))
    assert "<INST> is a special token already" in capsys.readouterr().err


def test_a_wrong_option_names_it(options):
    with pytest.raises(UserError, match=r"vocab_size: expected greater than or equal to 300; came 3"):
        options(vocab_size=3)
    with pytest.raises(UserError, match="model_type"):
        options(model_type="wordpiece")

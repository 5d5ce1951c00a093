import re
from collections.abc import Callable

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.core.errors import UserError
from aura.tokenizer import saving
from aura.train_tokenizer import artifact, train
from aura.train_tokenizer.corpus_counts import count_texts
from aura.train_tokenizer.counts import Counts
from aura.train_tokenizer.options import TrainTokenizer


@pytest.fixture(scope="module")
def counts(documents: list[str], options: Callable[..., TrainTokenizer]) -> Counts:
    return count_texts(documents[:12], train.splitting_of(options()))


def trained(counts: Counts, chosen: TrainTokenizer) -> bytes:
    assert isinstance(chosen.vocab_size, int)
    return train.train_model(counts.table, chosen, chosen.vocab_size)


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_too_large_a_vocabulary_names_the_largest_and_that_trains(counts, options, model_type):
    with pytest.raises(UserError, match="largest possible") as caught:
        trained(counts, options(model_type=model_type, vocab_size=50_000))
    assert "Set vocab_size" in str(caught.value)
    largest = int(re.search(r"to at most (\d+)", str(caught.value))[1])
    model = trained(counts, options(model_type=model_type, vocab_size=largest))
    assert len(saving.vocabulary(model).splitlines()) == largest
    with pytest.raises(UserError, match=f"at most {largest}"):
        trained(counts, options(model_type=model_type, vocab_size=largest + 1))


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_too_small_a_vocabulary_names_the_smallest_and_that_trains(counts, options, model_type):
    chosen = {"model_type": model_type, "reserved_tokens": 500}
    with pytest.raises(UserError, match="at least") as caught:
        trained(counts, options(**chosen, vocab_size=700))
    smallest = int(re.search(r"to at least (\d+)", str(caught.value))[1])
    assert trained(counts, options(**chosen, vocab_size=smallest))
    with pytest.raises(UserError, match=f"at least {smallest}"):
        trained(counts, options(**chosen, vocab_size=smallest - 1))


def test_no_words_at_all_is_one_message(options):
    with pytest.raises(UserError, match="no words"):
        artifact.build_from_texts(["\n\n", ""], options())


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
@pytest.mark.parametrize("coverage", [1.0, 0.98])
@pytest.mark.parametrize(
    "corpus",
    [
        "我们在这里学习语言模型的分词器。" * 3
        + "中文没有空格,标点是全角的。日本語のテキスト、カタカナとひらがな。" * 4,
        "עברית ושָׁלוֹם, العربية مُشَكَّلَة. מה שלומך היום אני בסדר גמור" * 4,
        "a few common words, and QXZJVK " * 20,
    ],
)
def test_each_character_of_a_piece_has_one_of_its_own(options, corpus, coverage, model_type):
    chosen = options(vocab_size="auto", character_coverage=coverage, model_type=model_type)
    lines = artifact.build_from_texts([corpus], chosen).vocabulary.splitlines()
    learnt = {line.split("\t")[0] for line in lines if not line.startswith(("<", "\\"))}
    assert {character for piece in learnt for character in piece} <= learnt


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_pieces_of_one_character_alone(options, model_type):
    made = artifact.build_from_texts(
        ["some words " * 9], options(vocab_size="auto", max_piece_chars=1, model_type=model_type)
    )
    learnt = [line.split("\t")[0] for line in made.vocabulary.splitlines()]
    assert {piece for piece in learnt if not piece.startswith(("<", "\\"))} == {*"somewrd\u2581"}


@settings(max_examples=25, deadline=None, database=None)
@given(
    st.lists(st.text(alphabet="abc  é中1_", max_size=60), min_size=1, max_size=4),
    st.booleans(),
    st.sampled_from([0.98, 1.0]),
)
def test_bpe_learns_the_same_where_sentencepiece_looks_for_spaces_again(options, texts, pieces, coverage):
    chosen = options(model_type="bpe", whitespace_pieces=pieces, character_coverage=coverage)
    table = count_texts([*texts, "words " * 3], train.splitting_of(chosen)).table
    made = [_train_bpe(table, chosen)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(train, "_has_mixed_spaces", lambda _: True)
        made.append(_train_bpe(table, chosen))
    assert made[0] == made[1]


def _train_bpe(table: pa.Table, chosen: TrainTokenizer) -> bytes:
    """The largest tokenizer of so little text."""
    try:
        return train.train_model(table, chosen, 320)
    except train.VocabularyTooLarge as error:
        return train.train_model(table, chosen, error.largest)


@pytest.mark.parametrize("coverage", [0.9799, 1.01, float("nan")])
def test_a_coverage_that_sentencepiece_does_not_take_is_refused_at_once(options, coverage):
    with pytest.raises(UserError, match="character_coverage: expected"):
        options(character_coverage=coverage)


def test_vocabulary_has_one_line_per_piece(tokenizer):
    written = saving.vocabulary(tokenizer.proc.serialized_model_proto())
    lines = written.split("\n")
    assert len(lines) == tokenizer.vocab_size + 1
    assert lines[30].startswith("\\n\t")
    assert lines[31].startswith("\\t\t")


def test_sentencepiece_prints_nothing(counts, options, capfd):
    trained(counts, options(vocab_size=500))
    assert capfd.readouterr() == ("", "")


def test_a_notice_about_a_special_user_symbol_is_shown(counts, options, capsys):
    artifact.build(counts, "", options(vocab_size=500, user_symbols=["<INST>"]))
    assert "<INST> is a special token already" in capsys.readouterr().err


def test_a_wrong_option_names_it(options):
    with pytest.raises(UserError, match=r"vocab_size: expected 264 to 1000000 or one of tiny, .*, auto; got 3 \(int\)"):
        options(vocab_size=3)
    with pytest.raises(UserError, match="model_type"):
        options(model_type="wordpiece")

import io
import unicodedata
from collections import Counter

import pytest
import sentencepiece
from hypothesis import example, given
from hypothesis import strategies as st

from aura.train_tokenizer import train
from aura.train_tokenizer.corpus_counts import count_texts
from aura.train_tokenizer.counts import MAX_WORD_CHARS, Counts, count_words
from aura.train_tokenizer.segments import Splitting, segments

ALL = Splitting(split_digits=True, split_by_script=True, split_by_number=True, user_symbols=())
# One character of each script that is told apart, and of some that are not.
REFERENCES = "!a\u0436\u4e2d"
LEARNT = {"input_format": "tsv", "model_type": "bpe", "character_coverage": 1.0, "split_digits": True}


def cut(texts: list[str], splitting: Splitting = ALL) -> dict[str, int]:
    found = segments(count_words(texts).table, splitting)
    return dict(zip(found["text"].to_pylist(), found["count"].to_pylist(), strict=True))


def test_words_are_cut_where_no_piece_can_lie_across():
    assert cut([" foo_bar(12)\n foo été→Жук中文、かな"]) == {
        " foo": 2, "_": 1, "bar": 1, "(": 1, "1": 1, "2": 1, ")": 1, " été": 1, "→": 1, "Жук": 1, "中文": 1, "、": 1,
        "かな": 1,
    }  # fmt: skip


def test_what_a_flag_allows_is_not_cut():
    together = Splitting(split_digits=False, split_by_script=True, split_by_number=False, user_symbols=())
    assert cut(["v12,x"], together) == {"v12,": 1, "x": 1}
    free = Splitting(split_digits=False, split_by_script=False, split_by_number=False, user_symbols=())
    assert cut(["v12,x"], free) == {"v12,x": 1}


def test_user_symbols_are_taken_out_longest_first():
    splitting = Splitting(split_digits=True, split_by_script=True, split_by_number=True, user_symbols=("<A>", "<A><B>"))
    assert cut(["x<A><B>y<A>z ((<A>"], splitting) == {"x": 1, "y": 1, "z": 1, " ((": 1}


LONG = "a1_" * MAX_WORD_CHARS


@example([f" {LONG} b1 x{LONG}", "a" * (MAX_WORD_CHARS - 1) + "1b_", "\u4e2d" * MAX_WORD_CHARS + "1a_"], ALL)
@given(
    st.lists(st.text("aZ19_(~ \t\n\0\x1f\x7f\u2581\u2585\u2580\u4e2d\u0436\u0301\u0664", max_size=20), max_size=4),
    st.builds(Splitting, st.booleans(), st.booleans(), st.booleans(), st.sampled_from([(), ("_1",), ("\t",)])),
)
def test_cuts_before_words_are_counted_are_those_after_it(texts: list[str], splitting: Splitting):
    words = count_words(texts)
    after, before = Counts(segments(words.table, splitting), words.account), count_texts(texts, splitting)
    rows = [sorted(found.table.to_pylist(), key=lambda row: row["text"]) for found in (after, before)]
    assert rows[0] == rows[1]
    assert after.account == before.account


def test_counts_are_those_of_the_characters():
    texts = ["a b_c d1 " * 3, "", "中a b_c"]
    characters = Counter("".join(texts))
    found: Counter[str] = Counter()
    for text, count in cut(texts).items():
        for character in text:
            found[character] += count
    assert found == characters


@pytest.mark.parametrize("split_by_number", [True, False])
def test_sentencepiece_would_join_no_two_characters_that_are_cut(split_by_number: bool):
    """Asks it for every character of the lower planes' scripts and signs, beside each of `REFERENCES`."""
    splitting = Splitting(split_digits=True, split_by_script=True, split_by_number=split_by_number, user_symbols=())
    characters = [chr(code) for code in (*range(0x21, 0x3400), *range(0xAC00, 0xAC20), *range(0xFF01, 0xFFF0))]
    characters = [one for one in characters if unicodedata.category(one) not in ("Cn", "Cs", "Co") and one != "\u2585"]
    pairs = [one + other for one in characters for other in REFERENCES if "\u2581" not in one + other]
    # What is left whole of all pairs is not cut.
    whole = set(segments(count_words(pairs).table, splitting)["text"].to_pylist())
    asked = [pair for pair in pairs if pair not in whole]
    written = io.BytesIO()
    rows = [f"{pair}\t9" for pair in asked] + ["zz\t9"]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(rows),
        model_writer=written,
        vocab_size=500_000,
        split_by_number=split_by_number,
        **(train.FIXED | LEARNT),
    )
    model = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    pieces = {model.IdToPiece(place) for place in range(model.GetPieceSize())}
    assert "zz" in pieces, "it learns what it may"
    joined = [pair for pair in asked if pair in pieces]
    assert not joined
    assert len(asked) > 9_000

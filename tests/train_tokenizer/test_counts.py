import re
from collections import Counter

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.corpus.set_hash import corpus_hash
from aura.train_tokenizer import artifact
from aura.train_tokenizer.counts import MAX_WORD_CHARS, SCHEMA, Counts, count_words, in_order, texts_hash

WORD = re.compile(" *[^ \n\t\0\x1f\u2581\u2585]+| +")


def by_hand(texts: list[str]) -> dict[str, int]:
    return dict(Counter(word for text in texts for word in WORD.findall(text)))


def as_dict(counts: Counts) -> dict[str, int]:
    found = dict(zip(counts.table["text"].to_pylist(), counts.table["count"].to_pylist(), strict=True))
    assert len(found) == len(counts.table), "each word has one row"
    return found


def words(texts: list[str]) -> dict[str, int]:
    return as_dict(count_words(texts))


def test_a_word_takes_the_spaces_before_it():
    assert words(["def f():\n    a  b \n\tc"]) == {
        "def": 1, " f():": 1, "    a": 1, "  b": 1, " ": 1, "c": 1
    }  # fmt: skip


def test_only_the_space_bounds_words():
    assert words(["a\u00a0b\u3000c\r\x0bd"]) == {"a\u00a0b\u3000c\r\x0bd": 1}


def test_what_training_leaves_out_is_counted():
    counts = count_words(["a\0b\u2581c", "\u2585\u2585\x1f"])
    assert counts.account.left_out == {"U+0000": 1, "U+001F": 1, "U+2581": 1, "U+2585": 2}
    assert as_dict(counts) == {"a": 1, "b": 1, "c": 1}


def test_a_very_long_word_is_cut_not_dropped():
    counts = count_words(["x" * (2 * MAX_WORD_CHARS + 7)] * 3)
    assert as_dict(counts) == {"x" * MAX_WORD_CHARS: 6, "x" * 7: 3}
    assert counts.account.cut_words == 3


def test_no_word_is_too_long_to_learn_from(options):
    text = ("жщ" * 2000 + " ") * 5  # 8,000 bytes a word; SentencePiece's default drops rows above 4,192
    vocabulary = artifact.build_from_texts([text], options(vocab_size=306, reserved_tokens=30)).vocabulary
    assert "\nж\t" in vocabulary


@settings(max_examples=300, deadline=None, database=None)
@given(st.lists(st.text(alphabet=" \n\tab\u2581\0é", max_size=30)))
def test_no_other_character_is_lost(texts):
    counts = count_words(texts)
    kept = sum(len(word) * count for word, count in as_dict(counts).items())
    bounds = sum(text.count(symbol) for text in texts for symbol in "\n\t")
    assert kept + bounds + sum(counts.account.left_out.values()) == sum(map(len, texts))
    assert counts.account.bytes == sum(len(text.encode()) for text in texts)
    assert as_dict(counts) == by_hand(texts)
    assert as_dict(count_words(texts[::-1])) == as_dict(counts)


def test_texts_hash_is_the_corpus_hash(tmp_path, documents, write_corpus):
    write_corpus(tmp_path / "train", documents[:9])
    assert texts_hash(documents[8::-1]) == corpus_hash(tmp_path / "train")


@settings(max_examples=50, deadline=None, database=None)
@given(st.lists(st.text(alphabet="ab \x01é中🙂", min_size=1, max_size=20), unique=True))
def test_rows_in_order_are_those_that_arrow_sorts(texts):
    table = pa.table([pa.array(texts, pa.large_string()), pa.array(range(len(texts)), pa.int64())], schema=SCHEMA)
    assert in_order(table).equals(table.sort_by("text").combine_chunks())

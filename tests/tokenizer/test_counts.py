from hypothesis import given, settings
from hypothesis import strategies as st

from aura.ingestion import corpus
from aura.tokenizer import train
from aura.tokenizer.counts import MAX_WORD_CHARS, count_words, texts_hash


def test_a_word_takes_the_spaces_before_it():
    assert count_words(["def f():\n    a  b \n\tc"]).words == {
        "def": 1, " f():": 1, "    a": 1, "  b": 1, " ": 1, "c": 1
    }  # fmt: skip


def test_only_the_space_bounds_words():
    assert count_words(["a\u00a0b\u3000c\r\x0bd"]).words == {"a\u00a0b\u3000c\r\x0bd": 1}


def test_what_training_leaves_out_is_counted():
    counts = count_words(["a\0b\u2581c", "\u2585\u2585\x1f"])
    assert counts.left_out == {"U+0000": 1, "U+001F": 1, "U+2581": 1, "U+2585": 2}
    assert counts.words == {"a": 1, "b": 1, "c": 1}


def test_a_very_long_word_is_cut_not_dropped():
    counts = count_words(["x" * (2 * MAX_WORD_CHARS + 7)] * 3)
    assert counts.words == {"x" * MAX_WORD_CHARS: 6, "x" * 7: 3}
    assert counts.cut_words == 3


def test_no_word_is_too_long_to_learn_from(options):
    text = ("жщ" * 2000 + " ") * 5  # 8,000 bytes a word; SentencePiece's default drops rows above 4,192
    vocabulary = train.vocabulary(train.train_model(count_words([text]), options(vocab_size=306, reserved_tokens=30)))
    assert "\nж\t" in vocabulary


@settings(max_examples=300, deadline=None, database=None)
@given(st.lists(st.text(alphabet=" \n\tab\u2581\0é", max_size=30)))
def test_no_other_character_is_lost(texts):
    counts = count_words(texts)
    kept = sum(len(word) * count for word, count in counts.words.items())
    bounds = sum(text.count(symbol) for text in texts for symbol in "\n\t")
    assert kept + bounds + sum(counts.left_out.values()) == sum(map(len, texts))
    assert counts.bytes == sum(len(text.encode()) for text in texts)
    assert count_words(texts[::-1]) == counts


def test_texts_hash_is_the_corpus_hash(tmp_path, documents, write_corpus):
    write_corpus(tmp_path / "train", documents[:9])
    assert texts_hash(documents[8::-1]) == corpus.corpus_hash(tmp_path / "train")

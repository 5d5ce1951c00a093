import math

import numpy as np
import pytest

from aura.tokenizer import measures
from aura.tokenizer.model_file import Kind
from aura.tokenizer.tokenizer import Tokenizer


class LossyTokenizer(Tokenizer):
    """Decodes "q" to "k": a tokenizer that is broken on purpose."""

    def decode(self, ids):
        return super().decode(ids).replace("q", "k")


def test_measures_of_a_text_counted_by_hand(tokenizer):
    text = "the é\n中"  # 3 words, 7 characters, 10 bytes
    ids = tokenizer.encode(text)
    found = measures.measure(tokenizer, [([text], ["a"])]).overall
    assert (found.documents, found.characters, found.bytes, found.words.total()) == (1, 7, 10, 3)
    assert found.tokens == len(ids)
    assert found.bytes_per_token == 10 / len(ids)
    assert found.fertility == len(ids) / 3
    assert found.byte_fallback_share == sum(tokenizer.kinds[token] is Kind.BYTE for token in ids) / len(ids)


def test_continued_words_are_those_of_several_tokens(tokenizer):
    found = measures.measure(tokenizer, [(["the the zzqqxxvv"], ["a"])]).overall
    assert found.continued_word_share == pytest.approx(1 / 3)


def test_sources_add_up_to_the_whole(tokenizer, documents):
    texts = documents[:30]
    names = ["a", "b", "c"] * 10
    whole = measures.measure(tokenizer, [(texts, names)])
    parts = measures.measure(tokenizer, [(texts[:7], names[:7]), (texts[7:], names[7:])], threads=2)
    assert list(whole.sources) == ["a", "b", "c"]
    assert whole.overall.bytes == sum(len(text.encode()) for text in texts)
    for name in whole.sources:
        left, right = vars(whole.sources[name]), vars(parts.sources[name])
        assert all(np.array_equal(left[key], right[key]) for key in left)


def test_unused_pieces_are_learnt_ones_only(tokenizer):
    learnt = [token for token, kind in enumerate(tokenizer.kinds) if kind is Kind.LEARNT]
    counts = np.zeros(tokenizer.vocab_size, np.int64)
    assert measures.unused_share(tokenizer, counts) == 1
    counts[learnt[: len(learnt) // 2]] = 1
    assert measures.unused_share(tokenizer, counts) == pytest.approx(0.5, abs=0.01)
    counts[learnt] = 1
    assert measures.unused_share(tokenizer, counts) == 0


def test_renyi_efficiency_is_one_when_all_ids_are_equally_frequent():
    assert measures.renyi_efficiency(np.full(64, 3)) == pytest.approx(1)
    assert measures.renyi_efficiency(np.array([5, 0, 0, 0])) == 0
    half = math.log(2 * 0.5**2.5) / -1.5 / math.log(4)
    assert measures.renyi_efficiency(np.array([7, 7, 0, 0])) == pytest.approx(half)


def test_a_broken_round_trip_is_found_and_its_example_is_smallest(tmp_path, tokenizer):
    path = tmp_path / "spiece.model"
    path.write_bytes(tokenizer.proc.serialized_model_proto())
    texts = ["a long text with a quiet place in it", "quick and unique", "nothing here"]
    found = measures.measure(LossyTokenizer(path), [(texts, ["a", "a", "b"])])
    assert found.overall.round_trip_failures == 2
    assert found.sources["b"].round_trip_failures == 0
    assert found.failing_example == "q"


def test_smallest_failing_keeps_what_fails_together():
    assert measures.smallest_failing("aa(bbb)cc", lambda text: "(" in text and ")" in text) == "()"

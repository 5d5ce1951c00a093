import math

import numpy as np
import pytest
import tokenization_scorer

from aura.tokenizer.model_file import Kind
from aura.tokenizer.scripts import dominant_script
from aura.tokenizer.tokenizer import Tokenizer
from aura.validate import measures
from aura.validate.held_out import Counted
from aura.validate.measures import Lengths, Tally


class LossyTokenizer(Tokenizer):
    """Decodes "q" to "k": a tokenizer that is broken on purpose."""

    def decode(self, ids):
        return super().decode(ids).replace("q", "k")


def counted(tokenizer, texts, sources=None):
    found = Counted()
    hashes = [text.encode()[:16] for text in texts]
    found.count(tokenizer, texts, sources or ["a"] * len(texts), [f"{n}" for n in range(len(texts))], hashes)
    return found


def measured(tokenizer, texts):
    total = Tally.total(counted(tokenizer, texts).tallies.values(), tokenizer.vocab_size)
    return measures.measure(tokenizer, total, Lengths(tokenizer, total))


def test_measures_of_a_text_counted_by_hand(tokenizer):
    text = "the é\n中"  # 3 words, 7 characters, 10 bytes
    ids = tokenizer.encode(text)
    found = measured(tokenizer, [text])
    assert (found.documents, found.bytes, found.tokens) == (1, 10, len(ids))
    assert found.bytes_per_token == 10 / len(ids)
    assert found.characters_per_token == 7 / len(ids)
    assert found.fertility == len(ids) / 3
    assert found.byte_fallback_share == sum(tokenizer.kinds[token] is Kind.BYTE for token in ids) / len(ids)


def test_continued_words_count_occurrences_and_retention_distinct_words(tokenizer):
    found = measured(tokenizer, ["the the zzqqxxvv"])
    assert found.continued_word_share == pytest.approx(1 / 3)
    assert found.single_token_retention_rate == pytest.approx(1 / 2)


def test_strings_of_a_kind_are_found_and_measured_alone(tokenizer):
    found = measured(tokenizer, ["see https://a.org/x and snake_case at 3,141.59\n\n    end"])
    for name, string in {
        "url": "https://a.org/x",
        "identifier": "snake_case",
        "number": "3,141.59",
        "whitespace": "\n\n    ",
    }.items():
        assert getattr(found, f"{name}_bytes_per_token") == len(string) / len(tokenizer.encode(f" {string}"))


@pytest.mark.parametrize("model_type", ["unigram", "bpe", "half"])
def test_measures_agree_with_a_reference(tokenizers, build, documents, model_type):
    tokenizer = build(vocab_size=700) if model_type == "half" else tokenizers[model_type]
    texts = documents[:40]
    encoded = [tokenizer.encode(text) for text in texts]
    tokens = sum(len(ids) for ids in encoded)
    found = measured(tokenizer, texts)
    assert found.bytes_per_token == sum(len(text.encode()) for text in texts) / tokens
    assert found.fertility == tokens / sum(len(text.split()) for text in texts)
    lines = [" ".join(map(str, ids)) for ids in encoded]
    reference = tokenization_scorer.score(lines, metric="renyi", power=2.5, vocab=tokenizer.vocab_size)
    assert found.renyi_efficiency == pytest.approx(reference, rel=1e-9)


def test_groups_add_up_to_the_whole_however_they_are_batched(tokenizer, documents):
    texts, names = documents[:30], ["a", "b", "c"] * 10
    whole, parts = counted(tokenizer, texts, names), counted(tokenizer, texts[:7], names[:7])
    parts.add(counted(tokenizer, texts[7:], names[7:]))
    assert whole.tallies.keys() == parts.tallies.keys()
    assert sum(tally.bytes for tally in whole.tallies.values()) == sum(len(text.encode()) for text in texts)
    for group, tally in whole.tallies.items():
        left, right = vars(tally), vars(parts.tallies[group])
        assert all(np.array_equal(left[key], right[key]) for key in left)


def test_unseen_pieces_are_learnt_ones_only(tokenizer):
    learnt = [token for token, kind in enumerate(tokenizer.kinds) if kind is Kind.LEARNT]
    tally = Tally(np.zeros(tokenizer.vocab_size, np.int64))
    assert measures.measure(tokenizer, tally, {}).unseen_share == 1
    tally.id_counts[learnt[: len(learnt) // 2]] = 1
    assert measures.measure(tokenizer, tally, {}).unseen_share == pytest.approx(0.5, abs=0.01)
    tally.id_counts[learnt] = 1
    assert measures.measure(tokenizer, tally, {}).unseen_share == 0


def test_a_piece_that_its_text_does_not_encode_to_is_unreachable(tokenizer):
    reached = tokenizer.encode(" the")[0]
    assert measures.unreachable(tokenizer, {reached: tokenizer.decode([reached]), 999_999: "zzqqxxvv"}) == [999_999]


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("English", "Latin"),
        ("по-русски, OK", "Cyrillic"),
        ("हिन्दी में", "Devanagari"),
        ("日本語のテキスト", "Japanese"),
        ("中文字符", "Han"),
        ("한국어", "Hangul"),
        ("12 + 3", "none"),
    ],
)
def test_the_script_of_most_letters(text, script):
    assert dominant_script(text) == script


def test_renyi_efficiency_is_one_when_all_ids_are_equally_frequent():
    assert measures.renyi_efficiency(np.full(64, 3)) == pytest.approx(1)
    assert measures.renyi_efficiency(np.array([5, 0, 0, 0])) == 0
    half = math.log(2 * 0.5**2.5) / -1.5 / math.log(4)
    assert measures.renyi_efficiency(np.array([7, 7, 0, 0])) == pytest.approx(half)


def test_a_broken_round_trip_is_counted_and_the_shortest_document_kept(tmp_path, tokenizer):
    path = tmp_path / "spiece.model"
    path.write_bytes(tokenizer.proc.serialized_model_proto())
    texts = ["a long text with a quiet place in it", "quick and unique", "nothing here"]
    found = counted(LossyTokenizer(path), texts, ["a", "a", "b"])
    assert {group[0]: tally.round_trip_failures for group, tally in found.tallies.items()} == {"a": 2, "b": 0}
    assert found.failing == "quick and unique"
    assert measures.smallest_failing(found.failing, lambda text: "q" in text) == "q"


def test_smallest_failing_keeps_what_fails_together():
    assert measures.smallest_failing("aa(bbb)cc", lambda text: "(" in text and ")" in text) == "()"

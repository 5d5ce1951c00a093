import pytest

from aura.tokenizer import train
from aura.tokenizer.corpus_counts import count_texts
from aura.tokenizer.curve import curve


def test_more_pieces_say_more_per_token_and_nesting_is_as_good_as_training_alone(documents, options):
    counts = count_texts(documents[::2], train.splitting_of(options()))
    held_out = documents[1::2]
    found = dict(curve(counts, options(), held_out, sizes=(1000, 500, 2000, 90_000)))
    assert list(found) == [2000, 1000, 500], "a size the corpus is too small for is left out"
    assert sorted(found.values(), reverse=True) == list(found.values())
    assert dict(curve(counts, options(), held_out, sizes=(1000,)))[1000] == pytest.approx(found[1000], rel=0.05)

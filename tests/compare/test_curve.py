import shutil

import pytest

from aura.cli.vocabulary import vocabulary_curve
from aura.compare.curve import curve
from aura.core.errors import UserError
from aura.train_tokenizer import train
from aura.train_tokenizer.corpus_counts import count_texts
from tests.conftest import REPOSITORY


def test_more_pieces_say_more_per_token_and_nesting_is_as_good_as_training_alone(documents, options):
    counts = count_texts(documents[::2], train.splitting_of(options()))
    held_out = documents[1::2]
    found = dict(curve(counts, options(), held_out, sizes=(1000, 500, 2000, 90_000)))
    assert list(found) == [2000, 1000, 500], "a size the corpus is too small for is left out"
    assert sorted(found.values(), reverse=True) == list(found.values())
    assert dict(curve(counts, options(), held_out, sizes=(1000,)))[1000] == pytest.approx(found[1000], rel=0.05)


def test_the_command_refuses_a_corpus_too_small_for_any_size(made, monkeypatch, tmp_path):
    (tmp_path / "data").mkdir()
    made.copy(tmp_path / "mini").corpus.rename(tmp_path / "data/corpus")
    shutil.copy(REPOSITORY / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="expected text for 4,000 pieces"):
        vocabulary_curve(tmp_path / "curve.csv", 1000)
    assert not (tmp_path / "curve.csv").exists()

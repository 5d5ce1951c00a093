import numpy as np
import pyarrow as pa
import pytest

from aura.errors import UserError
from aura.ingestion.affect import affect_vectors, read_lexicon
from aura.ingestion.corpus import EMOTIONS
from aura.ingestion.txt_loader import BUILT_IN_LEXICON


def vectors(*texts: str, lexicon=BUILT_IN_LEXICON) -> np.ndarray:
    found = affect_vectors(pa.array(texts, pa.large_string()), read_lexicon(lexicon))
    return found.flatten().to_numpy().reshape(-1, len(EMOTIONS))


def test_whole_words_count_and_substrings_do_not():
    made, mad = vectors("they made madras", "they are mad")
    assert made.sum() == 0
    assert mad[EMOTIONS.index("anger")] == 1


def test_a_vector_sums_to_one_or_is_all_zero():
    found = vectors("happy and sad", "table", "", "glad HAPPY angry promise")
    np.testing.assert_allclose(found.sum(axis=1), [1, 0, 0, 1], rtol=1e-6)


def test_a_text_does_not_lend_its_words_to_the_next():
    alone, beside = vectors("happy")[0], vectors("sad", "happy", "")[1]
    np.testing.assert_array_equal(alone, beside)


def test_words_are_runs_of_unicode_letters(tmp_path):
    lexicon = tmp_path / "lexicon.tsv"
    lexicon.write_text("# mine\nfröhlich\tjoy\nгрусть\tsadness\n", encoding="utf-8")
    found = vectors("FRÖHLICH!", "unfröhlich", "1грусть2", lexicon=lexicon)
    assert found[:, :2].tolist() == [[1, 0], [0, 0], [0, 1]]


@pytest.mark.parametrize("line", ["happy joy", "happy\tjoyy", "\tjoy"])
def test_a_wrong_line_of_a_lexicon_is_named(tmp_path, line):
    lexicon = tmp_path / "lexicon.tsv"
    lexicon.write_text(f"glad\tjoy\n{line}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"lexicon\.tsv, line 2: expected a word, a tab and emotions"):
        read_lexicon(lexicon)

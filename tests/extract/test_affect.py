import json
import unicodedata

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.core.errors import UserError
from aura.corpus.corpus import EMOTIONS
from aura.one_shot.loaders import BUILT_IN_LEXICON
from aura.sources.documents.affect import Lexicon, affect_vectors, read_lexicon
from tests.conftest import REPOSITORY
from tests.extract.program import Program


def vectors(*texts: str, lexicon=BUILT_IN_LEXICON) -> np.ndarray:
    found = affect_vectors([text.encode() for text in texts], read_lexicon(lexicon))
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


@pytest.mark.parametrize("words", [["mad", "i", "k", "kindness", "kindnesses"], ["mad", "k", "dä", "日"]])
@settings(max_examples=200, deadline=None)
@given(
    texts=st.lists(
        st.lists(st.sampled_from(["mad", "Kindness", "es", *"iIkKdä\u0130\u0131\u212a\u0307日“ -\n1"])).map("".join)
    )
)
def test_words_are_those_that_one_expression_over_the_lowered_text_finds(words, texts):
    """Whatever mixture of ASCII and other characters they stand in, and whatever the lexicon holds."""
    lexicon = Lexicon(sorted(words), np.eye(len(EMOTIONS))[: len(words)])
    found = affect_vectors([text.encode() for text in texts], lexicon).flatten().to_numpy()
    lowered = pc.utf8_lower(pa.array(texts, pa.large_string()))
    split = pc.split_pattern_regex(lowered, pattern=r"[^\pL]+").to_pylist()
    counts = np.zeros((len(texts), len(EMOTIONS)))
    for row, inside in zip(counts, split, strict=True):
        row[: len(words)] = [inside.count(word) for word in lexicon.words]
    expected = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    np.testing.assert_array_equal(found.reshape(counts.shape), expected.astype(np.float32))


@pytest.mark.parametrize("line", ["happy joy", "happy\tjoyy", "\tjoy"])
def test_a_wrong_line_of_a_lexicon_is_named(tmp_path, line):
    lexicon = tmp_path / "lexicon.tsv"
    lexicon.write_text(f"glad\tjoy\n{line}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"lexicon\.tsv, line 2: expected a word, a tab and emotions"):
        read_lexicon(lexicon)


def test_a_letter_of_any_script_belongs_to_a_word_and_nothing_else_does(tmp_path):
    """A word is a maximal run of Unicode letters, lower-cased: held against Python's own tables of characters."""
    lexicon = tmp_path / "lexicon.tsv"
    lexicon.write_text("mad\tanger\n", encoding="utf-8")
    beside = [chr(code) for code in range(0x20, 0x2FFFF, 7) if not 0xD800 <= code < 0xE000]
    stable = [char for char in beside if unicodedata.category(char) != "Cn"]  # libraries know different versions
    found = vectors(*(f"{char}mad" for char in stable), lexicon=lexicon).sum(axis=1)
    letter = np.array([char.isalpha() for char in stable])
    disagree = [
        hex(ord(char)) for char, sum_, is_letter in zip(stable, found, letter, strict=True) if sum_ == is_letter
    ]
    assert disagree == []


def test_the_nrc_lexicon_is_an_extra_and_says_its_licence(tmp_path):
    """A package of the same layout, with words of our own; the real one is in no lock."""
    program = Program(tmp_path / "program", {"kind": "txt"}, lexicon="aura/ingestion/nrc.pin.json")
    pin = program.folder / "aura/ingestion/nrc.pin.json"
    pin.write_text((REPOSITORY / "aura/ingestion/nrc.pin.json").read_text())
    (program.data / "a.txt").write_text("the gloomy word and a Sunny one, and plainness")
    missing = program.run()
    assert missing.returncode == 1
    assert "needs NRCLex 4.1.0, which is not installed. It is for research only" in missing.stderr
    package = tmp_path / "packages"
    (package / "nrclex/data").mkdir(parents=True)
    words = {"gloomy": ["sadness", "negative"], "sunny": ["joy", "positive"], "plainness": ["positive"]}
    (package / "nrclex/data/nrc_en.json").write_text(json.dumps(words))
    (package / "NRCLex-4.1.0.dist-info").mkdir()
    (package / "NRCLex-4.1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: NRCLex\nVersion: 4.1.0\n")
    done = program.run(PYTHONPATH=f"{REPOSITORY}:{package}")
    assert done.returncode == 0, done.stderr
    assert "which is licensed for research only" in done.stderr
    assert [row["affect"] for row in program.rows()] == [[0.5, 0.5, 0, 0, 0, 0, 0, 0]]

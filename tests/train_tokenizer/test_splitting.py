"""Pieces obey what params.yaml says of the keys that decide where text is split, in every combination of them."""

import functools
import itertools
import random
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.core import unicode
from aura.tokenizer.model_file import Kind, checked_pieces
from aura.train_tokenizer import train
from aura.train_tokenizer.corpus_counts import count_texts
from aura.train_tokenizer.segments import Splitting

FLAGS = ("split_digits", "split_by_script", "split_by_number", "whitespace_pieces")
COMBINATIONS = [dict(zip(FLAGS, values, strict=True)) for values in itertools.product([True, False], repeat=4)]
NAMES = ["-".join(name for name in FLAGS if flags[name]) or "none" for flags in COMBINATIONS]
LETTERS = "aЖ中ก-_☃ـ\u0301\u20e3"  # and what is none
# What tempts a trainer to break each promise: words that are frequent, and mix what may not be mixed.
WORDS = [
    *("iphone17", "17iphone", "x-17", "17-x", "a1Ж", "Ж2a", "a12Ж", "α1β", "1µm", "ª1", "ℂ1", "a☃1", "1☃a", "e\u03011"),
    *("١٢٣٤", "عام٢٠٢٤", "२०२४", "वर्ष२०", "๒๕๖๗", "ปี๒", "ก1a", "১২", "１７", "1２٣", "7️⃣7", "Han漢字1か", "中1Ж", "ა1բ"),
    *("    deep", "        deeper", "a_b", "12,000.50", "v1.2"),
]


@functools.cache
def digits() -> list[str]:
    """Every decimal digit; not looked for while tests are collected, which every process of pytest does."""
    return [chr(code) for code in range(0x110000) if unicode.category(chr(code)) == "Nd"]


def pieces_of(options, flags, model_type):
    generator = random.Random(0)  # noqa: S311 - text, no secret
    texts = [" ".join(generator.choices(WORDS, k=60)) for _ in range(20)]
    chosen = options(model_type=model_type, character_coverage=1.0, reserved_tokens=0, max_piece_chars=7, **flags)
    counted = count_texts(texts, train.splitting_of(chosen)).table
    try:
        model = train.train_model(counted, chosen, 5000)
    except train.VocabularyTooLarge as error:
        model = train.train_model(counted, chosen, error.largest)
    found = checked_pieces(model, "model")
    return [piece.text.replace("\u2581", " ") for piece in found if piece.kind is Kind.LEARNT]


def digits_in(piece):
    return [character for character in piece if unicode.category(character) == "Nd"]


def letters_in(piece):
    return [character for character in piece if unicode.category(character).startswith("L")]


def scripts_in(piece):
    """The scripts of its letters: by name, as Unicode's own property is in no library here."""
    han = {"CJK": "HAN", "HIRAGANA": "HAN", "KATAKANA": "HAN", "FULLWIDTH": "LATIN", "FEMININE": "LATIN"}
    firsts = {unicodedata.name(letter).split()[0] for letter in letters_in(piece)}
    return {han.get(first, first) for first in firsts} - {"MICRO", "DOUBLE-STRUCK"}  # of the script Common


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
@pytest.mark.parametrize("flags", COMBINATIONS, ids=NAMES)
def test_no_piece_breaks_a_promise(options, flags, model_type):
    pieces = pieces_of(options, flags, model_type)
    assert len(pieces) > 50
    assert not [piece for piece in pieces if len(piece) > 7], "max_piece_chars"
    assert {character for piece in pieces for character in piece} <= {*pieces, " "}, "character_coverage"
    runs = [piece for piece in pieces if piece.isspace() and len(piece) > 1]
    assert bool(runs) == flags["whitespace_pieces"]
    if flags["split_digits"]:
        assert not [piece for piece in pieces if len(digits_in(piece)) > 1]
    if flags["split_by_script"]:
        assert not [piece for piece in pieces if len(scripts_in(piece)) > 1]
    if flags["split_by_number"]:
        assert not [piece for piece in pieces if digits_in(piece) and letters_in(piece)]


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_without_a_flag_pieces_do_mix(options, model_type):
    """So that the test above can fail."""
    pieces = pieces_of(options, dict.fromkeys(FLAGS, False), model_type)
    assert [piece for piece in pieces if digits_in(piece) and letters_in(piece)]
    assert [piece for piece in pieces if len(digits_in(piece)) > 1]
    assert [piece for piece in pieces if len(scripts_in(piece)) > 1]


def segments_of(*texts, **flags):
    splitting = Splitting(**(dict.fromkeys(FLAGS[:3], False) | flags), user_symbols=())
    return count_texts(texts, splitting).table["text"].to_pylist()


@pytest.mark.parametrize("flags", COMBINATIONS[::2], ids=NAMES[::2])
def test_every_decimal_digit_of_unicode_stands_alone(flags):
    if flags["split_digits"]:
        splitting = {name: flags[name] for name in FLAGS[:3]}
        words = [f"a{digit}{digit} {digit}" for digit in digits()]
        assert set(segments_of(*words, **splitting)) == {"a", " ", *digits()}


@settings(max_examples=300, deadline=None)
@given(word=st.text(st.deferred(lambda: st.sampled_from([*LETTERS, *digits()[::40]])), min_size=1, max_size=12))
def test_split_by_number_alone_parts_digits_and_letters_and_loses_nothing(word):
    found = segments_of(word, split_by_number=True)
    assert not [part for part in found if digits_in(part) and letters_in(part)]
    assert set("".join(found)) == set(word)
    if not digits_in(word) or not letters_in(word):
        assert found == [word], "nothing else is cut"


def test_what_stands_between_goes_with_the_digit():
    assert set(segments_of("x-17 ", split_by_number=True)) == {"x", "-17", " "}
    assert set(segments_of("17-x", split_by_number=True)) == {"17-", "x"}
    assert set(segments_of("e\u030117", split_by_number=True)) == {"e\u0301", "17"}
    assert set(segments_of("a1Ж2", split_by_script=True)) == {"a1", "Ж2"}
    assert set(segments_of("foo 12 Ж", split_by_number=True)) == {"foo", " 12", " Ж"}, "words do not see each other"

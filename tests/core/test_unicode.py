"""Properties of characters are the same with every Python; where Pythons agree, they are Python's own."""

import hashlib
import re
import unicodedata

import pytest

from aura.core import unicode


@pytest.fixture(scope="module")
def characters() -> list[str]:
    """Every character; not made while tests are collected, which every process of pytest does."""
    return [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]


def digest(values: str) -> str:
    return hashlib.md5(values.encode(), usedforsecurity=False).hexdigest()


def test_categories_and_case_are_those_of_unicode_14(characters: list[str]):
    """If this fails with a newer Python: add what its Unicode assigns to `unicode._NEWER`."""
    assert digest("".join(map(unicode.category, characters))) == "75afb7d92147bf0883dbe6ca3dc314b7"
    assert digest("".join(map(str.lower, characters))) == "8dbd6637c8d2c11b645c585f54d3218f"


def test_classes_of_regular_expressions_are_those_of_unicode_14(characters: list[str]):
    text = "".join(characters)
    assert digest("".join(re.findall(unicode.WORD, text))) == "74cd04f26abe5def84254e34b5e6ee47"
    assert digest("".join(re.findall(unicode.DIGIT, text))) == "4e68f31c86d86cffda2a571190690f74"


def test_a_newer_character_ends_a_word_in_lower_case():
    assert unicode.lower("ΑΣΑ ΑΣ") == "ασα ας"
    assert unicode.lower("ΑΣ\U00011f00Α") == "ας\U00011f00α"


def test_of_other_characters_python_itself_says_the_same():
    for character in "aÅ√9٣ 中\u0301_-\u00a0":
        assert unicode.category(character) == unicodedata.category(character)
        assert unicode.is_letter(character) == character.isalpha()
        assert bool(re.match(unicode.WORD, character)) == bool(re.match(r"\w", character))
    assert [match.start() for match in re.finditer(f"{unicode.WORD_BEGINS}[a-z]", "ab c-d _e éf")] == [
        match.start() for match in re.finditer(r"\b[a-z]", "ab c-d _e éf")
    ]
    assert unicode.first_of_name("é") == "LATIN"
    assert unicode.first_of_name("\n") == ""

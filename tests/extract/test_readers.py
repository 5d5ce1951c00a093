import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.core.errors import UserError
from aura.extract.cleaning import clean, clean_already
from aura.extract.readers import documents
from aura.sources.documents.document import Lost
from aura.sources.listing import list_files
from aura.sources.options import JsonSource, TxtSource


def txt(how: str = "file", path: Path | str = "x") -> TxtSource:
    return TxtSource.model_validate({"kind": "txt", "path": str(path), "documents": how})


def posts(**options: object) -> JsonSource:
    return JsonSource.model_validate({"kind": "json", "path": "x", **options})


def read(source, data: bytes, limit: int = 16_000_000) -> list[bytes | Lost]:
    return list(documents(source, io.BytesIO(data), limit))


@pytest.mark.parametrize(
    ("how", "expected"),
    [("file", [b"a\nb\n\n \nc\n"]), ("blank_line", [b"a\nb", b"c\n"]), ("line", [b"a", b"b", b"c"])],
)
def test_a_file_is_one_document_or_many(how, expected):
    assert read(txt(how), b"a\nb\n\n \nc\n") == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_with_and_without_a_mark_give_the_same_text(encoding):
    assert read(txt(), "grüße ✓".encode(encoding)) == ["grüße ✓".encode()]


def test_text_is_found_in_nested_json_and_all_levels_only_where_asked_for():
    value = [
        {"text": "one", "replies": [{"text": "reply"}]},
        {"items": [{"body": "two"}, {"deep": {"message": "three"}}]},
    ]
    assert read(posts(), json.dumps(value).encode()) == [b"one", b"two", b"three"]
    assert read(posts(nested=True), json.dumps(value).encode()) == [b"one", b"reply", b"two", b"three"]


def test_bare_strings_are_texts_and_strings_beside_other_keys_are_not():
    assert read(posts(), b'["one", "two"]') == [b"one", b"two"]
    assert read(posts(), b'{"title": "x", "urls": ["https://one", "https://two"]}') == [Lost("no text key")]


def test_a_number_that_python_cannot_read_is_malformed():
    assert read(posts(), b'{"text": "a", "n": ' + b"9" * 5000 + b"}") == [Lost("malformed JSON")]


def test_a_dotted_path_names_any_field():
    data = json.dumps({"data": {"attributes": {"note": "here"}}, "text": "not this"}).encode()
    assert read(posts(text_keys=["data.attributes.note"]), data) == [b"here"]


def test_a_malformed_line_loses_that_line_alone():
    data = b'{"text": "one"}\n{"text": \n\n{"text": "three"}\n{"id": 4}\n'
    assert read(posts(), data) == [b"one", Lost("malformed JSON"), b"three", Lost("no text key")]


def test_json_nested_too_deeply_is_lost_with_its_reason():
    assert read(posts(), b"[" * 200_000 + b"]" * 200_000) == [Lost("JSON nested too deeply")]


def test_invalid_utf8_is_dropped_or_replaced_and_never_guessed():
    assert clean(b"ab\xff", "drop", 0) == Lost("invalid UTF-8")
    assert clean(b"ab\xff", "replace", 0) == "ab\ufffd".encode()


def test_a_lone_surrogate_in_json_is_counted_as_invalid():
    [raw] = read(posts(), rb'{"text": "\ud800 and more"}')
    assert isinstance(raw, bytes)
    assert clean(raw, "drop", 0) == Lost("invalid UTF-8")


# White space, controls, evidence of other encodings, and their neighbours in Unicode.
PIECES = ["a", "ä", "文", "😀", "\x85", "\xa0", "\xa1", "\u1680", "\u2003", "\u2028", "\u2029", "\u202f", "\u3000"]
PIECES += [
    "\u2027",
    "\u202a",
    "。",
    "\x9b",
    "\x00",
    "\x0b",
    "\x1b[0m",
    "\x7f",
    " ",
    "\n",
    "\t",
    "\r",
    "~{VPND~}",
    "+AGEAYg-",
    "+",
]
BYTES = st.one_of(st.lists(st.sampled_from(PIECES), max_size=8).map(lambda found: "".join(found).encode()), st.binary())


@settings(max_examples=300)
@given(st.lists(BYTES, max_size=8), st.integers(0, 4))
def test_documents_that_are_found_to_be_clean_are_what_cleaning_makes_of_them(raw, min_chars):
    found = clean_already(raw, min_chars)
    for document, is_clean in zip(raw, found, strict=True):
        assert not is_clean or clean(document, "drop", min_chars) == document


def test_usual_documents_are_found_to_be_clean():
    texts = [
        "Some words of a text",
        "Größe, über",
        "Привет, мир",
        "这是一个句子。",
        "one + two",
        "two\nlines",
        "a quote”",
    ]
    assert all(clean_already([text.encode() for text in texts], 2))


def test_cleaning_removes_control_characters_and_keeps_tabs_and_newlines():
    assert clean("\x00a\x07\tb\nc\x9b \u200d".encode(), "drop", 0) == "a\tb\nc \u200d".encode()


def test_short_and_empty_documents_have_different_reasons():
    assert clean(b" \n", "drop", 0) == Lost("empty")
    assert clean("äöü".encode(), "drop", 4) == Lost("too short")
    assert clean("äöüß".encode(), "drop", 4) == "äöüß".encode()


def test_a_folder_without_such_files_is_worded_for_its_user(tmp_path):
    with pytest.raises(UserError, match=r"No \.txt files found: the folder .*/none does not exist"):
        list_files(txt(path=tmp_path / "none"))
    with pytest.raises(UserError, match=r"No \.txt or \.md files found in .*: it is empty"):
        list_files(txt(path=tmp_path))
    (tmp_path / "a.pdf").touch()
    with pytest.raises(UserError, match=r"it holds only files with \.pdf"):
        list_files(txt(path=tmp_path))


def test_files_are_listed_by_name_whatever_their_depth(tmp_path):
    for name in ("b.txt", "a/z.md", "a.txt", "c.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [file.name for file in list_files(txt(path=tmp_path))] == ["a.txt", "a/z.md", "b.txt"]

import json
import os
from pathlib import Path

import pytest

from aura.core.errors import UserError
from aura.evaluation.items import Choice, Cloze, Document, read


def lines(folder: Path, *records: object) -> Path:
    path = folder / "set.jsonl"
    texts = [record if isinstance(record, str) else json.dumps(record) for record in records]
    path.write_text("\n".join(texts), encoding="utf-8")
    return path


@pytest.mark.parametrize(("answer", "right"), [(1, 1), ("B", 1), ("b", 1), ("red", 0), ("A", 0)])
@pytest.mark.parametrize("name", ["answer", "label", "gold"])
def test_the_right_choice_is_told_by_number_letter_or_text(tmp_path: Path, name: str, answer: object, right: int):
    [item] = read("set", lines(tmp_path, {"question": "Which?", "choices": ["red", "blue"], name: answer})).items
    assert isinstance(item, Choice)
    assert item.right == right


def test_a_choice_that_looks_like_a_letter_is_a_text(tmp_path: Path):
    [item] = read("set", lines(tmp_path, {"query": "Which?", "choices": ["B", "A"], "answer": "A"})).items
    assert isinstance(item, Choice)
    assert item.right == 1


def test_the_content_tells_the_kind(tmp_path: Path):
    assert isinstance(read("set", lines(tmp_path, {"text": "a b"})).items[0], Document)
    assert isinstance(read("set", lines(tmp_path, {"text": "a b", "answer": "c"})).items[0], Cloze)
    assert isinstance(read("set", lines(tmp_path, {"context": "a b", "completion": "c"})).items[0], Cloze)


def test_a_text_may_have_keys_that_are_no_misspelling(tmp_path: Path):
    [item] = read(
        "set", lines(tmp_path, {"text": "a b", "label": 1, "competition": "x", "answered": "y", "complete": 1})
    ).items
    assert isinstance(item, Document)


def test_a_line_that_is_no_unicode_is_named_with_a_remedy(tmp_path: Path):
    path = tmp_path / "set.jsonl"
    path.write_bytes(b'{"text": "caf\xe9"}\n')
    with pytest.raises(UserError, match=r"set.jsonl, line 1: expected UTF-8, got .* at byte 13\. Save it as UTF-8"):
        read("set", path)


def test_a_folder_gives_its_texts_in_order_of_their_names(tmp_path: Path):
    for name, text in {"b.txt": "second", "a/c.md": "first", "other.py": "x = 1"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    found = read("set", tmp_path)
    assert [item.text for item in found.items] == ["first", "second"]
    (tmp_path / "b.txt").rename(tmp_path / "c.txt")
    assert read("set", tmp_path).sha256 != found.sha256


RIGHT = {"question": "Which?", "choices": ["red", "blue"], "answer": 0}


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([RIGHT, "{"], "set.jsonl, line 2: expected a JSON object on a line of its own, got '{' ("),
        (["[1]"], "line 1: expected a JSON object on a line of its own, got '[1]'"),
        ([{"text": "a"}, {"text": "a", "asnwer": "b"}], "line 2: unknown key 'asnwer'; did you mean answer"),
        ([{"text": "a", "anwser": "b"}], "line 1: unknown key 'anwser'; did you mean answer"),
        (
            [{"text": "a"}, {"text": "a", "answer": "b"}],
            "line 2: expected a record of text, as in line 1, got one of cl",
        ),
        (
            [{"text": "a", "answer": "b"}, RIGHT],
            "line 2: expected a record of cloze, as in line 1, got one of multiple",
        ),
        ([RIGHT, "", {"text": "a"}], "line 3: expected a list of two or more choices, got None"),
        (
            [RIGHT, {**RIGHT, "answer": 2}],
            "line 2: answer: expected the right choice by its text, a letter from A or a",
        ),
        ([RIGHT, {**RIGHT, "answer": True}], "got True"),
        ([RIGHT, {**RIGHT, "choices": ["red", " "]}], "line 2: expected choices[1] with words, got ' '"),
        ([RIGHT, {**RIGHT, "choices": ["red", "red"]}], "line 2: expected choices that differ"),
        ([{**RIGHT, "question": ""}], "line 1: expected question with words, got ''"),
        ([{"choices": ["a", "b"], "answer": 0}], "expected the key question or context or query, got choices, answer"),
        ([{"story": "a"}], "line 1: expected text"),
        ([{"text": "a", "answer": "b", "delimiter": 1}], "delimiter: expected a text, got 1"),
        (['{"text": "a \\ud800"}'], "expected Unicode text, got half of a surrogate pair"),
        ([], "expected records in"),
    ],
)
def test_a_line_that_cannot_be_scored_is_named(tmp_path: Path, records: list[object], words: str):
    with pytest.raises(UserError) as error:
        read("pretrain.evaluate.mine", lines(tmp_path, *records))
    assert str(error.value).startswith("pretrain.evaluate.mine: ")
    assert words in str(error.value)


def test_files_of_other_kinds_are_refused(tmp_path: Path):
    (tmp_path / "a.csv").write_text("a,b")
    (tmp_path / "b.txt").write_bytes(b"a\xff")
    for path, words in {
        "a.csv": "expected a folder of texts",
        "none": "found nothing",
        "b.txt": "expected UTF-8",
    }.items():
        with pytest.raises(UserError, match=words):
            read("set", tmp_path / path)


def test_what_no_disk_or_text_can_hold_is_told(tmp_path: Path):
    with pytest.raises(UserError, match="expected a file or a folder"):
        read("a set", tmp_path / ("x" * 300))
    record = {"question": "q", "choices": ["a", "b"], "answer": 0, "delimiter": "\ud800"}
    (tmp_path / "set.jsonl").write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"line 1: delimiter: expected Unicode text"):
        read("a set", tmp_path / "set.jsonl")


def test_names_of_files_need_not_be_unicode(tmp_path: Path):
    (tmp_path / os.fsdecode(b"\xff.txt")).write_text("a text")
    assert len(read("a set", tmp_path).items) == 1

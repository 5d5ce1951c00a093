r"""Lines of data end at `\n` or `\r\n` alone, wherever data is read by lines; str.splitlines knows eight more ends."""

import io
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aura.compare.comparison import lines_of
from aura.project.dvc_state import whole_stages
from aura.sources.documents.affect import read_lexicon
from aura.sources.documents.json_files import Wanted, json_documents
from aura.sources.documents.txt_files import txt_documents

INSIDE = "\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
TEXT = st.text(st.sampled_from("ab " + INSIDE)).filter(lambda text: not text.endswith("\r"))


@given(lines=st.lists(TEXT), end=st.sampled_from(["\n", "\r\n"]))
@example(lines=["a\rb", "", "\r\r c"], end="\r\n")
def test_lines_that_are_written_are_read(lines: list[str], end: str):
    text = "".join(line + end for line in lines)
    assert lines_of(text) == lines


@pytest.mark.parametrize("inside", INSIDE.replace("\r", ""))
def test_a_document_a_line_keeps_what_stands_inside_of_it(inside: str):
    """Text is cut at a lone carriage return, too, as in files of old systems; data (above) is not."""
    stream = io.BytesIO(f"one{inside}half\r\ntwo\rthree\n".encode())
    found = [bytes(item).decode() for item in txt_documents(stream, "line", 1000)]
    assert found == [f"one{inside}half", "two", "three"]


@pytest.mark.parametrize("inside", INSIDE)
def test_a_record_a_line_may_hold_any_white_space(inside: str):
    """JSON itself takes a carriage return between values for a space; the others stand in a text."""
    record = '{"a": 1,\r "text": "one"}' if inside == "\r" else json.dumps({"text": f"one{inside}"}, ensure_ascii=False)
    found = list(json_documents(io.BytesIO(f"{record}\n{record}\r\n".encode()), Wanted(["text"], 1000)))
    assert [bytes(item).decode().strip() for item in found] == [json.loads(record)["text"].strip()] * 2


@pytest.mark.parametrize("inside", ["\x0b", "\x0c", "\x85", "\u2028"])
def test_a_word_of_the_lexicon_may_hold_any_character(tmp_path, inside: str):
    path = tmp_path / "lexicon.tsv"
    path.write_bytes(f"\ufeffhappy\tjoy\r\nbig{inside}day\tjoy\n".encode())
    assert read_lexicon(path).words == sorted(["happy", f"big{inside}day"])


def test_a_path_in_a_cut_lock_may_hold_any_character():
    lock = "schema: '2.0'\nstages:\n  one:\n    cmd: a\n  two:\n    cmd: \"b\u2028  c: d\"\n    deps:\n    - pa"
    assert whole_stages(lock) == "schema: '2.0'\nstages:\n  one:\n    cmd: a\n"

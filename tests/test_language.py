"""Plain English, where it can be counted: how docstrings begin, the word "came", long paragraphs and sentences."""

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest

from tests.conftest import REPOSITORY

PAGES = ["README.md", "CONTRIBUTING.md", "SECURITY.md", *(f"docs/{path.name}" for path in REPOSITORY.glob("docs/*.md"))]
HEADLESS = {"What", "Which", "That", "Whether", "Where", "How"}
PARAGRAPH = 6 * 120  # characters: six lines of the width of the code


@cache
def texts() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Docstrings and all other strings of aura/ and stages/, each with its file and line."""
    docstrings, others = [], []
    for path in [*(REPOSITORY / "aura").rglob("*.py"), *(REPOSITORY / "stages").glob("*.py")]:
        name, found = path.relative_to(REPOSITORY), set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):  # from the top: a docstring's owner is first
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
                found.add(node.body[0].value)
                docstrings.append((f"{name}:{node.body[0].lineno}", ast.get_docstring(node)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in found:
                others.append((f"{name}:{node.lineno}", node.value))
    return docstrings, others


def paragraphs(page: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and lines of each paragraph and list item; not of headings, tables, comments and code."""
    fenced, lines = False, []
    for number, line in enumerate([*(REPOSITORY / page).read_text(encoding="utf-8").splitlines(), ""], 1):
        fenced ^= line.startswith("```")
        apart = fenced or re.match(r"(```|#|\||<!--|    +\S|$)", line) is not None
        if lines and (apart or re.match(r"\s*([-*]|\d+\.) ", line)):
            yield number - len(lines), lines
            lines = []
        if not apart:
            lines.append(line)


def sentences(page: str) -> Iterator[tuple[int, str]]:
    """Line number and text of each sentence, those in cells of tables included; a piece of code counts as a word."""
    lines = enumerate((REPOSITORY / page).read_text(encoding="utf-8").splitlines(), 1)
    cells = [(number, cell) for number, line in lines if line.startswith("|") for cell in line.split("|")]
    for number, words in [*((number, " ".join(lines)) for number, lines in paragraphs(page)), *cells]:
        for sentence in re.split(r"(?<=[.!?])[)*\"]*\s+", re.sub(r"`[^`]+`", "code", words)):
            yield number, sentence


def test_docstrings_begin_with_their_subject():
    found = [f"{place}: {text}" for place, text in texts()[0] if text.split()[0] in HEADLESS]
    assert len(found) < 10, "\n".join(found)


def test_messages_say_got_and_not_came():
    found = [f"{place}: {text}" for place, text in texts()[1] if re.search(r"\bcame\b", text)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("page", PAGES)
def test_paragraphs_have_at_most_six_lines(page: str):
    long = [number for number, lines in paragraphs(page) if len(lines) > 6 or len(" ".join(lines)) > PARAGRAPH]
    assert not long, f"{page}: paragraphs at lines {long}"


@pytest.mark.parametrize("page", ["README.md", "docs/map.md"])
def test_sentences_have_at_most_thirty_words(page: str):
    long = [f"{page}:{number}: {text}" for number, text in sentences(page) if len(text.split()) > 30]
    assert not long, "\n".join(long)


@pytest.mark.parametrize("page", PAGES)
def test_files_and_folders_that_a_page_names_are_there(page: str):
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    named = [REPOSITORY / name for name in re.findall(r"`((?:aura|stages|tests|docs|benchmarks)/[\w/.]*)`", text)]
    named += [(REPOSITORY / page).parent / link for link in re.findall(r"\]\(([\w./-]+)(?:#[\w-]+)?\)", text)]
    gone = [str(path) for path in named if not re.search("NAME|STAGE", str(path)) and not path.exists()]
    assert not gone, f"{page} names {gone}"


@cache
def words() -> set[str]:
    """Every word of the code, of its tests and of the files that configure it."""
    paths = [
        path for folder in ("aura", "stages", "tests", "benchmarks") for path in (REPOSITORY / folder).rglob("*.py")
    ]
    paths += [REPOSITORY / name for name in ("params.yaml", "dvc.yaml", "pyproject.toml")]
    return {word for path in paths for word in re.findall(r"\w+", path.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("page", PAGES)
def test_names_of_code_on_a_page_are_in_the_code(page: str):
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    dotted = [name for name in re.findall(r"`(\w+(?:\.\w+)+)[(`]", text) if not (REPOSITORY / name).exists()]
    gone = [name for name in dotted if not words().issuperset(name.split("."))]
    for name, other, file in re.findall(r"`([\w.]+)`(?: and `([\w.]+)`)? (?:in|of) `([\w/]+\.\w+)`", text):
        held = set(re.findall(r"\w+", (REPOSITORY / file).read_text(encoding="utf-8")))
        gone += [f"{each} in {file}" for each in (name, other) if each and not held.issuperset(each.split("."))]
    assert not gone, f"{page} names {gone}"

"""Entries of sources in params.yaml and dvc.yaml: any value comes back as it was given, all other bytes stay."""

import difflib
import re
from pathlib import Path

import pytest
from dvc.repo import Repo
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from aura.core.errors import UserError
from aura.project import source_entries, sources, whole_params, yaml_edits
from aura.sources.input_files import chosen_by
from tests.conftest import REPOSITORY

ODD = [
    *("????.txt", "{a,b}", "{a,b}.txt", "*.txt", "*x", "&x", "!x", "#x", "a: b", "a #b", "on", "off", "yes", "n", "y"),
    *("null", "~", "Null", "true", "1e3", "1_000", "0x1f", "0o17", "12:30:00", "2001-01-01", "1.5", ".inf", ".nan"),
    *("[a]", "[!a]*", "- a", "? a", "| a", "> a", "%a", "@a", "`a`", "'", "''", '"', "\\", "a\\b", "a'b", 'a"b', "a,b"),
    *("=", "<<", "---", "...", ":", "a:", ":a", "-", "--only", "${x}", "ü", "日本", "🙂", "\u2028", "\x85", "\xa0"),
    *("a b", "a  b", " a", "a ", "\ta", "a\nb", "\r\n", "\x7f", "\ufeff", "\x00", "\x1b[31m", "x" * 300),
]
TEXT = st.one_of(st.sampled_from(ODD), st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
NAMES = st.one_of(
    st.sampled_from(["on", "off", "yes", "no", "null", "1e3", "123", "0x1f", "2001-01-01", "true", "y", "n", "0"]),
    st.from_regex(r"[a-z0-9][a-z0-9_-]{0,8}", fullmatch=True),
)
FILES = ("params.yaml", "dvc.yaml")
REST = """\
a: &x   {b:   1,c: [1,2]}   # kept
key: null
other: ~
empty:
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("yaml")
    for name in FILES:
        (folder / name).write_bytes((REPOSITORY / name).read_bytes())
    return folder


def values(text: bytes, version: str) -> object:
    yaml = YAML(typ="safe")
    yaml.version = version
    return yaml.load(text.decode())


@settings(max_examples=40, deadline=None)
@given(name=NAMES, path=TEXT, key=TEXT, flow=st.booleans())
def test_any_value_survives_in_any_version_of_yaml(name: str, path: str, key: str, flow: bool):
    text = "m: {there_before: {x: 1}}  # one\n" if flow else "m:\n  there_before: {x: 1}  # one\nkey: null\n"
    entry = {"path": path, "text_keys": [key]}
    added = yaml_edits.with_entry(text, ["m"], name, entry)
    for version in ("1.1", "1.2"):
        assert values(added.encode(), version)["m"] == {"there_before": {"x": 1}, name: entry}
    assert yaml_edits.without_entry(added, ["m"], name) == text


@settings(max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(name=NAMES, path=TEXT, glob=TEXT, key=TEXT)
@example(name="on", path="????.txt", glob="{a,b}", key="a: b")
def test_what_is_added_comes_back_and_the_rest_keeps_its_bytes(
    project: Path, monkeypatch: pytest.MonkeyPatch, name: str, path: str, glob: str, key: str
):
    monkeypatch.chdir(project)
    before = {file: Path(file).read_bytes() for file in FILES}
    entry = {"kind": "json", "path": path, "glob": glob, "text_keys": [key]}
    source_entries.enter(name, entry, [])
    try:
        assert whole_params.load().extract.sources[name].model_dump(exclude_unset=True) == entry
        for file, old in before.items():
            changes = list(
                difflib.ndiff(old.splitlines(keepends=True), Path(file).read_bytes().splitlines(keepends=True))
            )
            assert [line[:1] for line in changes if line[:1] != " "] == ["+"]
    finally:
        source_entries.remove(name, whole_params.load().extract.sources[name])
    assert {file: Path(file).read_bytes() for file in FILES} == before


def test_what_is_no_text_is_refused(project: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(project)
    before = {file: Path(file).read_bytes() for file in FILES}
    with pytest.raises(UserError, match="no valid Unicode"):
        source_entries.enter("x", {"kind": "txt", "path": "data/\udcff"}, [])
    assert {file: Path(file).read_bytes() for file in FILES} == before


FORMS = [
    "m:\n  a: {x: 1}  # one\n\n  # two\n  b:\n    x: 2\n\n# end\n",
    "m: {a: {x: 1},  b: {x: 2}}  # both\n",
    "m: {\n  a: {x: 1},  # one\n  b: {x: 2}\n}\n",
    "m:\r\n  a: {x: 1}\r\n  b: {x: 2}",
    "m: {}\n",
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("before", ["", REST])
@pytest.mark.parametrize("after", ["", re.sub(r"(?m)^(?=\w)", "z_", REST).replace("&x", "&y")])
def test_every_form_of_a_mapping(form: str, before: str, after: str):
    text = before + form + ("" if form.endswith("\n") or not after else "\r\n") + after
    added = yaml_edits.with_entry(text, ["m"], "on", {"path": "*x"})
    there = YAML(typ="safe").load(added)["m"]
    assert there == YAML(typ="safe").load(form)["m"] | {"on": {"path": "*x"}}
    assert added.startswith(before)
    assert added.endswith(after)
    gone = added
    for key in there:
        gone = yaml_edits.without_entry(gone, ["m"], key)
    assert YAML(typ="safe").load(gone)["m"] == {}
    assert gone.startswith(before)
    assert gone.endswith(after)


def test_a_form_that_cannot_be_edited_is_refused():
    text = "x: &x {k: 1}\nm:\n  a: {k: 2}\n  b: *x\ny: 1\n"
    with pytest.raises(UserError, match="cannot be edited without touching the rest"):
        yaml_edits.with_entry(text, ["m"], "c", {"k": "3"})


@pytest.mark.parametrize("name", ["on", "123"])
def test_dvc_knows_a_source_whatever_it_is_called(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for file in (*FILES, "versions.json"):
        (tmp_path / file).write_bytes((REPOSITORY / file).read_bytes())
    monkeypatch.chdir(tmp_path)
    source_entries.enter(name, {"kind": "txt", "path": "data/a, {b}"}, ["sample"])
    Repo.init(no_scm=True).close()
    with Repo() as repo:
        [stage] = [stage for stage in repo.index.stages if stage.name == f"extract@{name}"]
        assert stage.cmd == f"python -m aura.stages.extract {name}"
        assert "data/a, {b}" in [dep.def_path for dep in stage.deps]
        [entry] = [dep for dep in stage.deps if f"extract.sources.{name}" in getattr(dep, "params", [])]
        assert entry.read_params()[f"extract.sources.{name}"] == {"kind": "txt", "path": "data/a, {b}"}


@pytest.fixture
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a folder of texts, to which sources are added."""
    for name in FILES:
        (tmp_path / name).write_bytes((REPOSITORY / name).read_bytes())
    for name in ("abcd.txt", "a.txt", "b.txt", "{x}.txt", "deep/c.txt", "posts.jsonl", "records"):
        (tmp_path / "data/txt" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data/txt" / name).write_text('{"text": "a text"}\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AURA_CACHE", "")
    return tmp_path


def added(path: str, glob: str | None = None, kind: str | None = None, *, pin: bool = False) -> list[str]:
    """The names of the files that a source reads once it is added."""
    from aura.sources.listing import list_files

    sources.add(sources.NewSource("new", path, kind, sources.Reading(glob=glob), pin=pin))
    return [file.name for file in list_files(whole_params.load().extract.sources["new"])]


@pytest.mark.parametrize("pin", [False, True])
@pytest.mark.parametrize(
    ("path", "glob", "found"),
    [
        ("data/txt", "????.txt", {"abcd.txt"}),
        ("./data/txt/", "./*.txt", {"a.txt", "abcd.txt", "b.txt", "{x}.txt"}),
        ("data//txt/.", "{a,b}.txt", {"a.txt", "b.txt"}),
        ("data/txt", "{a,{b,deep/c}}.txt", {"a.txt", "b.txt", "deep/c.txt"}),
        ("data/txt", "{x}.txt", {"{x}.txt"}),
        ("data/txt", "deep/", {"deep/c.txt"}),
        ("data/txt/*.txt", None, {"a.txt", "abcd.txt", "b.txt", "{x}.txt"}),
        ("data/txt/d*/c.txt", None, {"deep/c.txt"}),
        ("data/txt/{a,b}.txt", None, {"a.txt", "b.txt"}),
        ("data/txt/{x}.txt", None, {"{x}.txt"}),
        ("data/txt/a.txt", None, {"a.txt"}),
        ("./data/txt/posts.jsonl", None, {"posts.jsonl"}),
    ],
)
@pytest.mark.usefixtures("texts")
def test_patterns_and_single_files(path: str, glob: str | None, found: set[str], *, pin: bool):
    assert set(added(path, glob, pin=pin)) == found


@pytest.mark.usefixtures("texts")
def test_a_file_is_what_its_user_says():
    assert added("data/txt/records", kind="json") == ["records"]


@pytest.mark.usefixtures("texts")
@pytest.mark.parametrize(
    ("path", "glob", "words"),
    [
        ("data/txt/records", None, "no suffix: name the kind and the files: --kind json"),
        ("data/txt/a.txt", "*.txt", "--glob chooses among the files of a folder"),
        ("data/txt/*.txt", "*.txt", "expected one pattern, got two"),
        ("data/nothing/a.txt", None, "there is no such file or folder: data/nothing/a.txt. See what there is: ls"),
    ],
)
def test_what_does_not_fit_is_said(path: str, glob: str | None, words: str):
    before = {file: Path(file).read_bytes() for file in FILES}
    with pytest.raises(UserError, match=words.replace("*", r"\*")):
        added(path, glob)
    assert {file: Path(file).read_bytes() for file in FILES} == before


def test_braces_are_bounded():
    with pytest.raises(UserError, match="more than 1,000 others"):
        chosen_by("txt", "{a,b}" * 12)

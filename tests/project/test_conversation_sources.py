"""`aura conversations`: params.yaml and dvc.yaml are edited together, or not at all."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from aura.cli import conversations as command
from aura.core.errors import UserError
from aura.project import conversation_sources, new_project, sources, tracking, whole_params
from aura.project.sources import NewSource, Reading
from aura.sources import pins
from tests.conftest import REPOSITORY

RECORD = {"instruction": "2+2?", "output": "4"}
Texts = Callable[[], tuple[bytes, bytes]]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("params.yaml", "dvc.yaml", "data/conversations.pin.json", "data/sample.pin.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((REPOSITORY / name).read_bytes())
    (tmp_path / "data/talks").mkdir()
    (tmp_path / "data/talks/a.jsonl").write_text(json.dumps(RECORD) + "\n")
    (tmp_path / "data/talks/readme.txt").write_text("about these talks")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def texts() -> tuple[bytes, bytes]:
    return Path("params.yaml").read_bytes(), Path("dvc.yaml").read_bytes()


def state() -> tuple[dict[str, object], list[str]]:
    """The sources of params.yaml, and the dependencies of the stage."""
    yaml = YAML(typ="safe")
    sources = yaml.load(Path("params.yaml"))["conversations"]["sources"]
    return sources, yaml.load(Path("dvc.yaml"))["stages"]["conversations"]["deps"]


@pytest.mark.usefixtures("project")
def test_adding_and_removing_gives_back_the_same_files():
    before = texts()
    assert "1 json files" in conversation_sources.add(NewSource("mine", "data/talks"))
    sources, deps = state()
    assert sources["mine"] == {"kind": "json", "path": "data/talks"}
    assert deps == sorted(deps)
    assert "data/talks" in deps
    conversation_sources.add(NewSource("again", "data/talks", reading=Reading(glob="*.jsonl")))
    conversation_sources.remove("mine")
    assert "data/talks" in state()[1], "another source reads it still"
    conversation_sources.remove("again")
    assert texts() == before


def test_a_pin_is_apart_from_that_of_a_source_of_the_corpus(project: Path):
    conversation_sources.add(NewSource("mine", "data/talks", pin=True))
    pin = Path("data/mine.conversations.pin.json")
    assert state()[0]["mine"] == {"kind": "json", "path": str(pin)}
    (project / "data/talks/b.jsonl").write_text(json.dumps(RECORD) + "\n")
    with pytest.raises(UserError, match="aura conversations scan mine"):
        conversation_sources.show("mine", 1)
    assert conversation_sources.scan("mine") == "2 files"
    assert len(conversation_sources.show("mine", 5).conversations) == 2
    assert pins.folder_of(pin) == Path("data/talks")


@pytest.mark.usefixtures("project")
def test_the_command_shows_lists_and_tells_of_tracking(capsys: pytest.CaptureFixture[str]):
    Path("data/talks/a.jsonl").write_text('{"a": 1}\n' + json.dumps(RECORD) + "\n")
    command.add_source("mine", "data/talks")
    said = capsys.readouterr().out
    assert "added mine: 1 json files (not read: 1 .txt). Run: dvc repro" in said
    assert "data/talks is in neither git nor DVC" in said
    assert tracking.untracked(whole_params.load().conversations.sources) == {"mine": "data/talks"}
    command.show_source("mine")
    said = capsys.readouterr().out
    assert "user: 2+2?\nassistant: 4\n" in said
    assert "read: 1 alpaca; lost: 1 no known keys, first at a.jsonl, line 1 (keys a)" in said
    command.list_sources()
    assert "not yet" in capsys.readouterr().out
    Path("data/conversations").mkdir()
    for broken in (7, {"conversations": {}, "lost": {}}):
        Path("data/conversations/manifest.json").write_text(json.dumps({"sources": {"mine": broken}}))
        with pytest.raises(UserError, match="Make it again with: dvc repro conversations"):
            command.list_sources()
    command.remove_source("docstrings")
    assert list(state()[0]) == ["mine"]
    command.add_source("docstrings", "data/conversations.pin.json")
    assert state()[0]["docstrings"] == {"kind": "docstrings", "path": "data/conversations.pin.json"}


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("new", "words"),
    [
        (NewSource("docstrings", "data/talks"), "the source docstrings exists already"),
        (NewSource("Mine", "data/talks"), "expected a name that matches"),
        (NewSource("mine", "data/talks", "txt"), "expected --kind to be one of json, parquet, dataset, docstrings"),
        (NewSource("mine", "data/nothing"), "files at data/nothing, found none"),
        (NewSource("mine", "data/talks/readme.txt"), "found none"),
        (NewSource("mine", "data/talks", "docstrings"), "expected --kind docstrings with a pin of packages"),
        (NewSource("mine", "data/conversations.pin.json", "json"), "another kind with anything else; got json"),
        (NewSource("mine", "models", "json"), "holds or is the output models"),
    ],
)
def test_a_mistake_changes_nothing(new: NewSource, words: str):
    before = texts()
    with pytest.raises(UserError, match=words):
        conversation_sources.add(new)
    assert texts() == before


@pytest.mark.usefixtures("project")
def test_no_source_of_the_corpus_replaces_the_pin_of_the_built_in_questions():
    before, pin = texts(), Path("data/conversations.pin.json").read_bytes()
    with pytest.raises(UserError, match="pins the packages of a built-in source"):
        sources.add(NewSource("conversations", "data/talks", "json", pin=True))
    assert (*texts(), Path("data/conversations.pin.json").read_bytes()) == (*before, pin)


@pytest.mark.usefixtures("project")
def test_the_only_source_stays_and_an_unknown_one_is_named():
    with pytest.raises(UserError, match="docstrings is the only source"):
        conversation_sources.remove("docstrings")
    with pytest.raises(UserError, match=r"named dosctrings\. There are: docstrings"):
        conversation_sources.scan("dosctrings")
    with pytest.raises(UserError, match="has no pin"):
        conversation_sources.scan("docstrings")


@pytest.mark.usefixtures("project")
def test_a_new_project_has_the_built_in_set_alone():
    before = tuple(text.decode() for text in texts())
    conversation_sources.add(NewSource("mine", "data/talks"))
    conversation_sources.remove("docstrings")
    made = new_project._with_the_sample_alone(*(text.decode() for text in texts()))
    assert [YAML(typ="safe").load(text) for text in made] == [YAML(typ="safe").load(text) for text in before]

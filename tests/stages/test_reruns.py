"""The rerun table of docs/contracts.md, row by row: each change is really made, and DVC is asked."""

import json
import re
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.conftest import REPOSITORY, Project

DOCUMENT = REPOSITORY / "docs/contracts.md"

# Applies each change in turn, asks DVC in process (0.2 s instead of 0.7 s) and takes the change back. DVC parses
# params.yaml once a stage, which is most of its time, so equal text is parsed once here.
ASK = """
import copy, functools, json, sys
from pathlib import Path
from dvc.utils import serialize

parsed = functools.cache(serialize.parse_yaml)
serialize.parse_yaml = serialize._yaml.parse_yaml = lambda *text, **options: copy.deepcopy(parsed(*text, **options))

from dvc.repo import Repo

def stages(repo):
    repo._reset()
    return sorted(name.removeprefix("dvc.yaml:") for name in repo.status())

answers = {}
with Repo(".") as repo:
    answers["nothing"] = stages(repo)
    for name, changes in json.load(sys.stdin).items():
        before = {path: Path(path).read_bytes() if Path(path).exists() else None for path in changes}
        for path, text in changes.items():
            Path(path).unlink() if text is None else Path(path).write_text(text)
        answers[name] = stages(repo)
        for path, data in before.items():
            Path(path).unlink() if data is None else Path(path).write_bytes(data)
    answers["everything taken back"] = stages(repo)
print(json.dumps(answers))
"""


def table() -> dict[str, set[str]]:
    """What the document says: a change's name → the stages that it invalidates."""
    text = DOCUMENT.read_text(encoding="utf-8")
    text = text[text.index("<!-- rerun table -->") : text.index("<!-- end of rerun table -->")]
    rows: dict[str, set[str]] = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 2 and "`" in cells[0]:
            for name in re.findall(r"`([^`]+)`", cells[0]):
                assert name not in rows, f"{name} stands in two rows"
                rows[name] = set(re.findall(r"`([^`]+)`", cells[1]))
    return rows


def leaves(values: dict[str, Any], path: str = "") -> dict[str, Any]:
    found = {}
    for key, value in values.items():
        name = f"{path}{key}"
        found |= (
            leaves(value, f"{name}.")
            if isinstance(value, dict) and value and key not in ("sources", "size")
            else {name: value}
        )
    return found


def another(value: Any) -> Any:
    """A different value of the same type; a number where there is none."""
    match value:
        case None:
            return 2
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return value + "x"
        case list():
            return [*value, "<NEW>"]
        case dict():
            return value | {"new": {"max_files": 1}}


def param_changes(folder: Path) -> dict[str, dict[str, str]]:
    changes = {}
    for name, value in leaves(YAML(typ="safe").load(folder / "params.yaml")).items():
        if name in ("extract.sources", "extract.lexicon"):
            continue
        values = YAML(typ="safe").load(folder / "params.yaml")
        *sections, key = name.split(".")
        inner = values
        for section in sections:
            inner = inner[section]
        inner[key] = another(value)
        text = StringIO()
        YAML().dump(values, text)
        changes[name] = {"params.yaml": text.getvalue()}
    params = (folder / "params.yaml").read_text()
    lexicon = "aura/ingestion/lexicon.tsv"
    changes["extract.lexicon"] = {
        "params.yaml": params.replace(lexicon, "data/my.tsv"),
        "data/my.tsv": "joyful\tjoy\n",
    }
    changes["extract.sources.books"] = {
        "params.yaml": params.replace("path: data/books", "path: data/books, documents: line")
    }
    return changes


def code_changes(folder: Path) -> dict[str, dict[str, str | None]]:
    """A file changed, added and removed in each folder of aura/, at any depth, and each file that is in none of them.

    One module speaks for its folder, because DVC depends on the folder; of the folder of the stages, on single modules.
    """
    changes: dict[str, dict[str, str | None]] = {}
    for path in [*folder.glob("aura/*.py"), *folder.glob("stages/*.py"), *folder.glob("aura/**/*.py")]:
        inside = len(path.relative_to(folder).parts) > 2 and path.parent.name != "stages"
        name = f"{path.parent.relative_to(folder)}/" + ("changed" if inside else path.name)
        changes.setdefault(name, {path.relative_to(folder).as_posix(): path.read_text() + "\n# changed\n"})
    for path in {path.parent for path in folder.glob("aura/*/**/*.py") if path.parent.name != "stages"}:
        name = path.relative_to(folder).as_posix()
        changes[f"{name}/added"] = {f"{name}/added.py": "# added\n"}
        changes[f"{name}/removed"] = {f"{name}/__init__.py": None}
    return changes


def file_changes(folder: Path) -> dict[str, dict[str, str | None]]:
    changes: dict[str, dict[str, str | None]] = {}
    lexicon = "aura/ingestion/lexicon.tsv"
    changes[lexicon] = {lexicon: (folder / lexicon).read_text() + "zest\tjoy\n"}
    changes["README.md"] = {"README.md": "edited\n"}
    changes["a file touched, its bytes the same"] = {"data/books/000.txt": (folder / "data/books/000.txt").read_text()}
    changes["a file added to a txt folder"] = {"data/books/new.txt": "new"}
    changes["a file changed in a txt folder"] = {"data/books/000.txt": "changed"}
    changes["a file removed from a txt folder"] = {"data/books/000.txt": None}
    changes["a file added to a json folder"] = {"data/posts/new.jsonl": '{"text": "new"}\n'}
    changes["a file changed in a json folder"] = {"data/posts/0.jsonl": '{"text": "changed"}\n'}
    changes["a file removed from a json folder"] = {"data/posts/0.jsonl": None}
    changes["a file changed under a pin, before its scan"] = {"data/pinned/0.txt": "changed"}
    for change, text in (("added", "added.txt"), ("changed", "0.txt"), ("removed", None)):
        pin = json.loads((folder / "data/pinned.pin.json").read_text())
        pin["files"] = pin["files"][1:] + ([[text, 3, "0" * 32]] if text else [])
        changes[f"a file {change} under a pin, after its scan"] = {"data/pinned.pin.json": json.dumps(pin)}
    changes["a package of the conversations"] = {"data/conversations.pin.json": '{"packages": {"optax": "0"}}'}
    changes["a package of the sample"] = {"data/sample.pin.json": '{"packages": {"optax": "0"}}'}
    return changes


def version_changes(folder: Path) -> dict[str, dict[str, str]]:
    """Each library that the table names, and all others at once."""
    versions, rows = json.loads((folder / "versions.json").read_text()), table()
    named, others = [name for name in versions if name in rows], {name: "0" for name in versions if name not in rows}
    assert len(others) > 100
    changes = {name: {"versions.json": json.dumps(versions | {name: "0"})} for name in named}
    return changes | {"every other library": {"versions.json": json.dumps(versions | others)}}


@pytest.fixture(scope="module")
def answers(built: Project, tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """What DVC says each change invalidates."""
    project = built.copy(tmp_path_factory.mktemp("reruns") / "project")
    found = {}
    for changes in (param_changes, code_changes, file_changes, version_changes):
        found |= asked(project, changes(project.folder))
    return found


def asked(project: Project, changes: dict[str, Any]) -> dict[str, set[str]]:
    done = project.run(sys.executable, "-c", ASK, input=json.dumps(changes))
    return {name: set(stages) for name, stages in json.loads(done.stdout.splitlines()[-1]).items()}


def named(stages: set[str]) -> set[str]:
    """Stage names as the table writes them: `extract` for all of its sources, `extract@books` for one."""
    every = {f"extract@{name}" for name in ("books", "posts", "pinned", "sample")}
    return (stages - every) | {"extract"} if every <= stages else stages


@pytest.mark.slow  # 178 changes, 55 s of CPU
def test_each_change_invalidates_exactly_the_stages_of_the_table(answers: dict[str, set[str]]):
    rows = table() | {"nothing": set(), "everything taken back": set()}
    row_of = {name: name if name in rows else f"{'/'.join(name.split('/')[:2])}/" for name in answers}
    assert set(row_of.values()) == set(rows)
    assert {name: named(stages) for name, stages in answers.items()} == {name: rows[row_of[name]] for name in answers}


def knob_changes(folder: Path) -> dict[str, dict[str, str]]:
    """For each section of params.yaml: one more field in its class, with a value, and a param in dvc.yaml."""
    pipeline, values = (folder / "dvc.yaml").read_text(), YAML(typ="safe").load(folder / "params.yaml")
    changes = {}
    for stage in (
        *("extract", "select", "train_tokenizer", "validate"),
        *("encode", "conversations", "pretrain", "adapt", "export"),
    ):
        options = f"aura/{stage}/options.py"
        name = stage.title().replace("_", "")
        text = StringIO()
        YAML().dump(values | {stage: values[stage] | {"new_knob": True}}, text)
        code = (folder / options).read_text()
        changes[stage] = {
            options: re.sub(rf"(class (?:{name}|_Common)\(Section\):\n    .*\n\n)", r"\1    new_knob: bool\n", code),
            "params.yaml": text.getvalue(),
            "dvc.yaml": re.sub(rf"( *- {stage}\.)(\w+\n)", r"\1new_knob\n\1\2", pipeline, count=1),
        }
        assert all("new_knob" in content for content in changes[stage].values())
    return changes


def test_a_new_knob_reruns_its_stage_alone(built: Project, tmp_path: Path):
    project = built.copy(tmp_path / "project")
    changes = knob_changes(project.folder)
    answers = {name: named(stages) for name, stages in asked(project, changes).items()}
    assert answers == {stage: {stage} for stage in changes} | {"nothing": set(), "everything taken back": set()}
    for path, text in changes["select"].items():
        (project.folder / path).write_text(text)
    assert project.ran(project.run("dvc", "repro").stdout) == {"select"}

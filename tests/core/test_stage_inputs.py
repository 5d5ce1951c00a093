"""What changes while a stage runs ends it; what is none of its inputs, or keeps their content, does not."""

import ast
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from aura.core import params, pipeline_file, stage_inputs
from aura.project import whole_params
from tests.conftest import REPOSITORY
from tests.stages.test_dependencies import STAGES

PIPELINE = """
vars: [{unused: &listed [a, b]}]
stages:
  extract:
    foreach: ${extract.sources}
    do:
      cmd: python -m aura.stages.extract ${key}
      deps: ["${item.path}", "${extract.lexicon}"]
      params: ["extract.sources.${key}", extract.min_chars]
  select:
    cmd: python -m aura.stages.select
    deps:
      - data/books
# a comment between its lines
      - module.py

      - gone.txt
    params:
      - select
      - versions.json:
          - numpy
"""
PARAMS = """
extract:
  sources: {books: {path: data/books, kind: txt}, posts: {path: data/posts, kind: json}}
  lexicon: lexicon.txt
  min_chars: 20
select: {held_out: 0.2, caps: {}}
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(params, "texts_read", [])
    for name in ("data/books/inner", "data/posts", "elsewhere"):
        Path(name).mkdir(parents=True)
    for name in ("data/books/0.txt", "data/books/1.txt", "data/books/inner/2.txt", "data/posts/0.jsonl", "elsewhere/a"):
        Path(name).write_text(f"The text of {name}.")
    Path("data/books/link.txt").symlink_to(tmp_path / "elsewhere/a")
    Path("module.py").write_text("code\n")
    Path("lexicon.txt").write_text("word\n")
    Path("other.py").write_text("code\n")
    Path("dvc.yaml").write_text(PIPELINE)
    Path("params.yaml").write_text(PARAMS)
    Path("versions.json").write_text('{"numpy": "1", "jax": "2"}')
    Path(".dvcignore").write_text("# folders\n.aura\n__pycache__\n")
    return tmp_path


def replace(file: str, old: str, new: str) -> None:
    text = Path(file).read_text()
    assert old in text
    Path(file).write_text(text.replace(old, new))


def keep_times(file: str) -> None:
    """As many bytes with the times of before."""
    found = Path(file).stat()
    Path(file).write_bytes(b"x" * found.st_size)
    os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))


def replace_folder() -> None:
    shutil.copytree("data/books", "copy")
    shutil.rmtree("data/books")
    Path("copy").rename("data/books")


def there_and_back() -> None:
    Path("data/books/short.txt").write_text("A document that was there for a moment.")
    Path("data/books/short.txt").unlink()


def edited_and_read_and_put_back() -> None:
    """Between two looks at it, the stage itself got another state."""
    before = Path("params.yaml").read_text()
    shutil.copy(REPOSITORY / "params.yaml", "params.yaml")
    whole_params.load()
    Path("params.yaml").write_text(before)


CHANGES: dict[str, tuple[Callable[[], object], str]] = {
    "edited": (lambda: Path("data/books/0.txt").write_text("Another text."), "data/books/0.txt"),
    "edited below": (lambda: Path("data/books/inner/2.txt").write_text("Another."), "data/books/inner/2.txt"),
    "one byte in place": (lambda: keep_times("data/books/1.txt"), "data/books/1.txt"),
    "added": (lambda: Path("data/books/new.txt").write_text("New."), "data/books/new.txt"),
    "added below": (lambda: Path("data/books/inner/new.txt").write_text("New."), "data/books/inner/new.txt"),
    "removed": (lambda: Path("data/books/0.txt").unlink(), "data/books/0.txt"),
    "renamed": (lambda: Path("data/books/0.txt").rename("data/books/9.txt"), "data/books/9.txt"),
    "another's place": (lambda: Path("data/books/1.txt").replace("data/books/0.txt"), "data/books/0.txt"),
    "what a link leads to": (lambda: Path("elsewhere/a").write_text("Another."), "data/books/link.txt"),
    "a link without its file": (lambda: Path("elsewhere/a").unlink(), "data/books/link.txt"),
    "the folder replaced": (replace_folder, "data/books/0.txt"),
    "the folder removed": (lambda: shutil.rmtree("data/books"), "data/books/0.txt"),
    "there for a moment": (there_and_back, "data/books/"),
    "a new empty folder": (lambda: Path("data/books/empty").mkdir(), "data/books/"),
    "code": (lambda: Path("module.py").write_text("more code\n"), "module.py"),
    "a file that was not there": (lambda: Path("gone.txt").write_text(""), "gone.txt"),
    "a value": (lambda: replace("params.yaml", "0.2", "0.25"), "select in params.yaml ({'held_out': 0.2"),
    "another type": (lambda: replace("params.yaml", "0.2", "'0.2'"), "'held_out': '0.2'"),
    "a value removed": (lambda: replace("params.yaml", "select: {held_out: 0.2, caps: {}}", ""), "→ None"),
    "a version": (lambda: replace("versions.json", '"1"', '"3"'), "numpy in versions.json ('1' → '3')"),
    "read and put back": (edited_and_read_and_put_back, "select in params.yaml"),
}
NO_CHANGES: dict[str, Callable[[], object]] = {
    "nothing": lambda: None,
    "read": lambda: Path("data/books/0.txt").read_text(),
    "read and listed": lambda: [path.read_text() for path in Path("data/books").rglob("*.txt")],
    "one more name": lambda: os.link("data/books/0.txt", "linked"),
    "another source": lambda: Path("data/posts/0.jsonl").write_text("[]"),
    "other code": lambda: Path("other.py").write_text("more code"),
    "an ignored folder": lambda: Path("data/books/inner/.aura/new.txt").write_text("cache"),
    "another key": lambda: replace("params.yaml", "min_chars: 20", "min_chars: 21"),
    "another version": lambda: replace("versions.json", '"2"', '"3"'),
    "a comment": lambda: replace("params.yaml", "select:", "# of the corpus\nselect:"),
    "the same text": lambda: replace("params.yaml", "select:", "select:"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_named(name: str):
    change, told = CHANGES[name]
    inputs = stage_inputs.Inputs("select")
    change()
    assert told in "; ".join(inputs.changes(params.texts_read))


@pytest.mark.parametrize("name", NO_CHANGES)
def test_what_keeps_the_inputs_is_no_change(name: str):
    Path("data/books/inner/.aura").mkdir()
    inputs = stage_inputs.Inputs("select")
    NO_CHANGES[name]()
    assert inputs.changes() == []


def test_bytecode_beside_code_is_no_change_and_a_new_module_is(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stage_inputs, "_CODE", stage_inputs.stamps("data/books"))
    inputs = stage_inputs.Inputs("select")
    Path("data/books/__pycache__").mkdir()
    assert inputs.changes() == []
    Path("data/books/new.txt").write_text("more")
    assert inputs.changes() == ["data/books/new.txt"]


def test_a_name_less_is_no_change():
    os.link("data/books/0.txt", "linked")
    inputs = stage_inputs.Inputs("select")
    Path("linked").unlink()
    assert inputs.changes() == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda: Path("data/posts/0.jsonl").write_text("[]"), "data/posts/0.jsonl"),
        (lambda: Path("lexicon.txt").write_text("words"), "lexicon.txt"),
        (lambda: replace("params.yaml", "data/posts", "data/books"), "extract.sources.posts in params.yaml"),
        (lambda: replace("params.yaml", "min_chars: 20", "min_chars: 21"), "min_chars in params.yaml (20 → 21)"),
    ],
)  # fmt: skip
def test_a_source_has_inputs_of_its_own(change: Callable[[], object], told: str):
    own, other = stage_inputs.Inputs("extract@posts"), stage_inputs.Inputs("select")
    change()
    assert told in "; ".join(own.changes())
    assert other.changes() == []


def test_any_random_change_of_many_is_named():
    rng = random.Random(13)  # noqa: S311 - changes, not secrets
    for number in range(40):
        (Path("data/books") / f"{number % 5}").mkdir(exist_ok=True)
        (Path("data/books") / f"{number % 5}/{number}.txt").write_text("text" * number)
    for _ in range(60):
        inputs = stage_inputs.Inputs("select")
        path = rng.choice(sorted(path for path in Path("data/books").rglob("*.txt") if not path.is_symlink()))
        match rng.randrange(4):
            case 0:
                path.write_bytes(path.read_bytes())  # as an editor does: nobody knows what was read between
            case 1:
                path.rename(path.with_name(f"{rng.random()}.txt"))
            case 2:
                path.with_name(f"{rng.random()}.txt").write_text("new")
            case _:
                keep_times(str(path))
        assert inputs.changes() != []


def failure(capsys: pytest.CaptureFixture[str], main: Callable[[], None]) -> str:
    """What `run` says as it ends with exit status 1."""
    with pytest.raises(SystemExit) as ended:
        stage_inputs.run("select", main)
    assert ended.value.code == 1
    return capsys.readouterr().err


def test_a_stage_whose_inputs_change_fails(capsys: pytest.CaptureFixture[str]):
    shutil.copy(REPOSITORY / "versions.json", "versions.json")
    stage_inputs.run("select", lambda: None)

    def main() -> None:
        for number in range(9):
            Path(f"data/books/new{number}.txt").write_text("New.")

    said = failure(capsys, main)
    assert "changed while select ran: data/books/new0.txt; data/books/new1.txt" in said
    assert "and 4 more" in said
    assert "dvc repro select" in said


def test_a_stage_that_fails_says_its_own_reason(capsys: pytest.CaptureFixture[str]):

    def main() -> None:
        Path("module.py").write_text("more code\n")
        raise PermissionError(13, "denied", "data/books")

    said = failure(capsys, main)
    assert "cannot write or read data/books" in said
    assert "changed while" not in said


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("dvc.yaml", "stages: [", "dvc.yaml cannot be read"),
        ("dvc.yaml", "stages: {}", "expected a stage select"),
        ("dvc.yaml", "stages: 5", "expected a stage select"),
        ("dvc.yaml", "stages: {select: {do: {}, foreach: 5}}", "dvc.yaml: select: expected foreach"),
        ("dvc.yaml", "stages: {select: {deps: 5}}", "dvc.yaml: select: expected lists of names, got 5"),
        ("dvc.yaml", "- a", "dvc.yaml: expected keys with values, got list"),
        ("dvc.yaml", PIPELINE.replace("- module.py", "- ${nowhere.at}"), "dvc.yaml names ${nowhere.at}"),
        ("versions.json", "{", "versions.json"),
        ("versions.json", "\udcff", "versions.json is not valid UTF-8"),
    ],
)
def test_a_damaged_file_is_one_line(capsys: pytest.CaptureFixture[str], file: str, text: str, told: str):
    Path(file).write_text(text, encoding="utf-8", errors="surrogateescape")
    said = failure(capsys, lambda: None)
    assert told in said
    assert said.count("\n") == 1


def test_a_stage_alone_is_parsed_as_it_is_in_the_whole_file():
    for text in (PIPELINE, (REPOSITORY / "dvc.yaml").read_text()):
        whole = YAML(typ="safe").load(text)["stages"]
        for name, entry in whole.items():
            assert pipeline_file._entry(text, name) == entry
        assert pipeline_file._entry(text, "none") is None
    anchored = "a: &listed [x]\nstages:\n  select:\n    deps: *listed\n"
    assert pipeline_file._entry(anchored, "select") == {"deps": ["x"]}


@pytest.mark.parametrize("script", [f"{stage}.py" for stage in STAGES])
def test_every_stage_runs_between_two_looks_at_its_inputs(script: str):
    tree = ast.parse((REPOSITORY / "aura/stages" / script).read_text())
    *others, guarded = [node for node in tree.body if isinstance(node, ast.If) and "__main__" in ast.unparse(node.test)]
    assert all([ast.unparse(line) for line in node.body] == ["keep_memory()"] for node in others)
    run = f"stage_inputs.run('{script.removesuffix('.py')}', main)"
    assert [ast.unparse(line) for line in guarded.body] in (
        [run],
        [f"if sys.argv[1:]:\n    console.run(main)\nelse:\n    {run}"],  # with arguments, it is the one-shot program
    )


def test_code_is_stamped_before_any_other_module_of_aura_is_imported():
    tree = ast.parse((REPOSITORY / "aura/stages/__init__.py").read_text())
    imports = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [line for line in imports if "aura" in line] == ["from aura.core import stage_inputs"]
    top = [ast.unparse(node) for node in ast.parse((REPOSITORY / "aura/core/stage_inputs.py").read_text()).body]
    stamped = next(number for number, line in enumerate(top) if line.startswith("_CODE = "))
    ours = [number for number, line in enumerate(top) if line.startswith(("import aura", "from aura"))]
    assert ours
    assert min(ours) > stamped


def test_values_parsed_alone_are_those_of_the_whole_file():
    text = (REPOSITORY / "params.yaml").read_text()
    cases = [
        (
            text,
            ["store", "pretrain.size", "extract.sources", "select.near_duplicates", "select.caps", "encode.add_bos"],
        ),
        (text.rstrip("\n"), ["pretrain.eval_every", "cache"]),
        ("a: &x {b: 1}\nc: *x\n", ["c.b"]),
        ("a.b: 1\na: {c: 2}\n", ["a.b", "a.c"]),
        ("'a': {b: 1}\n", ["a.b"]),
        ("a:\n- 1\n- 2\nb: |\n  x\n\n  a: 3\n", ["a", "b"]),
        ("a: {b: 1,\nc: 2}\nd: 3\n", ["a.c", "d"]),
        ('a: 1\nb: "x\n  a: 5"\n', ["a", "b"]),
        ('b: "x\n\na: 5"\na: 1\n', ["a", "b"]),
        ('b: "x\n\na: 5"\na: 1\n', ["a"]),
        ("a: 1\na: 2\n", ["a"]),
        ("a: 1\n", ["z", "z.y"]),
        ("", ["a"]),
    ]
    for whole, keys in cases:
        try:
            parsed = YAML(typ="safe").load(whole) or {}
        except YAMLError:
            continue
        if parsed:
            expected = {key: pipeline_file.value_at(parsed, key) for key in keys}
            assert pipeline_file.values_at(whole, "params.yaml", keys) == expected, whole

"""A project of two small stages that run as aura's own do, and what they make of its inputs."""

import shutil
from pathlib import Path

from ruamel.yaml import YAML

from tests.conftest import REPOSITORY, Project

PIPELINE = """
stages:
  first:
    cmd: python first.py && sh after.sh
    deps:
      - data/books
      - first.py
    params:
      - first.word
      - first.numbers
    outs:
      - made
      - reports/inputs/first.json
  second:
    cmd: python second.py && sh after.sh
    deps:
      - made
      - second.py
    params:
      - second.word
    outs:
      - end.txt
      - reports/inputs/second.json
"""
PARAMS = "first:\n  word: a\n  numbers: [1, 2.5, 1e-05]\nsecond: {word: z}\nother: 1\n"
FIRST = """
from pathlib import Path
from aura.core import checksums, files, params, stage_inputs
from ruamel.yaml import YAML

def main():
    word = YAML(typ="safe").load(Path("params.yaml"))["first"]["word"]
    with files.replaced_folder(Path("made")) as folder:
        for path in sorted(Path("data/books").rglob("*.txt")):
            (folder / path.name).write_text(word + path.read_text())
        checksums.write(folder)

stage_inputs.run("first", main)
"""
SECOND = """
from pathlib import Path
from aura.core import checksums, files, stage_inputs
from ruamel.yaml import YAML

def main():
    checksums.verify(Path("made"), "dvc repro first")
    word = YAML(typ="safe").load(Path("params.yaml"))["second"]["word"]
    texts = [path.read_text() for path in sorted(Path("made").glob("*.txt"))]
    files.write_bytes(Path("end.txt"), (word + "".join(texts)).encode())

stage_inputs.run("second", main)
"""
# Runs once what the test left in edit.sh, when the stage has ended and DVC has hashed nothing yet.
AFTER = "if [ -f edit.sh ]; then mv edit.sh edited.sh; sh edited.sh; fi\n"


def tiny_pipeline(folder: Path) -> Project:
    """The project, committed and not yet built."""
    folder.mkdir()
    project = Project(folder)
    (folder / "data/books/inner").mkdir(parents=True)
    for name in ("0.txt", "1.txt", "inner/2.txt"):
        (folder / "data/books" / name).write_text(f"text of {name}\n")
    (folder / "data/books/empty.txt").write_text("")
    (folder / "data/books/link.txt").symlink_to("0.txt")
    texts = {"dvc.yaml": PIPELINE, "params.yaml": PARAMS, "first.py": FIRST, "second.py": SECOND, "after.sh": AFTER}
    for name, text in texts.items():
        (folder / name).write_text(text)
    shutil.copy(REPOSITORY / "versions.json", folder / "versions.json")
    project.environment["PYTHONPATH"] = str(REPOSITORY)
    project.run("git", "init", "-q", "-b", "main")
    project.run("dvc", "init", "-q")
    (folder / ".dvcignore").write_text(".aura\n*.egg-info\n")
    (folder / ".gitignore").write_text("/edited.sh\n")
    project.run("git", "add", "-A")
    project.run("git", "commit", "-qm", "tiny")
    return project


def undisturbed(project: Project) -> str:
    """What end.txt must hold."""
    params = YAML(typ="safe").load(project.folder / "params.yaml")
    texts = {path.name: path.read_text() for path in (project.folder / "data/books").rglob("*.txt")}
    return params["second"]["word"] + "".join(params["first"]["word"] + texts[name] for name in sorted(texts))

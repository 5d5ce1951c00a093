"""The package as pip installs it: wheel and sdist, five lines in an empty folder, and a project of `aura init`."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from tests.conftest import MINI_PARAMS, REPOSITORY, Project, stdlib_texts

pytestmark = pytest.mark.slow

BUILD = "import sys, setuptools.build_meta as backend; print(getattr(backend, sys.argv[1])(sys.argv[2]))"
LINES = """
import aura
tokenizer = aura.train_tokenizer(["a.txt", "folder"], vocab_size=600)
ids = tokenizer.encode("Hello, wörld")
assert tokenizer.decode(ids) == "Hello, wörld"
print(tokenizer, aura.__version__, aura.__file__)
"""


def build(what: str, tree: Path, into: Path) -> Path:
    """Make a `wheel` or an `sdist` of a tree, without a network."""
    command = [sys.executable, "-c", BUILD, f"build_{what}", str(into)]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=True)
    return into / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel of this tree, and the wheel of its sdist."""
    folder = tmp_path_factory.mktemp("wheels")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=REPOSITORY, capture_output=True, check=True).stdout.decode().split("\0")
    for name in filter(None, names):
        if (REPOSITORY / name).exists() and (name.startswith("aura/") or "/" not in name):
            (folder / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / "tree" / name, follow_symlinks=False)
    sdist = build("sdist", folder / "tree", folder)
    with tarfile.open(sdist) as tar:
        tar.extractall(folder / "unpacked", filter="data")
    (again,) = (folder / "unpacked").iterdir()
    (folder / "of_sdist").mkdir()
    return build("wheel", folder / "tree", folder), build("wheel", again, folder / "of_sdist")


@pytest.fixture(scope="module")
def installed(wheels: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel of the sdist alone, which sees the other packages of this one."""
    folder = tmp_path_factory.mktemp("installed") / "env"
    venv.create(folder, symlinks=True)
    packages = folder / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), "install"]
    subprocess.run([*pip, "--quiet", "--no-deps", "--no-index", str(wheels[1])], check=True)
    found = {path.name for path in packages.iterdir()} - {"others.pth"}
    assert sorted(name.partition("-")[0] for name in found) == ["aura", "aura"]  # and its .dist-info: nothing foreign
    return folder


def outside(installed: Path, folder: Path) -> Project:
    """An empty folder in which that environment is active."""
    folder.mkdir(exist_ok=True)
    project = Project(folder)
    project.environment["PATH"] = f"{installed / 'bin'}{os.pathsep}{project.environment['PATH']}"
    del project.environment["PYTHONPATH"]
    return project


def test_wheel_and_sdist_hold_the_same(wheels: tuple[Path, Path]):
    of_tree, of_sdist = (set(zipfile.ZipFile(wheel).namelist()) for wheel in wheels)
    assert of_tree == of_sdist
    shipped = ("py.typed", "ingestion/lexicon.tsv", "template/pipeline.yaml", "report/page.html")
    assert {f"aura/{name}" for name in shipped} <= of_tree


def test_five_lines_train_in_an_empty_folder(installed: Path, tmp_path: Path):
    project = outside(installed, tmp_path / "work")
    texts = stdlib_texts(120)
    (project.folder / "a.txt").write_text("\n\n\n".join(texts[:60]), encoding="utf-8")
    (project.folder / "folder").mkdir()
    for number, text in enumerate(texts[60:]):
        (project.folder / f"folder/{number}.txt").write_text(text, encoding="utf-8")
    said = project.run("python", "-c", LINES)
    assert "600 pieces" in said.stdout
    assert str(installed) in said.stdout
    assert "a.txt: 1 files" in said.stderr
    assert sorted(path.name for path in project.folder.iterdir()) == ["a.txt", "folder"]
    refused = project.run("python", "-m", "aura.stages.train_tokenizer", "--output", "mine", check=False)
    assert "--txt_dirs" in refused.stderr


def test_a_project_of_its_own_builds_and_follows_an_upgrade(installed: Path, tmp_path: Path):
    outer = outside(installed, tmp_path / "work")
    said = outer.run("aura", "init", "demo").stdout
    assert "dvc repro" in said
    project = outside(installed, outer.folder / "demo")
    pin = project.folder / "data/sample.pin.json"
    assert json.loads(pin.read_text())["packages"]["optax"] == metadata.version("optax")
    pin.write_text(json.dumps({"packages": {"optax": metadata.version("optax")}}))  # a part is quicker
    (outer.folder / "texts").mkdir()
    for number, text in enumerate(stdlib_texts(200)):
        (outer.folder / f"texts/{number}.txt").write_text(text, encoding="utf-8")
    project.run("aura", "source", "add", "mine", "../texts")
    project.edit_params(**MINI_PARAMS)
    every = {"extract@sample", "extract@mine", "select", "train_tokenizer", "validate", "encode"}
    assert project.ran(project.run("dvc", "repro", "encode").stdout) == every
    assert (project.folder / "data/tokens/manifest.json").exists()
    project.run("git", "add", ".")
    project.run("git", "commit", "-qm", "First build")

    (code,) = installed.glob("lib/*/site-packages/aura/encode/encoding.py")
    code.write_text(code.read_text() + "\n# of a newer version\n")
    refused = project.run("python", "-m", "aura.stages.encode", check=False)
    assert "other code than this project was made with, for encode. Run: aura init --update" in refused.stderr
    assert "aura.encode: other code" in project.run("aura", "init", "--update").stdout
    assert project.ran(project.run("dvc", "repro", "encode").stdout) == {"encode"}

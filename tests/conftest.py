"""A real project on a mini corpus: this repository's files, small sources, small models, real git and DVC."""

import ast
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import absl.logging
import pytest
from filelock import FileLock
from hypothesis import settings
from ruamel.yaml import YAML

# absl, which JAX imports, closes what sys.stderr was when it was imported, here a file of pytest's, as soon as DVC
# sets up logging in the same process; a process's own standard error it leaves open.
absl.logging.get_absl_handler().python_handler.stream = sys.__stderr__

# How long an example takes says more of the machine's other work than of the code.
settings.register_profile("aura", deadline=None)
settings.load_profile("aura")

# A shell starts what it puts in the background with Ctrl-C ignored, and every program that tests start inherits it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Some machines tell Python to keep no compiled modules: pytest, and every program that tests start, would compile again
# all that they import. What is kept is copied along with a project.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

pytest_plugins = ["tests.mini_tokens", "tests.tokenizers"]  # fixtures that tests in several folders share

REPOSITORY = Path(__file__).parents[1]
# In the user's own cache folder: what others can write to must not be loaded as a program.
COMPILED = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "aura", "tests-compiled")
MINI_PARAMS = {
    "extract": {"shards": 2},
    "train_tokenizer": {"vocab_size": 700, "reserved_tokens": 4},
    "validate": {
        "min_bytes_per_token": 1.1,
        "max_fertility": 50.0,
        "max_byte_fallback_share": 0.2,
        "max_unused_share": 0.95,
        "max_group_byte_fallback_share": 0.5,
    },
    "select": {"held_out": 0.2},
    "pretrain": {
        "steps": 6,
        "batch_size": 2,
        "seq_len": 128,
        "warmup_steps": 2,
        "size": {"layers": 1, "width": 16, "heads": 2, "kv_heads": 1, "hidden": 32},
        "eval_every": 3,
        "eval_tokens": 1024,
    },
    "conversations": {"held_out": 0.2},
    "adapt": {"steps": 2, "batch_size": 2, "rank": 2, "eval_every": 2, "max_forgetting": None},
}


# Begun first, the longest first, so that at the end no process of pytest is left alone with one of them for minutes.
LONGEST = (
    "tests/slow/test_tpu_pod.py",
    "tests/slow/test_tpu_adapt.py",
    "tests/slow/test_torture.py",
    "tests/test_guide.py::test_every_command",
    "tests/slow/test_store.py",
    "tests/slow/test_users_guide.py",
    "tests/slow/test_termination.py",
    "tests/slow/test_processes.py",
    "tests/slow/test_checkpoint_kills.py",
    "tests/slow/test_kills.py",
    "tests/stages/test_pipeline.py",  # builds the project for which others would wait
    "tests/pretrain/test_mesh.py",
    "tests/stages/test_edits.py",
    "tests/sharing/test_model_versions.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of LONGEST before the others; within a file the order stays, and so its fixtures are made once."""

    def place(item: pytest.Item) -> int:
        return next((place for place, name in enumerate(LONGEST) if item.nodeid.startswith(name)), len(LONGEST))

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """Pass over all that collecting has left when garbage is looked for: modules and tests, which stay to the end."""
    gc.freeze()


class Project:
    """A folder with a copy of this repository's files, and the means to run things in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # The copy's own modules come first, also where a script is run as `python stages/NAME.py`.
        self.environment = os.environ | {
            "PYTHONPATH": str(folder),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_AUTHOR_NAME": "test",
            "GIT_AUTHOR_EMAIL": "test@example.com",
            "GIT_COMMITTER_NAME": "test",
            "GIT_COMMITTER_EMAIL": "test@example.com",
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(folder.parent / "dvc-site-cache"),
            "AURA_CACHE": "",  # the copy's own
            "COLUMNS": "200",
            # The mini model compiles for 6 s and runs for 1; what is compiled does not change what comes out.
            "JAX_COMPILATION_CACHE_DIR": str(COMPILED),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }

    def run(self, *command: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command in the project; with `check`, a failure shows what the command printed."""
        options = {"cwd": self.folder} | options
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=480, **options)
        if check and done.returncode:
            raise AssertionError(f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def edit_params(self, **sections: dict[str, object]) -> None:
        """Set keys of params.yaml, section by section, keeping the rest."""
        yaml, path = YAML(), self.folder / "params.yaml"
        values = yaml.load(path)
        for section, changes in sections.items():
            values[section].update(changes)
        yaml.dump(values, path)

    def lock(self) -> dict[str, dict[str, str]]:
        """The hash of every output in dvc.lock, by stage."""
        stages = YAML(typ="safe").load(self.folder / "dvc.lock")["stages"]
        return {stage: {out["path"]: out["md5"] for out in entry["outs"]} for stage, entry in stages.items()}

    def ran(self, output: str) -> set[str]:
        """The stages that a `dvc repro` ran, read from what it printed."""
        marks = [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]
        return set(marks)

    def copy(self, folder: Path) -> "Project":
        """The same project, outputs and cache included, in another folder."""
        copy_tree(self.folder, folder)
        return Project(folder)


def copy_tree(source: Path, target: Path) -> None:
    """Copy a folder with its links and times to a new place. The program takes a fifth of the time of `shutil`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


def stdlib_texts(count: int) -> list[str]:
    """Docstrings of standard-library modules: real English prose that every Python brings along."""
    texts = []
    for path in sorted(Path(os.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node) or ""
                if len(text) > 200:
                    texts.append(text)
        if len(texts) >= count:
            break
    return texts[:count]


def write_sources(folder: Path) -> None:
    """Fill data/ with one small source of each kind."""
    texts = stdlib_texts(420)
    for kind in ("books", "posts", "pinned"):
        (folder / "data" / kind).mkdir(parents=True)
    for number, text in enumerate(texts[:200]):
        (folder / "data/books" / f"{number:03d}.txt").write_text(text, encoding="utf-8")
    for number in range(10):
        records = [{"text": text, "n": number} for text in texts[200 + 10 * number : 210 + 10 * number]]
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (folder / "data/posts" / f"{number}.jsonl").write_text(lines, encoding="utf-8")
    for number in range(5):
        text = "\n\n\n".join(texts[300 + 20 * number : 320 + 20 * number])
        (folder / "data/pinned" / f"{number}.txt").write_text(text, encoding="utf-8")


def copy_repository(folder: Path) -> None:
    """Copy this repository's files (committed or not) to `folder`, but for tests, reports and dvc.lock."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=REPOSITORY, capture_output=True, check=True).stdout.decode().split("\0")
    for name in filter(None, names):
        if (REPOSITORY / name).exists() and not name.startswith(("tests/", "reports/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / name)
    (folder / "dvc.lock").unlink(missing_ok=True)


def new_project(folder: Path) -> Project:
    """This repository's files in `folder`, with the mini corpus and its params."""
    copy_repository(folder)
    write_sources(folder)
    versions = json.loads((folder / "versions.json").read_text())
    pin = {"packages": {"optax": versions["optax"]}}
    for name in ("sample", "conversations"):
        (folder / f"data/{name}.pin.json").write_text(json.dumps(pin), encoding="utf-8")
    project = Project(folder)
    python = [sys.executable, "-m", "aura", "source"]
    project.run(*python, "add", "books", "data/books")
    project.run(*python, "add", "posts", "data/posts")
    project.run(*python, "add", "pinned", "data/pinned", "--documents", "blank_line", "--pin")
    project.edit_params(**MINI_PARAMS)
    project.run("git", "init", "-q", "-b", "main")
    project.run("git", "add", "-A")
    project.run("git", "commit", "-qm", "mini project")
    return project


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Project:
    """The mini project after its first `dvc repro`, committed; tests must not change it.

    Built once, by whichever test process comes first.
    """
    shared = tmp_path_factory.getbasetemp() if worker_id == "master" else tmp_path_factory.getbasetemp().parent
    with FileLock(shared / "built.lock"):
        if not (shared / "built").exists():
            project = new_project(shared / "building")
            project.run("dvc", "repro", "-q")
            project.run("git", "add", "-A")
            project.run("git", "commit", "-qm", "results")
            project.run("git", "gc", "-q")  # one file, and not 500, to copy for each test
            project.folder.rename(shared / "built")
    return Project(shared / "built")


@pytest.fixture
def project(built: Project, tmp_path: Path) -> Project:
    """A copy of the built mini project that a test may change."""
    return built.copy(tmp_path / "project")


@pytest.fixture(scope="session")
def small_template(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A shared project with a tracked folder of 12 small files (`bucket.small_project`), made once; for copying."""
    from tests.bucket import small_project

    shared = tmp_path_factory.getbasetemp() if worker_id == "master" else tmp_path_factory.getbasetemp().parent
    with FileLock(shared / "small.lock"):
        if not (shared / "small").exists():
            small_project(shared / "making/small")
            (shared / "making").rename(shared / "small")
    return shared / "small/small"


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[Any]:
    """A running object store with its files in `tmp_path / "buckets"`."""
    from tests.bucket import Bucket

    bucket = Bucket(tmp_path / "buckets")
    yield bucket
    bucket.stop()


@pytest.fixture(scope="session")
def published_template(built: Project, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder with `project`, its origin `project.git`, and `buckets`: the mini project with v1.0.0 published."""
    from tests.bucket import Bucket, connect, share

    shared = tmp_path_factory.getbasetemp() if worker_id == "master" else tmp_path_factory.getbasetemp().parent
    with FileLock(shared / "published.lock"):
        if not (shared / "published").exists():
            making = shared / "publishing"
            project = built.copy(making / "project")
            project.run("dvc", "add", "-q", "data/books", "data/posts", "data/pinned")
            share(project)
            bucket = Bucket(making / "buckets")
            connect(project, bucket.address).run("aura", "publish", "v1.0.0", "--licence", "for tests")
            bucket.stop()
            project.run("git", "gc", "-q")
            project.run("git", "gc", "-q", cwd=making / "project.git")
            making.rename(shared / "published")
    return shared / "published"


@pytest.fixture
def published(published_template: Path, bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The mini project with v1.0.0 published to `bucket`, on the publisher's machine; the working directory."""
    from tests.bucket import BUCKET, connect

    shutil.rmtree(tmp_path / "buckets" / BUCKET)  # the server's folder of the empty bucket
    for name in (f"buckets/{BUCKET}", "project", "project.git"):
        copy_tree(published_template / name, tmp_path / name)
    project = connect(Project(tmp_path / "project"), bucket.address)
    for name in ("STORAGE_EMULATOR_HOST", "AURA_VERSIONS", "DVC_SITE_CACHE_DIR", "AURA_CACHE"):
        monkeypatch.setenv(name, project.environment[name])
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(name, project.environment[name])
    monkeypatch.chdir(project.folder)
    return project

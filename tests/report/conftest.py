"""A project whose `validate` has run, without DVC: what the page of a project shows, in less than a second."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from aura.core import paths
from aura.tokenizer.tokenizer import Tokenizer
from aura.validate.options import Validate
from aura.validate.validation import validate
from tests.conftest import REPOSITORY
from tests.validate.test_validation import EASY

LOCK = """schema: '2.0'
stages:
  select:
    cmd: python -m stages.select
    outs:
    - path: data/corpus/held_out
      hash: md5
      md5: {held_out}.dir
      size: 1000
"""


@pytest.fixture
def validated(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tokenizers: dict[str, Tokenizer],
    documents: list[str],
    write_corpus: Callable[[Path, list[str]], None],
) -> Path:
    """The folder of such a project, which is the working directory; it is no git repository."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    Path("params.yaml").write_bytes((REPOSITORY / "params.yaml").read_bytes())
    write_corpus(paths.HELD_OUT, documents[::10])
    paths.TOKENIZER.mkdir(parents=True)
    paths.TOKENIZER_MODEL.write_bytes(tokenizers["unigram"].proc.serialized_model_proto())
    validate(paths.TOKENIZER_MODEL, paths.HELD_OUT, Validate(**EASY), paths.VALIDATION)
    return folder


def commit(held_out: str = "a" * 32, **figures: float) -> str:
    """Commit the project in the working directory with other figures and this hash of held-out text; return the hash.

    The files themselves stay as they were.
    """
    written = {path: path.read_bytes() for path in (paths.VALIDATION / "metrics.json",)}
    for path, content in written.items():
        path.write_text(json.dumps(json.loads(content) | figures))
    write_lock(held_out)
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    for command in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "results"]):
        subprocess.run(["git", *command], check=True)
    for path, content in written.items():
        path.write_bytes(content)
    return subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()


def write_lock(held_out: str) -> None:
    """Write a dvc.lock that knows the hash of the held-out text."""
    Path("dvc.lock").write_text(LOCK.format(held_out=held_out))

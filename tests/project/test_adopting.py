"""`aura tokenizer adopt` and `leave`: params.yaml and dvc.yaml together, and the choice of a file on the Hub."""

import json
import os
import subprocess
import sys
from pathlib import Path

import mistral_common
import pytest

from aura.core import pipeline_file
from aura.core.errors import UserError
from aura.project import adopting, whole_params
from aura.stages import preamble
from tests.conftest import REPOSITORY
from tests.extract.hub_server import serving_hub

EDITED = ("params.yaml", "dvc.yaml")
MISTRAL = Path(mistral_common.__file__).parent / "data/tokenizer.model.v1"
PROGRAM = """
import sys
import huggingface_hub
from aura.core import console
from aura.core.errors import UserError
from aura.project import adopting
from aura.tokenizer import foreign

def main():
    right, without, large = sys.argv[1:]
    name, _, commit = right.removeprefix("hf://").partition("@")
    huggingface_hub.hf_hub_download(name, "tokenizer.json", revision=commit)
    for _ in range(2):
        print(adopting.fetched(right).name)
    foreign.LARGEST = 10
    for other in (without, large):
        try:
            adopting.fetched(other)
        except UserError as error:
            print(error)

console.run(main)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (*EDITED, "versions.json"):
        (tmp_path / name).write_bytes((REPOSITORY / name).read_bytes())
    (tmp_path / "tokenizer.model").write_bytes(MISTRAL.read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def edited() -> dict[str, bytes]:
    return {name: Path(name).read_bytes() for name in EDITED}


def test_a_tokenizer_enters_both_files_and_leaves_with_what_belongs_to_it(project: Path):
    before = edited()
    adopting.enter("tokenizer.model")
    assert whole_params.load().train_tokenizer.base == "tokenizer.model"
    assert pipeline_file.dependencies("train_tokenizer")[-1] == "tokenizer.model"
    params = project / "params.yaml"
    text = params.read_text().replace("  extend: 0 ", "  extend: 64 ").replace("  keep: [] ", "  keep: [sample] ")
    params.write_text(text.replace("  roles: {} ", '  roles: {pad: "</s>", user: null} '))
    assert whole_params.load().train_tokenizer.extend == 64
    adopting.leave()
    assert edited() == before


def test_another_tokenizer_takes_the_place_of_the_last(project: Path):
    (project / "other.model").write_bytes(MISTRAL.read_bytes())
    adopting.enter("tokenizer.model")
    adopting.enter("other.model")
    listed = pipeline_file.dependencies("train_tokenizer")
    assert "other.model" in listed
    assert "tokenizer.model" not in listed


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("damaged.model", b"no model", "no SentencePiece model"),
        ("damaged.json", b"{", "is not valid JSON"),
        ("none.model", None, "none.model is missing"),
        ("ranks.tiktoken", b"", "a .tiktoken file does not say how text is split"),
    ],
)
def test_a_file_that_is_no_tokenizer_changes_nothing(project: Path, name: str, content: bytes | None, words: str):
    before = edited()
    if content is not None:
        (project / name).write_bytes(content)
    with pytest.raises(UserError, match=words):
        adopting.enter(name)
    assert edited() == before


@pytest.mark.usefixtures("project")
def test_a_note_tells_of_a_tokenizer_that_dvc_does_not_watch(capsys: pytest.CaptureFixture[str]):
    adopting.enter("tokenizer.model")
    preamble.tell_untracked("train_tokenizer", "train_tokenizer.from", "./tokenizer.model")
    assert not capsys.readouterr().err
    preamble.tell_untracked("train_tokenizer", "train_tokenizer.from", "other.model")
    assert "train_tokenizer.from is other.model" in capsys.readouterr().err


def test_versions_and_the_hub_are_elsewhere_and_paths_are_not(project: Path):
    assert all(map(adopting.is_elsewhere, ("v1.2.0", "base@v1.2.0", f"hf://org/name@{'a' * 40}")))
    assert not any(map(adopting.is_elsewhere, ("tokenizer.model", "models/v1.2.0", "v1")))
    (project / "v1.2.0").mkdir()
    assert not adopting.is_elsewhere("v1.2.0")


def test_the_hubs_list_of_files_alone_chooses_and_is_asked_once(project: Path):
    """Another file in the Hub's cache changes nothing; the second call asks nobody; a large file is not fetched."""
    files = {"tokenizer.json": b"{}", "tokenizer.model": b"pieces", "original/spiece.model": b"another"}
    with serving_hub(models=True) as (hub, address):
        names = {"org/right": files, "org/without": {"a.bin": b"a"}, "org/large": {"tekken.json": b"0" * 11}}
        addresses = [f"hf://{name}@{hub.commit(name, content)}" for name, content in names.items()]
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *addresses],
            env=os.environ
            | {"HF_ENDPOINT": address, "HF_HOME": str(project / "home"), "HF_HUB_DISABLE_TELEMETRY": "1"}
            | {"HF_HUB_DISABLE_XET": "1", "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    first, second, without, large = done.stdout.splitlines()
    assert first == second == "tokenizer.model"
    assert "expected one of spiece.model, tokenizer.model, tokenizer.json, tekken.json in it, found none" in without
    assert "expected tekken.json of at most 10 bytes, got 11" in large
    asked = [line for line in hub.requests if "org/right" in line]
    assert sum("/tree/" in line for line in asked) == 1
    assert sum(line.startswith("GET") and line.endswith("/tokenizer.model") for line in asked) == 1
    assert not any("/resolve/" in line for line in hub.requests if "org/large" in line)
    kept = project / f".aura/adopted/{addresses[0].partition('@')[2]}.json"
    assert json.loads(kept.read_text()) == {"format": 1, "sizes": {"tokenizer.json": 2, "tokenizer.model": 6}}

"""`aura name-special` in the pipeline: what was made before stays valid, and `dvc repro` keeps the names."""

import hashlib
from pathlib import Path

import pytest

from aura.core import checksums
from tests.conftest import Project

pytestmark = pytest.mark.slow
NAMES = ["<|im_start|>", "<|im_end|>"]


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_naming_keeps_tokens_and_model_and_is_kept_by_repro(project: Project):
    tokens, model, unnamed = (contents(project.folder / name) for name in ("data/tokens", "models/lm", "models/spm"))
    said = project.run("aura", "name-special", *NAMES).stdout
    assert [line.split() for line in said.splitlines()[:2]] == [["14", NAMES[0]], ["15", NAMES[1]]]
    named = contents(project.folder / "models/spm")
    assert named["spiece.model"] != unnamed["spiece.model"]
    assert "train_tokenizer:" not in project.run("dvc", "status").stdout
    assert "other inputs" not in project.run("aura", "why").stdout

    # The model that was trained before goes with the named tokenizer, before anything runs again.
    assert project.run("aura", "sample", "The", "--tokens", "4").stdout.startswith("The")
    project.run("python", "-m", "aura.stages.export")
    assert contents(project.folder / "models/hf")["spiece.model"] == named["spiece.model"]
    done = project.run("dvc", "repro")
    assert project.ran(done.stdout) == {"validate", "encode", "conversations", "pretrain", "adapt", "export"}
    assert contents(project.folder / "data/tokens") == tokens
    assert contents(project.folder / "models/lm") == model
    assert NAMES[0] in (project.folder / "models/hf/tokenizer.json").read_text()

    project.run("dvc", "repro", "-f", "-s", "train_tokenizer")
    assert contents(project.folder / "models/spm") == named, "training gives the same bytes"
    said = project.run("aura", "name-special", "<tool>").stdout
    assert said.splitlines()[2].split() == ["16", "<tool>"]


def test_a_frozen_tokenizer_is_named_and_stays_frozen(project: Project):
    project.run("dvc", "freeze", "train_tokenizer")
    (project.folder / "data/books/new.txt").write_text("An entirely new document, which changes the corpus. " * 9)
    project.run("dvc", "repro", "-q", "validate")
    before = (project.folder / "models/spm/spiece.vocab").read_text().splitlines()
    project.run("aura", "name-special", *NAMES)
    project.run("dvc", "repro", "-q", "encode")
    after = (project.folder / "models/spm/spiece.vocab").read_text().splitlines()
    changed = {line.split("\t")[0] for old, line in zip(before, after, strict=True) if old != line}
    assert changed == set(NAMES)
    project.run("dvc", "unfreeze", "train_tokenizer")
    assert "train_tokenizer:" in project.run("dvc", "status").stdout, "the corpus has changed, and DVC still knows it"


def test_a_name_that_cannot_be_given_changes_nothing(project: Project):
    before = project.run("git", "status", "--porcelain").stdout
    for names, said in (
        (["<USER>"], "fixed special token"),
        ([f"<{number}>" for number in range(5)], "at most 4"),
        (["<a>", "<a>"], "twice"),
    ):
        done = project.run("aura", "name-special", *names, check=False)
        assert done.returncode == 1
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    assert project.run("git", "status", "--porcelain").stdout == before


def test_without_a_tokenizer_the_names_wait_for_one(project: Project):
    project.run("rm", "-r", "models/spm")
    said = project.run("aura", "name-special", *NAMES).stdout
    assert "Next, to make the tokenizer with them: dvc repro" in said
    project.run("dvc", "repro", "-q", "train_tokenizer")
    assert NAMES[0] in (project.folder / "models/spm/spiece.vocab").read_text()


def test_the_export_of_a_frozen_tokenizer_is_written_again(project: Project):
    """As after an update of aura that writes another tokenizer.json: the old one in models/spm, cache and dvc.lock."""
    project.run("dvc", "freeze", "train_tokenizer")
    right = contents(project.folder / "models/spm")
    old = project.folder / "models/spm/tokenizer.json"
    old.unlink()  # perhaps a link into DVC's cache
    old.write_text("{}")
    checksums.write(old.parent)
    project.run("dvc", "commit", "-f", "train_tokenizer")
    assert "aura export-tokenizer models/spm" in project.run("dvc", "repro", "validate", check=False).stderr
    assert "dvc.lock has them" in project.run("aura", "export-tokenizer").stdout
    assert contents(project.folder / "models/spm") == right
    assert "train_tokenizer:" not in project.run("dvc", "status").stdout
    project.run("dvc", "repro", "-q", "validate")
    project.run("rm", "-r", "models/spm")
    project.run("dvc", "checkout", "models/spm")
    assert contents(project.folder / "models/spm") == right

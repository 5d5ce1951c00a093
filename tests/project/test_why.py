"""`aura why`: every difference between dvc.lock and what is there is told, with its kind and both values."""

from pathlib import Path

import pytest

from aura.core.errors import UserError
from aura.project import why
from tests.conftest import Project

BEFORE = {
    "cmd": "python -m aura.stages.encode",
    "deps": [
        {"path": "aura/core/files.py", "md5": "1", "size": 10},
        {"path": "data/corpus", "md5": "2", "size": 10, "nfiles": 3},
        {"path": "data/gone", "md5": "3"},
    ],
    "params": {"params.yaml": {"encode.add_bos": True}, "versions.json": {"numpy": "1"}},
}


def test_equal_records_have_no_reason():
    assert list(why.reasons(BEFORE, BEFORE, {})) == []


def test_each_kind_of_difference_is_told_with_both_values():
    now = {
        "cmd": "python -m aura.stages.encode again",
        "deps": [
            {"path": "aura/core/files.py", "md5": "x", "size": 12},
            {"path": "data/corpus", "md5": "y", "size": 10, "nfiles": 4},
            {"path": "data/new", "md5": "z"},
            {"path": "models/spm"},
        ],
        "params": {"params.yaml": {"encode.add_bos": False}, "versions.json": {"numpy": "2"}},
    }
    assert list(why.reasons(BEFORE, now, {"data/corpus": "select"})) == [
        "command: python -m aura.stages.encode → python -m aura.stages.encode again",
        "param encode.add_bos: True → False",
        "library numpy: 1 → 2",
        "module aura/core/files.py: changed (10 → 12 bytes)",
        "output of select, data/corpus: changed (3 → 4 files)",
        "folder data/gone: no longer a dependency",
        "folder data/new: a new dependency",
        "folder models/spm: a new dependency",
    ]


def test_a_stage_that_never_ran_says_so():
    assert list(why.reasons(None, BEFORE, {})) == ["never run: dvc.lock has no record of it"]


@pytest.mark.slow
def test_in_a_project_it_names_what_dvc_would_run(project: Project, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(project.folder)
    assert why.why(None, None) == {}
    project.run("git", "tag", "before")
    project.edit_params(train_tokenizer={"vocab_size": 690})
    (project.folder / "data/books/new.txt").write_text("A new book, and of more than twenty characters.")
    module = Path("aura/select/select.py")
    module.write_text(module.read_text() + "# changed\n")
    found = why.why(None, None)
    assert found["extract@books"] == ["folder data/books: changed (200 → 201 files)"]
    assert found["select"][0].startswith("folder aura/select: changed (")
    assert found["select"][0].endswith("bytes): aura/select/select.py")
    assert [line.partition(":")[0] for line in found["select"]] == ["folder aura/select", "upstream"]
    assert found["train_tokenizer"][0] == "param train_tokenizer.vocab_size: 700 → 690"
    assert found["validate"] == ["upstream: select, train_tokenizer would run, and may give other bytes"]
    assert set(why.why("select", None)) == {"extract@books", "select"}
    ran = project.ran(project.run("dvc", "repro", "train_tokenizer").stdout)
    assert ran == {"extract@books", "select", "train_tokenizer"}
    assert set(why.why(None, None)) <= set(found) - ran
    assert "param train_tokenizer.vocab_size: 700 → 690" in why.why(None, "before")["train_tokenizer"]
    with pytest.raises(UserError, match=r"there is no stage nothing. There are: extract@"):
        why.why("nothing", None)
    with pytest.raises(UserError, match=r"expected a git revision with a dvc.lock, got nowhere"):
        why.why(None, "nowhere")
    project.run("dvc", "freeze", "train_tokenizer")
    project.edit_params(train_tokenizer={"vocab_sise": 680, "vocab_size": 680})
    assert set(why.why(None, None)) <= {"validate", "encode", "conversations", "pretrain", "adapt", "export"}
    told = project.run("aura", "why", "select", cwd=project.folder / "data/books")
    assert told.stdout == (
        "nothing would run: everything is as dvc.lock records it\n"
        "frozen, so dvc repro keeps what they made: train_tokenizer. To end it: dvc unfreeze train_tokenizer\n"
    )
    assert "warning: params.yaml: unknown key train_tokenizer.vocab_sise" in told.stderr

"""Users' mistakes: each ends with one clear message and no traceback."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import Project


def message(project: Project, *command: str) -> str:
    """What a failing command says on standard error, checked for being a message and not a trace."""
    done = project.run(*command, check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr + done.stdout
    assert done.stderr.count("error: ") == 1
    return done.stderr


def test_a_missing_folder(project: Project):
    shutil.rmtree(project.folder / "data/books")
    assert "No .txt files found: the folder data/books does not exist" in message(
        project, "python", "-m", "aura.stages.extract", "books"
    )
    done = project.run("dvc", "repro", check=False)
    assert "data/books" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_empty_folder(project: Project):
    for path in (project.folder / "data/books").iterdir():
        path.unlink()
    assert "No .txt or .md files found in data/books: it is empty." in message(project, "dvc", "repro")


def test_a_folder_with_no_readable_text(project: Project):
    for path in (project.folder / "data/books").iterdir():
        path.write_bytes(b"\xff\xfe\x00\xd8")
    said = message(project, "dvc", "repro")
    assert "No readable text in source books (data/books): 200 files, no document kept" in said
    assert "200 invalid UTF-16" in said


def test_a_vocabulary_larger_than_the_corpus_allows(project: Project):
    project.edit_params(train_tokenizer={"vocab_size": 90_000})
    said = message(project, "dvc", "repro")
    assert "vocab_size is 90,000, but the largest possible" in said
    largest = int(said.partition("to at most ")[2].split(",")[0].replace(".", ""))
    project.edit_params(train_tokenizer={"vocab_size": largest})
    assert project.run("dvc", "repro", "-s", "train_tokenizer").returncode == 0


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("min_chars:", "min_char:", "unknown key extract.min_char (got: 20); did you mean min_chars?"),
        ("vocab_size: 700", "vocab_size: many", "train_tokenizer.vocab_size: expected 264 to 1000000 or one of tiny"),
        ("held_out: 0.2", "held_out: 0.9", "select.held_out: expected less than or equal to 0.5; got 0.9"),
        ("extract:", "extract: [", "is not valid YAML"),
    ],
)
def test_a_malformed_params_file(project: Project, old: str, new: str, words: str):
    path = project.folder / "params.yaml"
    path.write_text(path.read_text().replace(old, new, 1))
    before = sorted(path.stat().st_mtime_ns for path in (project.folder / "data").rglob("*"))
    assert words in message(project, "python", "-m", "aura.stages.select")
    assert sorted(path.stat().st_mtime_ns for path in (project.folder / "data").rglob("*")) == before


def test_the_first_stage_tells_the_mistakes_of_every_section(project: Project):
    project.edit_params(extract={"min_chars": -1}, pretrain={"steps": "many", "sed": 0})
    done = project.run("dvc", "repro", check=False)
    assert len(project.ran(done.stdout)) == 1
    for words in (
        "extract.min_chars: expected greater than or equal to 0; got -1",
        "pretrain.steps: expected a valid integer, or auto; got 'many'",
        "unknown key pretrain.sed (got: 0); did you mean seed?",
    ):
        assert words in done.stderr


def test_a_full_disk_leaves_no_output_and_the_next_run_completes(project: Project):
    before = project.lock()["extract@books"]
    shutil.rmtree(project.folder / "data/extracted/books")
    full = (
        "mount -t tmpfs -o size=40k none data/extracted && python -m aura.stages.extract books; s=$?; ls data/extracted"
    )
    full += "; exit $s"
    done = project.run("unshare", "-rm", "sh", "-c", full, check=False)
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"this machine allows no mount name space: {done.stderr.strip()}")
    assert done.returncode == 1
    assert "error: no space left on the disk while writing" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    project.run("dvc", "repro", "-q")
    assert project.lock()["extract@books"] == before


@pytest.mark.parametrize(("stage", "output"), [("encode", "data/tokens"), ("pretrain", "models/lm")])
def test_a_full_disk_is_one_message_in_every_stage_that_writes_much(project: Project, stage: str, output: str):
    parent = Path(output).parent
    shutil.rmtree(project.folder / output)
    keep = f"cp -r {parent} ../kept && mount -t tmpfs -o size=$SIZE none {parent} && cp -r ../kept/. {parent}"
    present = [path.stat().st_size for path in (project.folder / parent).rglob("*") if path.is_file()]
    room = sum(-(-size // 4096) * 4096 for size in present) + 32_768
    command = f"SIZE={room}; {keep} && python -m aura.stages.{stage}"
    done = project.run("unshare", "-rm", "sh", "-c", command, check=False)
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"this machine allows no mount name space: {done.stderr.strip()}")
    assert "Traceback" not in done.stderr
    assert "error: no space left on the disk while writing" in done.stderr
    assert done.returncode == 1


def test_a_library_that_is_not_the_locked_one(project: Project):
    path = project.folder / "versions.json"
    path.write_text(path.read_text().replace('"pyarrow": "', '"pyarrow": "9'))
    assert "versions.json: expected pyarrow 9" in message(project, "dvc", "repro")


def test_a_source_that_select_does_not_depend_on(project: Project):
    """Added by hand in params.yaml alone, it would be extracted and then left out of every later change."""
    path = project.folder / "params.yaml"
    path.write_text(path.read_text().replace("    books:", "    extra: {kind: txt, path: data/books}\n    books:"))
    assert "expected data/extracted/NAME among select's deps for each source" in message(project, "dvc", "repro")


def test_an_output_folder_that_cannot_be_written(project: Project):
    shutil.rmtree(project.folder / "data/extracted")
    (project.folder / "data/extracted").write_text("a file in the way")
    assert "cannot write or read data/extracted" in message(project, "python", "-m", "aura.stages.extract", "books")


def test_a_read_only_output_folder(project: Project):
    shutil.rmtree(project.folder / "data/extracted/books")
    read_only = "mount --bind data/extracted data/extracted && mount -o remount,ro,bind data/extracted"
    done = project.run("unshare", "-rm", "sh", "-c", f"{read_only} && python -m aura.stages.extract books", check=False)
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"this machine allows no mount name space: {done.stderr.strip()}")
    assert "error: cannot write or read data/extracted/books: Read-only file system" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_stale_pin(project: Project):
    (project.folder / "data/pinned/0.txt").write_text("changed")
    project.edit_params(extract={"min_chars": 21})
    assert "changed 0.txt. Take the change in with: aura source scan pinned" in message(
        project, "dvc", "repro", "extract@pinned"
    )
    project.run("aura", "source", "scan", "pinned")
    project.run("dvc", "repro", "-q", "extract@pinned")


def test_an_interrupted_stage_says_how_to_go_on(project: Project):
    """Ctrl-C goes to every process of the terminal's group; here, as soon as the work has begun."""
    shutil.rmtree(project.folder / ".aura")
    versions = json.loads((project.folder / "versions.json").read_text())
    large = {"packages": {name: versions[name] for name in ("jax", "pandas", "scipy")}}  # some seconds of work
    (project.folder / "data/sample.pin.json").write_text(json.dumps(large))
    command = ["python", "-m", "aura.stages.extract", "sample"]
    options = {"cwd": project.folder, "env": project.environment, "stderr": subprocess.PIPE, "text": True}
    stage = subprocess.Popen(command, start_new_session=True, **options)
    while stage.poll() is None and not list((project.folder / "data/extracted").glob(".sample.*partial")):
        time.sleep(0.002)
    time.sleep(0.7)  # past the start of the workers, during which the signal is ignored
    os.killpg(stage.pid, signal.SIGINT)
    _, said = stage.communicate(timeout=60)
    assert (stage.returncode, said) == (130, "error: interrupted. Run the same command again to go on.\n")
    assert not list((project.folder / "data/extracted").glob(".sample.*partial"))


def test_the_tokenizer_of_another_corpus_is_refused(project: Project, tmp_path: Path):
    other = project.copy(tmp_path / "other")
    other.edit_params(train_tokenizer={"vocab_size": 650})
    other.run("dvc", "repro", "-q", "-s", "train_tokenizer")
    shutil.copytree(other.folder / "models/spm", project.folder / "models/spm", dirs_exist_ok=True)
    said = message(project, "python", "-m", "aura.stages.encode")
    assert "passed.json is for the tokenizer" in said
    assert "Run: dvc repro validate" in said

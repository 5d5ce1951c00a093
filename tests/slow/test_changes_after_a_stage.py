"""Inputs that change between a stage's comparison and DVC's hashing: said, forgotten by repair, and made again."""

from pathlib import Path

import pytest

from aura.core.bounded import bounded_yaml
from aura.one_shot import checklist
from aura.project import recorded_inputs
from tests.conftest import Project
from tests.tiny_pipeline import tiny_pipeline, undisturbed

pytestmark = pytest.mark.slow

EDITS = {  # what happens once the stage `first` has ended, and the input that is told
    "sed -i 's/word: a/word: b/' params.yaml": "first.word in params.yaml (read: 'a', recorded: 'b')",
    "sed -i 's/1, 2.5/1, 2.50001/' params.yaml": "first.numbers in params.yaml (read: [1, 2.5, 1e-05], recorded:",
    "echo '# edited' >> first.py": "first.py",
    "echo new > data/books/inner/3.txt; sed -i s/text/a/ data/books/1.txt": "data/books",
}


def wrong(project: Project, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    monkeypatch.chdir(project.folder)
    return recorded_inputs.misrecorded(Path(".dvc/cache"))


@pytest.mark.parametrize("edit", EDITS)
def test_a_change_after_the_stage_ended_is_said_and_made_good(
    tmp_path: Path, edit: str, monkeypatch: pytest.MonkeyPatch
):
    project = tiny_pipeline(tmp_path / "project")
    (project.folder / "edit.sh").write_text(edit)
    project.run("dvc", "repro", "-q")
    assert (project.folder / "edited.sh").exists()
    assert "up to date" in project.run("dvc", "status").stdout, "DVC saw it"
    assert EDITS[edit] in wrong(project, monkeypatch)["first"][0]
    assert EDITS[edit] in project.run("aura", "why").stdout
    [check] = checklist.recorded()
    assert (check.what, check.holds) == ("inputs of first", False)
    assert "Run: aura repair; dvc repro" in check.told
    done = project.run("aura", "repair")
    assert f"first is recorded with other inputs than were read ({EDITS[edit]}" in done.stdout
    assert "nothing changed" in project.run("aura", "repair").stdout
    project.run("dvc", "repro", "-q")
    assert (project.folder / "end.txt").read_text() == undisturbed(project)
    assert wrong(project, monkeypatch) == {}
    assert [check.holds for check in checklist.recorded()] == [True]
    assert "nothing would run" in project.run("aura", "why").stdout


def test_an_output_of_an_earlier_stage_that_is_replaced_after_the_stage_ended_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    project = tiny_pipeline(tmp_path / "project")
    project.run("dvc", "repro", "-q", "first")
    (project.folder / "edit.sh").write_text("sed -i 's/word: a/word: b/' params.yaml; python first.py")
    project.run("dvc", "repro", "-q", "--single-item", "second")
    project.run("dvc", "repro", "-q")  # makes the same `made`, so that `second` has nothing to do
    assert wrong(project, monkeypatch) == {"second": ["made"]}
    project.run("aura", "repair")
    project.run("dvc", "repro", "-q")
    assert (project.folder / "end.txt").read_text() == undisturbed(project)


def test_a_frozen_stage_is_left_to_the_user(tmp_path: Path):
    project = tiny_pipeline(tmp_path / "project")
    (project.folder / "edit.sh").write_text("sed -i 's/word: a/word: b/' params.yaml")
    project.run("dvc", "repro", "-q")
    project.run("dvc", "freeze", "first")
    done = project.run("aura", "repair", check=False)
    assert done.returncode == 1
    assert "is frozen. Run: dvc unfreeze first; aura repair; dvc repro" in done.stderr
    for command in ("dvc unfreeze first", "aura repair", "dvc repro -q"):
        project.run(*command.split())
    assert (project.folder / "end.txt").read_text() == undisturbed(project)


def test_honest_records_raise_no_alarm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    project = tiny_pipeline(tmp_path / "project")

    def fine(*commands: str) -> None:
        for command in commands:
            project.run("sh", "-c", command)
        assert wrong(project, monkeypatch) == {}, commands
        runs = [path.read_text() for path in (project.folder / ".dvc/cache/runs").glob("*/*/*")]
        assert all(recorded_inputs.other_inputs(bounded_yaml(run), Path(".dvc/cache")) == [] for run in runs)
        assert "other inputs" not in project.run("aura", "why").stdout

    fine("dvc repro -q", "git add -A", "git commit -qm built")
    fine("touch data/books/1.txt params.yaml first.py")
    fine("dvc repro -q")
    numbers = "numbers: [1, 2.5, 1e-05]"
    fine(f"printf 'other: 2\\n# note\\nsecond: {{word: z}}\\nfirst:\\n  {numbers}\\n  word: a\\n' > params.yaml")
    fine("dvc repro -q", "git checkout -q params.yaml")
    # The same bytes of other code, and back: what ties a result to its inputs cannot be the result alone.
    fine("git checkout -qb other", "echo '# other code' >> first.py", "dvc repro -q", "git commit -qam other")
    fine("git checkout -q main", "dvc status")
    fine("dvc repro -q", "git checkout -q other", "git checkout -q main")
    fine("sed -i 's/word: a/word: c/' params.yaml", "dvc repro -q", "git checkout -q params.yaml", "dvc repro -q")
    fine("dvc repro -q -f", "dvc freeze first", "sed -i 's/word: a/word: d/' params.yaml", "dvc repro -q")
    fine("git checkout -q params.yaml dvc.yaml", "dvc repro -q")
    fine("dvc exp run -q -n tried -S second.word=y", "git checkout -q .", "dvc checkout -q --force")
    fine("dvc exp run -q --temp -n temporary -S first.word=x", "dvc exp apply -q temporary")
    fine("git checkout -q .", "dvc checkout -q --force", "rm -rf reports made", "dvc checkout -q")


def test_a_damaged_account_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    project = tiny_pipeline(tmp_path / "project")
    (project.folder / "edit.sh").write_text("sed -i 's/word: a/word: b/' params.yaml")
    project.run("dvc", "repro", "-q")
    assert wrong(project, monkeypatch)
    digest = project.lock()["first"]["reports/inputs/first.json"]
    copies = [Path("reports/inputs/first.json"), Path(".dvc/cache/files/md5", digest[:2], digest[2:])]
    content = copies[0].read_bytes()
    for damaged in (content[:100], b"", b"{}", content.replace(b'"a"', b'"c"')):
        for copy in copies:
            copy.unlink(missing_ok=True)
            copy.write_bytes(damaged)
        assert wrong(project, monkeypatch) == {}
    for copy in copies:
        copy.unlink()
        copy.mkdir()
    assert wrong(project, monkeypatch) == {}

"""`aura doctor` and the one-shot program's checklists."""

import shutil

from tests.conftest import Project


def doctor(project: Project, *options: str) -> dict[str, str]:
    """What it says of each thing it looks at, with its mark: `[x] …` or `[ ] …`."""
    done = project.run("aura", "doctor", *options, check=False)
    assert "Traceback" not in done.stderr
    lines = [line.strip().partition(": ") for line in done.stdout.splitlines() if line.startswith("  [")]
    assert (done.returncode == 0) == all(mark.startswith(("[x]", "[!]")) for mark, _, _ in lines)
    return {mark[4:]: f"{mark[:3]} {told}" for mark, _, told in lines}


def test_a_built_pipeline_lacks_nothing_but_text(built: Project):
    told = doctor(built)
    text = told.pop("text")
    assert text.startswith("[!] ")
    assert "100 files and 10.0 MB are the least" in text
    for name in ("books", "posts"):
        assert told.pop(f"source {name}").startswith(f"[!] data/{name} is in neither git nor DVC")
    assert {name: line for name, line in told.items() if not line.startswith("[x]")} == {}
    assert told["version"] == "[x] as in dvc.lock"
    assert told["commit"] == "[x] dvc.lock is in git"
    assert "remote" not in told


def test_what_is_wrong_is_named_with_what_to_do(project: Project):
    model = project.folder / "models/spm/spiece.model"
    (project.folder / "dvc.lock").write_text((project.folder / "dvc.lock").read_text() + "\n")
    model.parent.chmod(0o755)
    golden = model.with_name("golden.json")
    content = golden.read_text().replace('"format": 1', '"format": 2')
    golden.unlink()  # DVC links files read-only into its cache
    golden.write_text(content)
    shutil.rmtree(project.folder / "reports/validate")
    told = doctor(project, "--remote")
    assert "golden.json was altered" in told["model"]
    assert told["validation"] == "[ ] not measured: dvc repro validate"
    assert told["version"].startswith("[ ] not as in dvc.lock: dvc repro")
    assert told["commit"].startswith("[ ] git add dvc.lock")
    assert told["remote"].startswith("[ ] none is configured: dvc remote add")
    model.unlink()
    assert doctor(project)["models/spm/spiece.model"] == "[ ] absent: dvc repro train_tokenizer"


def test_the_remote_is_asked_for_the_files(project: Project):
    project.run("dvc", "remote", "add", "--default", "store", "../store")
    assert doctor(project, "--remote")["remote"] == "[ ] lacks the files: dvc push models/spm"
    project.run("dvc", "push", "-q", "models/spm")
    assert doctor(project, "--remote")["remote"] == "[x] holds the files"


def test_one_shot_training_prints_both_lists(project: Project):
    done = project.run(
        "python", "stages/train_tokenizer.py", "--txt_dirs", "data/books", "--output", "mine", "--vocab_size", "500"
    )
    before, after = done.stdout.split("after training:")
    assert "before training:\n  [!] text: 200 files, 200 documents, " in before
    assert "  [x] mine/spiece.model: " in after
    assert "  [x] validation: every gate of params.yaml held" in after

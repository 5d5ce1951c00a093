"""dvc.yaml names for each stage the folders of aura that can change its bytes: those it imports from, lazily or not."""

import json
import re
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.conftest import REPOSITORY, Project

STAGES = ("extract", "select", "train_tokenizer", "validate", "encode", "conversations", "pretrain", "adapt", "export")

# Every stage imports these to check all of params.yaml. `select`, `export` and `conversations` also read a value of
# another section (extract.sources, encode.add_bos, extract.lexicon), which dvc.yaml lists under their params. So an
# edit of another stage's options changes no byte, and dvc.yaml does not list them.
WHOLE_CHECK = {
    REPOSITORY / "aura/project/whole_params.py",
    *REPOSITORY.glob("aura/*/options.py"),
    REPOSITORY / "aura/pretrain/recipe.py",  # it puts numbers in the place of `auto`, which are then checked
}
FORWARDED = {"aura/stages/__init__.py", "aura/stages/preamble.py"}  # what stages share, which decides no bytes
UNLISTED = FORWARDED | {
    path.relative_to(REPOSITORY).as_posix()
    for module in WHOLE_CHECK
    for path in (module, module.with_name("__init__.py"))
}

# Runs a stage in one process (so that what its workers import shows too) and prints what was imported.
TRACE = """
import json, os, runpy, sys
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
stage, *sys.argv[1:] = sys.argv[1:]
runpy.run_module(f"aura.stages.{stage}", run_name="__main__")
files = [module.__file__ for name, module in sys.modules.items() if name.split(".")[0] == "aura"]
print("imported", json.dumps(sorted(os.path.relpath(file) for file in files)))
"""


def pipeline() -> dict[str, dict[str, object]]:
    stages = YAML(typ="safe").load(REPOSITORY / "dvc.yaml")["stages"]
    return {name: entry.get("do", entry) for name, entry in stages.items()}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_lists_the_folders_that_it_imports_from(built: Project, tmp_path: Path, stage: str):
    project = built.copy(tmp_path / "project")
    project.environment["AURA_CACHE"] = str(tmp_path / "empty")  # what a hit would spare shows too
    arguments = {"extract": ["books"]}.get(stage, [])
    traced = project.run(sys.executable, "-c", TRACE, stage, *arguments).stdout
    imported = json.loads(traced.rpartition("imported ")[2])
    assert f"aura/stages/{stage}.py" in pipeline()[stage]["deps"]
    folders = [dep for dep in map(str, pipeline()[stage]["deps"]) if re.fullmatch(r"aura/\w+", dep)]
    inside = {path: next((one for one in folders if path.startswith(f"{one}/")), None) for path in imported}
    assert {path for path, folder in inside.items() if folder is None} - UNLISTED == {"aura/__init__.py"}
    assert set(folders) == {folder for path, folder in inside.items() if folder and path not in UNLISTED}
    assert "aura/project/whole_params.py" in imported


def test_stages_scripts_and_sections_share_their_names():
    modules = {path.stem for path in (REPOSITORY / "aura/stages").glob("*.py")} - {"__init__", "preamble"}
    scripts = {path.stem for path in (REPOSITORY / "stages").glob("*.py")} - {"__init__"}
    sections = set(YAML(typ="safe").load(REPOSITORY / "params.yaml")) - {"cache", "cluster", "store"}  # of no one stage
    assert set(pipeline()) == modules == scripts == sections == set(STAGES)


def test_select_lists_every_source():
    sources = YAML(typ="safe").load(REPOSITORY / "params.yaml")["extract"]["sources"]
    listed = [dep for dep in pipeline()["select"]["deps"] if str(dep).startswith("data/")]
    assert listed == [f"data/extracted/{name}" for name in sources]


def test_the_pipeline_is_a_page_that_can_be_read():
    lines = (REPOSITORY / "dvc.yaml").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 456
    assert sum("aura/" in line for line in lines) <= 73

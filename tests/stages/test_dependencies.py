"""dvc.yaml names for each stage exactly the aura modules that its script imports, lazily or not."""

import json
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.conftest import REPOSITORY, Project

STAGES = ("extract", "select", "train_tokenizer", "validate", "encode", "pretrain", "export")

# Runs a stage in one process (so that what its workers import shows too) and prints what was imported.
TRACE = """
import json, os, runpy, sys
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
stage, *sys.argv[1:] = sys.argv[1:]
runpy.run_module(f"stages.{stage}", run_name="__main__")
files = [module.__file__ for name, module in sys.modules.items() if name.split(".")[0] == "aura"]
print("imported", json.dumps(sorted(os.path.relpath(file) for file in files)))
"""


def pipeline() -> dict[str, dict[str, object]]:
    stages = YAML(typ="safe").load(REPOSITORY / "dvc.yaml")["stages"]
    return {name: entry.get("do", entry) for name, entry in stages.items()}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_lists_exactly_the_modules_it_imports(built: Project, tmp_path: Path, stage: str):
    project = built.copy(tmp_path / "project")
    project.environment["AURA_CACHE"] = str(tmp_path / "empty")  # what a hit would spare shows too
    arguments = {"extract": ["books"]}.get(stage, [])
    traced = project.run(sys.executable, "-c", TRACE, stage, *arguments).stdout
    imported = json.loads(traced.rpartition("imported ")[2])
    listed = [dep for dep in pipeline()[stage]["deps"] if str(dep).startswith("aura/") and str(dep).endswith(".py")]
    assert listed == sorted(listed, key=lambda path: (path.count("/"), path)), "keep the list in order"
    assert sorted(listed) == imported


def test_stages_scripts_and_sections_share_their_names():
    scripts = {path.stem for path in (REPOSITORY / "stages").glob("*.py")} - {"__init__"}
    sections = set(YAML(typ="safe").load(REPOSITORY / "params.yaml")) - {"cache", "cluster", "store"}  # of no one stage
    assert set(pipeline()) == scripts == sections | {"export"} == set(STAGES)  # which has no options


def test_select_lists_every_source():
    sources = YAML(typ="safe").load(REPOSITORY / "params.yaml")["extract"]["sources"]
    listed = [dep for dep in pipeline()["select"]["deps"] if str(dep).startswith("data/")]
    assert listed == [f"data/extracted/{name}" for name in sources]

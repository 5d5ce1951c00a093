"""dvc.yaml as DVC writes it, so that a command of DVC which edits it changes the lines that it means."""

from pathlib import Path

from dvc.repo import Repo
from dvc.stage.serialize import to_pipeline_file
from dvc.utils.serialize import modify_yaml
from ruamel.yaml import YAML

from aura.project import frozen
from tests.conftest import REPOSITORY


def test_freezing_a_stage_changes_one_line(tmp_path: Path, monkeypatch):
    before = (REPOSITORY / "dvc.yaml").read_text()
    (tmp_path / "dvc.yaml").write_text(before)
    monkeypatch.chdir(tmp_path)
    assert frozen.stages() == []
    with modify_yaml("dvc.yaml") as pipeline:  # as `dvc freeze` does
        pipeline["stages"]["train_tokenizer"]["frozen"] = True
    lines = Path("dvc.yaml").read_text().splitlines()
    assert frozen.stages() == ["train_tokenizer"]
    assert "    frozen: true" in lines
    lines.remove("    frozen: true")
    assert lines == before.splitlines()


def test_dvc_would_write_each_stage_as_it_is():
    """DVC sorts deps, params, outs, metrics and plots; `dvc freeze` and `dvc unfreeze` write the whole stage."""
    ours = YAML(typ="safe").load(REPOSITORY / "dvc.yaml")["stages"]
    lexicon = YAML(typ="safe").load(REPOSITORY / "params.yaml")["extract"]["lexicon"]
    with Repo(str(REPOSITORY)) as repo:
        written = [to_pipeline_file(stage) for stage in repo.index.stages if stage.name in ours]
    assert {name for stage in written for name in stage} == ours.keys() - {"extract"}
    for stage in written:
        for name, content in stage.items():
            for part, values in content.items():
                expected = ours[name][part]
                if name == "conversations" and part == "deps":  # a template, which DVC would not write
                    expected = sorted(lexicon if dep == "${extract.lexicon}" else dep for dep in expected)
                assert (part, values) == (part, [*expected] if isinstance(expected, list) else expected)

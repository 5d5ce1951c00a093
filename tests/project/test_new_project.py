"""`aura init`: what goes into a project of one's own, what is refused, and what an upgrade takes in."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from aura.core import libraries, own_code
from aura.core.errors import UserError
from aura.core.shipped import PIPELINE
from aura.project import new_project, whole_params

SHIPPED = PIPELINE.read_text(encoding="utf-8")


def stages(text: str) -> dict[str, dict]:
    return {name: entry.get("do", entry) for name, entry in YAML(typ="safe").load(text)["stages"].items()}


def test_a_stage_lists_its_code_as_a_param_and_nothing_else_changes():
    shipped, own = stages(SHIPPED), stages(new_project.pipeline(SHIPPED))
    for name, entry in shipped.items():
        code = own_code.listed(SHIPPED)[name]
        assert f"aura/stages/{name}.py" in code
        entry["deps"] = [dep for dep in entry["deps"] if dep not in code]
        versions = next(param for param in entry["params"] if isinstance(param, dict))
        versions["versions.json"].insert(0, f"aura.{name}")
    assert own == shipped
    assert not [dep for entry in own.values() for dep in entry["deps"] if dep.startswith("aura")]


def test_the_code_of_a_stage_is_every_file_of_its_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(own_code, "PACKAGE", tmp_path / "aura")
    monkeypatch.setattr(own_code, "PIPELINE", tmp_path / "pipeline.yaml")
    own_code.PIPELINE.write_text("stages:\n  one:\n    deps:\n    - aura/a\n  two:\n    deps: \n      - aura/b.py\n")
    (tmp_path / "aura/a/deep/__pycache__").mkdir(parents=True)
    (tmp_path / "aura/b.py").write_text("b")
    before = own_code.of_stages()
    (tmp_path / "aura/a/deep/__pycache__/x.pyc").write_text("bytecode")
    assert own_code.of_stages() == before
    (tmp_path / "aura/a/deep/page.css").write_text("a")
    after = own_code.of_stages()
    assert (after["one"] != before["one"], after["two"] == before["two"]) == (True, True)
    (tmp_path / "aura/a/deep/page.css").rename(tmp_path / "aura/a/page.css")
    assert own_code.of_stages()["one"] not in (before["one"], after["one"])


def test_a_repository_keeps_what_it_has_and_an_interrupted_init_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / "README.md").write_text("Mine.\n")
    (tmp_path / ".gitignore").write_text("/secret\n")
    (tmp_path / "program.py").write_text("")
    new_project.create(tmp_path)
    (tmp_path / "dvc.yaml").unlink()  # it is written last, and no commit followed
    (tmp_path / ".dvc/config").write_text("")  # as DVC makes it
    (tmp_path / ".dvc/config.local").unlink()
    subprocess.run(["git", "-C", tmp_path, "update-ref", "-d", "HEAD"], check=True)
    new_project.create(tmp_path)
    assert "analytics = false" in (tmp_path / ".dvc/config").read_text()
    assert "site_cache_dir" in (tmp_path / ".dvc/config.local").read_text()
    subprocess.run(["git", "-C", tmp_path, "update-ref", "-d", "HEAD"], check=True)
    new_project.create(tmp_path)  # dvc.yaml was written, and no commit followed
    subprocess.run(["git", "-C", tmp_path, "rev-parse", "--verify", "-q", "HEAD"], check=True, capture_output=True)
    assert (tmp_path / "README.md").read_text() == "Mine.\n"
    ignored = (tmp_path / ".gitignore").read_text()
    assert ignored.startswith("/secret\n")
    assert ignored.count("/data/?*\n") == 1
    monkeypatch.chdir(tmp_path)
    assert list(whole_params.load().extract.sources) == ["sample"]
    assert Path(whole_params.load().extract.lexicon).exists()
    libraries.require_locked()
    assert new_project.update(tmp_path) == ([], [])
    with pytest.raises(UserError, match="is a project already"):
        new_project.create(tmp_path)


def test_an_upgrade_is_refused_until_it_is_taken_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    versions = new_project.installed()
    versions["aura"]["encode"], versions["numpy"] = "0" * 32, "1.0"
    Path("versions.json").write_text(json.dumps(versions))
    Path("dvc.yaml").write_text(new_project.pipeline(SHIPPED).replace("    - encode.add_eos\n", ""))
    rules = Path(".gitignore")
    rules.write_bytes(b"/mine\r\n" + new_project.TEMPLATE.joinpath("gitignore").read_bytes())
    rules.write_bytes(rules.read_bytes().replace(b"/reports/index.html\n", b"").replace(b"/build/", b"# /build/"))
    own = rules.read_bytes()
    with pytest.raises(UserError, match=r"expected numpy 1\.0; installed is .* aura init --update .*numpy==1\.0"):
        libraries.require_locked()
    changed, lacking = new_project.update(tmp_path)
    told = ["aura.encode: other code", "numpy: 1.0", ".gitignore: /reports/index.html"]
    assert [line.partition(" → ")[0] for line in changed] == told
    assert rules.read_bytes().startswith(own)
    assert rules.read_bytes().endswith(b"#.\n/reports/index.html\n")
    assert lacking == ["encode: params: encode.add_eos"]
    libraries.require_locked()
    assert new_project.update(tmp_path)[0] == []
    versions["aura"]["encode"] = "0" * 32
    Path("versions.json").write_text(json.dumps(new_project.installed() | {"aura": versions["aura"]}))
    with pytest.raises(UserError, match=r"other code .* for encode"):
        libraries.require_locked()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("text", "holds a.txt"),
        ("text/a.txt", "is a file"),
        ("nowhere", "is a link to nothing"),
        ("clone", "a project needs: params.yaml"),
    ],
)
def test_a_folder_with_other_things_is_left_alone(tmp_path: Path, name: str, told: str):
    (tmp_path / "text").mkdir()
    (tmp_path / "text/a.txt").write_text("text")
    (tmp_path / "clone/.git").mkdir(parents=True)
    (tmp_path / "clone/params.yaml").write_text("mine: 1\n")
    (tmp_path / "nowhere").symlink_to("missing")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=re.escape(told)):
        new_project.create(tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_clone_is_not_updated(tmp_path: Path):
    (tmp_path / "versions.json").write_text('{"numpy": "1.0"}')
    with pytest.raises(UserError, match="make setup"):
        new_project.update(tmp_path)


def test_a_clones_own_sources_store_and_cluster_stay_there():
    values = (PIPELINE.parent / "params.yaml").read_text(encoding="utf-8")
    sample = "sample: {kind: sample, path: data/sample.pin.json}"
    mine = values.replace(sample, "mine: {kind: txt, path: data/mine}").replace("store: null ", "store: gs://b/p ")
    own, pipeline = new_project._with_the_sample_alone(mine, SHIPPED.replace("extracted/sample", "extracted/mine"))
    assert list(YAML(typ="safe").load(own)["extract"]["sources"]) == ["sample"]
    assert YAML(typ="safe").load(own)["store"] is None
    assert stages(pipeline)["select"]["deps"][0] == "data/extracted/sample"

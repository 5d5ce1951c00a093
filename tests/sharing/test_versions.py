"""Versions from end to end on a real server: published once and whole, the same bytes for everyone, or refused."""

import json
import shutil
from pathlib import Path

import pytest

import aura
from aura.core import files
from aura.core.errors import UserError
from aura.sharing import delivery, publish, versions
from tests.bucket import Bucket, contents
from tests.conftest import Project

SECRETS = ("TOKEN-abc123", "ya29.", "PRIVATE KEY")


def model_of(published: Project) -> str:
    return files.sha256_file(published.folder / "models/spm/spiece.model")


def test_a_third_folder_has_it_in_python_and_then_without_a_network(
    published: Project, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    expected, address = model_of(published), f"file://{tmp_path}/project.git"
    (tmp_path / "third").mkdir()
    monkeypatch.chdir(tmp_path / "third")
    assert aura.load_tokenizer("v1.0.0", repo=address).sha256 == expected
    monkeypatch.chdir(tmp_path / "project.git")
    assert aura.load_tokenizer("v1.0.0").sha256 == expected  # in the bare repository itself, too
    monkeypatch.chdir(tmp_path / "third")
    with pytest.raises(UserError, match="in no git repository"):
        versions.repository(None)
    bucket.stop()
    shutil.rmtree(tmp_path / "project.git")
    assert aura.load_tokenizer("v1.0.0", repo=address).sha256 == expected


def test_damage_in_the_cache_of_versions_is_mended(published: Project, tmp_path: Path):
    address = f"file://{tmp_path}/project.git"
    path = versions.fetched("tokenizer@v1.0.0", address)["spiece.model"]
    path.chmod(0o644)
    path.write_bytes(b"half")
    assert versions.load_tokenizer("v1.0.0", address).sha256 == model_of(published)


def test_fetch_in_a_clone_gives_the_files_and_leaves_others_alone(published: Project):
    folder = versions.fetch("tokenizer@v1.0.0", ".", None)
    assert contents(folder) == contents(published.folder / "models/spm")
    assert versions.fetch("v1.0.0", ".", folder) == folder
    (folder / "mine").write_text("mine")
    with pytest.raises(UserError, match=r"holds other files. Name another folder: --output"):
        versions.fetch("v1.0.0", ".", folder)
    assert (folder / "mine").read_text() == "mine"


def test_a_damaged_or_missing_object_of_a_version_is_named(
    published: Project, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
):
    name = next(name for name, path in bucket.objects().items() if path.read_bytes()[:50] == _start(published))
    bucket.overwrite(name, b"other")
    monkeypatch.setattr(delivery, "PAUSES", (0, 0))
    with pytest.raises(UserError, match=rf"models/spm/spiece.model \({name}\) is damaged"):
        versions.fetch("v1.0.0", ".", None)
    bucket.delete(name)
    with pytest.raises(UserError, match=rf"models/spm/spiece.model \({name}\) is not in the bucket"):
        versions.fetch("v1.0.0", ".", None)
    assert not Path("models/tokenizer-v1.0.0").exists()
    assert publish.publish("v1.0.0", None, None) == ("tokenizer@v1.0.0", False)  # mends it
    assert (versions.fetch("v1.0.0", ".", None) / "spiece.model").read_bytes()[:50] == _start(published)


def _start(published: Project) -> bytes:
    return (published.folder / "models/spm/spiece.model").read_bytes()[:50]


@pytest.mark.usefixtures("published")
def test_an_unknown_version_is_answered_with_those_there_are():
    with pytest.raises(UserError, match=r"has no version tokenizer@v9.0.0. There are: v1.0.0"):
        versions.fetch("v9.0.0", ".", None)
    with pytest.raises(UserError, match=r"expected a version such as v1.2.0"):
        versions.fetch("latest", ".", None)


def test_the_card_tells_hashes_and_measures_and_no_place(published: Project, tmp_path: Path):
    (version,) = versions.listed(".")
    card = version.card
    assert card["sha256"]["spiece.model"] == model_of(published)
    config = json.loads((published.folder / "models/spm/spiece_config.json").read_text())
    assert card["corpus"]["hash"] == config["corpus"]["hash"]
    assert card["metrics"] == json.loads((published.folder / "reports/validate/metrics.json").read_text())
    assert card["licence"] == "for tests"
    assert versions.listed(f"file://{tmp_path}/project.git") == [version]
    text = published.run("git", "tag", "-l", "--format=%(contents)", "tokenizer@v1.0.0").stdout
    assert str(tmp_path) not in text
    assert str(Path.home()) not in text


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        ("echo >> README.md", "expected a clean git tree, found changes in README.md"),
        ("rm reports/validate/passed.json", "was not validated"),
        ("sed -i 's/: \"../: \"00/' reports/validate/passed.json", "(is for the tokenizer|not up to date)"),
        ("rm models/spm/spiece.vocab", "models/spm differs from dvc.lock"),
        ("sed -i 's/vocab_size: 700/vocab_size: 699/' params.yaml && git commit -qam x", "train_tokenizer: not up to"),
    ],
)
def test_what_is_not_fit_for_release_is_refused(published: Project, spoil: str, says: str):
    published.run("sh", "-c", spoil)
    with pytest.raises(UserError, match=says):
        publish.publish("v1.0.1", None, None)
    assert published.run("git", "tag").stdout == "tokenizer@v1.0.0\n"


def test_a_one_shot_tokenizer_that_misses_a_gate_is_refused(published: Project):
    published.edit_params(validate={"min_bytes_per_token": 9.0})
    published.run("git", "commit", "-qam", "a gate that nothing passes")
    shutil.copytree(published.folder / "models/spm", published.folder / "models/by_hand")
    with pytest.raises(UserError, match=r"misses on held-out documents:\nbytes_per_token: expected min_bytes"):
        publish.publish("v2.0.0", Path("models/by_hand"), None)

"""Teams on one bucket, from end to end: machines that share results, and secrets that they do not."""

import json
from pathlib import Path

import pytest

from aura.core import files
from aura.core.errors import UserError
from aura.sharing import publish, versions
from tests.bucket import URL, Bucket, clone, contents
from tests.conftest import Project

pytestmark = pytest.mark.slow

SECRETS = ("TOKEN-abc123", "ya29.", "PRIVATE KEY")


def model(folder: Path) -> str:
    return files.sha256_file(folder / "spiece.model")


def test_two_clones_share_one_bucket(published: Project, tmp_path: Path):
    expected, lock = model(published.folder / "models/spm"), published.lock()
    other = clone(published, tmp_path / "other")
    other.run("aura", "pull")
    assert model(other.folder / "models/spm") == expected
    assert other.ran(other.run("dvc", "repro").stdout) == set()
    assert other.run("git", "status", "--porcelain").stdout == ""
    other.edit_params(pretrain={"steps": 7})
    assert other.ran(other.run("dvc", "repro").stdout) == {"pretrain", "adapt", "export"}
    before = {stage: outs for stage, outs in lock.items() if stage not in ("pretrain", "adapt", "export")}
    assert other.lock().items() >= before.items()
    plain = clone(published, tmp_path / "plain")
    plain.run("git", "checkout", "-q", "tokenizer@v1.0.0")
    plain.run("dvc", "pull", "-q", "models/spm")
    assert model(plain.folder / "models/spm") == expected
    plain.run("dvc", "get", str(tmp_path / "project.git"), "models/spm", "--rev", "tokenizer@v1.0.0", "-o", "by_get")
    assert model(plain.folder / "by_get") == expected
    third = tmp_path / "third"
    third.mkdir()
    code = f"import aura; print(aura.load_tokenizer('v1.0.0', repo='file://{tmp_path}/project.git').sha256)"
    said = plain.run("sh", "-c", 'cd "$1" && python -c "$2"', "sh", str(third), code).stdout
    assert said.strip() == expected


def test_a_clone_without_a_lock_takes_what_others_ran(published: Project, tmp_path: Path):
    other = clone(published, tmp_path / "other")
    lock = other.lock()
    (other.folder / "dvc.lock").unlink()
    other.run("aura", "pull")
    assert other.ran(other.run("dvc", "repro", "--pull").stdout) == set()
    assert other.lock() == lock


def test_published_again_it_is_whole_and_otherwise_refused(published: Project):
    tag = published.run("git", "rev-parse", "tokenizer@v1.0.0").stdout
    assert publish.publish("v1.0.0", None, None) == ("tokenizer@v1.0.0", False)
    assert published.run("git", "rev-parse", "tokenizer@v1.0.0").stdout == tag
    published.edit_params(train_tokenizer={"vocab_size": 690})
    published.run("dvc", "repro", "-q", "validate")
    published.run("git", "commit", "-qam", "another tokenizer")
    with pytest.raises(UserError, match=r"published with other bytes, and a version never changes"):
        publish.publish("v1.0.0", None, None)
    assert publish.publish("v1.0.1", None, None) == ("tokenizer@v1.0.1", True)
    assert [version.version for version in versions.listed(".")] == ["v1.0.1", "v1.0.0"]


def test_a_one_shot_tokenizer_is_a_version_like_any_other(published: Project, tmp_path: Path):
    """Fetched by aura and by plain DVC, from the origin."""
    made = published.folder / "models/by_hand"
    program = ("python", "stages/train_tokenizer.py", "--txt_dirs", "data/books", "--vocab_size", "600")
    published.run(*program, "--output", str(made))
    assert publish.publish("v2.0.0", made, None) == ("tokenizer@v2.0.0", True)
    assert publish.publish("v2.0.0", made, None) == ("tokenizer@v2.0.0", False)
    other = clone(published, tmp_path / "other")
    other.run("aura", "fetch", "v2.0.0", "--output", "by_aura")
    other.run("dvc", "artifacts", "get", str(tmp_path / "project.git"), "tokenizer", "--rev", "v2.0.0", "-o", "by_dvc")
    other.run("git", "checkout", "-q", "tokenizer@v2.0.0")
    other.run("dvc", "pull", "-q", "models/spm")
    for folder in ("by_aura", "by_dvc", "models/spm"):
        assert contents(other.folder / folder) == {name: (made / name).read_bytes() for name in publish.FILES}


def test_no_secret_reaches_git_dvc_files_the_bucket_or_what_is_said(published: Project, bucket: Bucket, tmp_path: Path):
    """With secrets wherever they may lie: a key file, DVC's local config, the environment, the origin's address."""
    key = tmp_path / "key.json"
    key.write_text(json.dumps({"private_key": "-----BEGIN PRIVATE KEY-----TOKEN-abc123", "type": "service_account"}))
    published.run("dvc", "remote", "modify", "--local", "store", "projectname", "TOKEN-abc123")
    published.environment |= {"GOOGLE_OAUTH_ACCESS_TOKEN": "ya29.TOKEN-abc123", "HF_TOKEN": "TOKEN-abc123"}
    published.environment["GOOGLE_APPLICATION_CREDENTIALS"] = str(key)
    published.run("git", "remote", "set-url", "origin", "https://me:TOKEN-abc123@127.0.0.1:1/team.git")
    said = published.run("aura", "publish", "v1.0.0", check=False)
    assert "unable to access" in said.stderr
    published.run("git", "remote", "set-url", "origin", str(tmp_path / "project.git"))
    for command in (["remote", "set", URL], ["push"], ["pull"], ["versions"], ["fetch", "v1.0.0"], ["why"], ["gc"]):
        done = published.run("aura", *command)
        said.stdout += done.stdout + done.stderr
    (published.folder / "README.md").write_text("released")
    published.run("git", "commit", "-qam", "after")
    published.run("aura", "publish", "v1.0.1")
    texts = {"what is said": said.stdout + said.stderr}
    kept = {str(path): path for path in bucket.objects().values()}
    kept |= {str(path): path for path in (tmp_path / "project-versions").rglob("*.json")}
    tracked = published.run("git", "ls-files", "-z").stdout.split("\0")[:-1]
    kept |= {name: published.folder / name for name in tracked if (published.folder / name).exists()}
    texts |= {name: path.read_bytes().decode("latin-1") for name, path in kept.items()}  # some are pictures
    texts["tags"] = published.run("git", "tag", "-l", "--format=%(contents)").stdout
    for name, text in texts.items():
        for secret in (*SECRETS, str(key)):
            assert secret not in text, (name, secret)
    assert str(tmp_path) not in texts["tags"] + texts["dvc.lock"] + texts[".dvc/config"]

"""A launch says all that it lacks at once: files first."""

from pathlib import Path

import pytest

from aura.core import paths
from aura.core.errors import UserError
from aura.project import whole_params
from aura.tpu import failures, missing, settings
from tests.conftest import REPOSITORY
from tests.tpu.conftest import Cloud

VALUES = whole_params.load(REPOSITORY / "params.yaml")


def test_all_that_is_missing_is_told_in_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("ZONE", raising=False)
    monkeypatch.setenv("SPM_MODEL", "nope")
    with pytest.raises(UserError) as caught:
        missing.refuse(settings.place({}, {}), VALUES, None, None)
    first, *told = str(caught.value).splitlines()
    assert first == "5 things are missing:"
    wanted = ("the file nope", "DATASET: expected a folder", "checkpoint_folder", "gcloud program", "expected a zone")
    assert [word for word, line in zip(wanted, told, strict=True) if word not in line] == []
    assert "PROJECT, --project" in told[3]


def test_a_launch_that_has_all_is_let_through(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", cloud.environment()["PATH"])
    for path in (paths.TOKENIZER_MODEL, paths.TOKENS / "manifest.json"):
        path.parent.mkdir(parents=True)
        path.touch()
    values = whole_params.changed(VALUES, {"pretrain.checkpoint_folder": "gs://bucket/runs"})
    place = settings.place({"zone": "us-central2-b"}, {})
    missing.refuse(place, values, None, None)
    paths.TOKENIZER_MODEL.unlink()  # now one thing is missing, and is told alone
    with pytest.raises(UserError) as caught:
        missing.refuse(place, values, None, None)
    assert str(paths.TOKENIZER_MODEL) in str(caught.value)
    assert "things are missing" not in str(caught.value)


def test_gclouds_words_are_whole():
    advice = "ERROR: (gcloud.x) no account.\nPlease run:\n\n  $ gcloud auth login\n"
    assert failures.whole("WARNING: old\n" + advice).splitlines()[-1] == "  $ gcloud auth login"
    assert failures.whole("one\ntwo") == "one\ntwo"

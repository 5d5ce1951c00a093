"""Checkpoints in gs://, against a real object server: a longer run goes on from them, to the same bytes."""

import sys

import pytest

from aura.core import files
from tests.bucket import URL, Bucket
from tests.conftest import Project

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "aura.stages.pretrain"]


def weights_after(project: Project, **options: object) -> str:
    project.edit_params(pretrain={"checkpoint_every": 2} | options)
    project.run(*COMMAND)
    return files.sha256_file(project.folder / "models/lm/model.safetensors")


def test_a_run_goes_on_from_a_bucket_to_the_bytes_of_an_undisturbed_one(project: Project, bucket: Bucket):
    undisturbed = weights_after(project, steps=12)
    folder = f"{URL}/checkpoints"
    project.environment |= {
        "STORAGE_EMULATOR_HOST": bucket.address,  # for gcsfs, which Orbax lists and deletes by
        "TENSORSTORE_GCS_HTTP_URL": bucket.address,  # for tensorstore, which reads and writes arrays
        "GOOGLE_AUTH_TOKEN_FOR_TESTING": "none",
    }
    weights_after(project, steps=8, checkpoint_folder=folder)
    project.edit_params(pretrain={"steps": 12})
    done = project.run(*COMMAND)
    assert "moveTo" not in done.stderr  # gcsfs's warnings
    assert f"going on after step 5, from {folder}" in done.stderr  # where the decay of 8 steps began
    assert files.sha256_file(project.folder / "models/lm/model.safetensors") == undisturbed
    newest = [name for name in bucket.objects() if "-12/12/" in name]
    assert newest
    bucket.overwrite(newest[0], b"other bytes")
    again = project.run(*COMMAND)
    assert "/12 is skipped: " in again.stderr
    assert "going on after step 10" in again.stderr
    assert files.sha256_file(project.folder / "models/lm/model.safetensors") == undisturbed
    assert not [name for name in bucket.objects() if "/damaged/" in name]

"""Which run a launch is, told by all that decides what comes out."""

from dataclasses import replace

import pytest

from aura import params
from aura.errors import UserError
from aura.tpu.launch import Job
from aura.tpu.settings import Settings


def test_the_key_of_a_run_follows_all_that_decides_it_and_nothing_else(settings: Settings):
    key = Job.of(settings).key

    def with_changes(**changes) -> str:
        return Job.of(replace(settings, values=params.changed(settings.values, changes))).key

    assert with_changes(**{"pretrain.where": "tpu", "cache.max_gb": 1.0}) == key
    assert with_changes(**{"pretrain.steps": 601}) != key
    (settings.tokens / "manifest.json").write_text('{"other": 1}')
    assert Job.of(settings).key != key


def test_checkpoints_that_would_be_lost_with_the_pod_are_refused(settings: Settings):
    values = params.changed(settings.values, {"pretrain.checkpoint_folder": ".aura/checkpoints"})
    with pytest.raises(UserError, match="expected gs://"):
        Job.of(replace(settings, values=values))

"""Which run a launch is, told by all that decides what comes out."""

from dataclasses import replace

import pytest

from aura.core.errors import UserError
from aura.project import whole_params
from aura.tpu import launch
from aura.tpu.launch import Job
from aura.tpu.pod import Pod
from aura.tpu.settings import Settings
from tests.tpu.conftest import Cloud


def test_the_key_of_a_run_follows_all_that_decides_it_and_nothing_else(settings: Settings):
    key = Job.of(settings).key

    def with_changes(**changes) -> str:
        return Job.of(replace(settings, values=whole_params.changed(settings.values, changes))).key

    assert with_changes(**{"pretrain.where": "tpu", "cache.max_gb": 1.0}) == key
    assert with_changes(**{"pretrain.steps": 601}) != key
    (settings.tokens / "manifest.json").write_text('{"other": 1}')
    assert Job.of(settings).key != key


def test_checkpoints_that_would_be_lost_with_the_pod_are_refused(settings: Settings):
    values = whole_params.changed(settings.values, {"pretrain.checkpoint_folder": ".aura/checkpoints"})
    with pytest.raises(UserError, match="expected gs://"):
        Job.of(replace(settings, values=values))


@pytest.mark.parametrize(
    ("changes", "pieces", "told"),
    [
        ({"pretrain.tensor": 2}, 50_257, "to divide the vocabulary"),
        ({"pretrain.fsdp": 16}, 50_000, "to divide the number of devices"),
        ({"pretrain.batch_size": 12}, 50_000, "divisible by the 8 devices"),
    ],
)
def test_a_run_that_devices_cannot_share_rents_nothing_even_without_a_plan(
    pod: Pod, settings: Settings, cloud: Cloud, monkeypatch: pytest.MonkeyPatch, changes, pieces: int, told: str
):
    monkeypatch.setattr(Settings, "vocab_size", pieces)
    asked = replace(settings, values=whole_params.changed(settings.values, changes))
    with pytest.raises(UserError, match=told):
        launch.begin(pod, Job.of(asked), asked, plan=False)
    assert not any('"create"' in call for call in cloud.calls())

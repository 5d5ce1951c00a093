"""Variables of the launch scripts that came before: none that is set is silently ignored."""

import shutil
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aura.cli import app
from aura.core.errors import UserError
from aura.project import whole_params
from aura.stages import pretrain as stage
from aura.tpu import old_variables, settings
from tests.conftest import REPOSITORY
from tests.tpu.conftest import Cloud

GIVEN = whole_params.load(REPOSITORY / "params.yaml")
# Every variable that those scripts read, with a value that asks for something.
OLD = {
    "ACCEL": "v4-8", "VERSION": "tpu-vm-v4-base", "PORT": "12355", "REPO_URL": "https://example.com/x.git",
    "REPO_DIR": "/home/me/aura_tpu", "PYTHON_BIN": "python3", "VENV_ACTIVATE": "source x", "COORDINATOR_WORKER": "1",
    "ENABLE_OPTIMIZATIONS": "false", "OPTIMIZATION_CONFIG": "x.json", "ENABLE_TPU_OPT": "false",
    "ENABLE_NEUROPLASTICITY": "true", "ENABLE_CAUSAL": "true", "ENABLE_EVOLUTION": "true",
    "ENABLE_META_LEARNING": "true",
    "CONFIG": "en", "SPLIT": "train", "TEXT_KEY": "text", "DTYPE": "fp16", "PER_DEVICE_BATCH": "8",
    "CKPT_OUT": "models/aura/adapter.pkl", "DATASET2": "owner/other", "CONFIG2": "en", "SPLIT2": "train",
    "TEXT_KEY2": "text", "MIX_P2": "0.10", "LOCAL_JSONL": "x.jsonl", "LOCAL_JSONL2": "y.jsonl", "STEPS": "1200",
    "LR": "1e-4", "SEQ_LEN": "512", "BATCH_SIZE": "128", "MODEL_SIZE": "large", "NAME": "old", "ZONE": "us-central2-b",
    "PROJECT": "my-project",
}  # fmt: skip


@pytest.mark.parametrize("name", OLD)
def test_each_one_changes_what_is_launched_or_stops_the_launch(name: str):
    environment = {name: OLD[name]}
    told = ""
    try:
        place = settings.place({}, environment)
        run = settings.run_changes(GIVEN, {}, environment, 16)
    except UserError as error:
        told = str(error)
    assert name in told or (not told and (place, run) != (settings.place({}, {}), GIVEN))


def test_those_that_only_have_another_name_work():
    place = settings.place({}, {"ACCEL": "v4-8", "VERSION": "tpu-vm-v4-base", "PORT": "12355"})
    assert (place.accelerator, place.runtime_version, place.port) == ("v4-8", "tpu-vm-v4-base", 12355)
    environment = {"DTYPE": "bf16", "PER_DEVICE_BATCH": "8", "CKPT_OUT": "gs://bucket/run"}
    run = settings.run_changes(GIVEN, {}, environment, 16).pretrain
    assert (run.precision, run.batch_size, run.checkpoint_folder) == ("bfloat16", 128, "gs://bucket/run")
    assert settings.run_changes(GIVEN, {"batch_size": 3}, environment, 16).pretrain.batch_size == 3


@pytest.mark.parametrize(
    "environment",
    [
        {"ACCEL": "v4-8", "ACCELERATOR": "v4-32"},
        {"PER_DEVICE_BATCH": "8", "BATCH_SIZE": "100"},
        {"PER_DEVICE_BATCH": "many"},
        {"PER_DEVICE_BATCH": "0"},
    ],
)
def test_two_that_contradict_each_other_stop(environment: dict[str, str]):
    with pytest.raises(UserError, match=next(iter(environment))):
        settings.run_changes(GIVEN, {}, dict(environment) | {"_": str(settings.place({}, environment))}, 16)


def test_a_batch_per_device_needs_the_number_of_devices():
    with pytest.raises(UserError, match="expected ACCELERATOR"):
        settings.run_changes(GIVEN, {}, {"PER_DEVICE_BATCH": "8"}, None)


def test_what_asks_for_what_happens_anyway_is_let_through():
    harmless = {"ENABLE_OPTIMIZATIONS": "true", "ENABLE_CAUSAL": "false", "COORDINATOR_WORKER": "0", "DATASET2": ""}
    old_variables.refuse(harmless)
    for name, other in (("ENABLE_OPTIMIZATIONS", "false"), ("ENABLE_CAUSAL", "true"), ("DATASET2", "c4")):
        with pytest.raises(UserError, match=name):
            old_variables.refuse(harmless | {name: other})


def test_all_that_mean_nothing_are_named_at_once():
    with pytest.raises(UserError) as raised:
        settings.place({}, OLD | {"ACCELERATOR": "v4-8"})
    assert all(f"unset {name}" in str(raised.value) for name in ("DATASET2", "MIX_P2", "REPO_URL", "ENABLE_CAUSAL"))


def test_nothing_keeps_anyone_from_looking_at_a_pod_or_deleting_it():
    nonsense = dict.fromkeys(OLD, "nonsense") | {"ACCELERATOR": "v9-1", "NAME": "mine", "ZONE": "us-a1-b"}
    assert settings.place({}, nonsense | {"PROJECT": "my-project"}, by_name=True).name == "mine"


def test_the_stage_refuses_variables_that_dvc_would_not_know():
    settings.refuse_run_variables(
        GIVEN, {"STEPS": str(GIVEN.pretrain.steps), "SPM_MODEL": "models/spm/spiece.model"}, 16
    )
    with pytest.raises(UserError, match=r"-S pretrain\.steps=70; or unset STEPS"):
        settings.refuse_run_variables(GIVEN, {"STEPS": "70"}, 16)
    for name in ("SPM_MODEL", "DATASET"):
        with pytest.raises(UserError, match=f"{name}=elsewhere is set"):
            settings.refuse_run_variables(GIVEN, {name: "elsewhere"}, 16)


def aura(*arguments: str, **environment: str) -> str:
    """What `aura tpu` wrote, or the mistake that it tells the user."""
    done = CliRunner().invoke(app.app, ["tpu", *arguments], env=environment)
    if isinstance(done.exception, UserError):
        return f"error: {done.exception}"
    assert done.exit_code == 0, done.exception
    return done.stdout


def test_the_pod_that_accel_asks_for_is_the_one_that_is_rented(cloud: Cloud):
    made = aura("create", NAME="old", ZONE="us-central2-b", ACCEL="v4-8")
    assert "old (v4-8, us-central2-b) is ready" in made
    (created,) = (call for call in cloud.calls() if '"create"' in call)
    assert "--accelerator-type=v4-8" in created
    gone = aura("delete", NAME="old", ZONE="us-central2-b", ACCEL="v9-1", DATASET2="x", VERSION="nonsense")
    assert "old (v4-8, us-central2-b) is gone" in gone


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("launch", "--detach", "--delete-on-exit"), "--delete-on-exit"),
        (("launch", "--detach", "--output", "x"), "--output"),
        (("launch", "--spm-model", "nope"), "expected the file nope"),
        (("setup", "--spm-model", "nope"), "expected the file nope"),
    ],
)
def test_what_could_do_nothing_is_refused_before_anything_is_rented(
    cloud: Cloud, arguments: tuple[str, ...], told: str
):
    said = aura(*arguments, NAME="old", ZONE="us-central2-b")
    assert said.startswith("error: ")
    assert told in said
    assert not (cloud.folder / "calls.jsonl").exists() or not any('"create"' in call for call in cloud.calls())


def test_a_profile_of_a_run_on_a_pod_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "params.yaml").write_text(
        (REPOSITORY / "params.yaml").read_text().replace("where: local", "where: tpu")
    )
    shutil.copy(REPOSITORY / "versions.json", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pretrain", "--profile", "trace"])
    with pytest.raises(UserError, match="--profile"):
        stage.main()

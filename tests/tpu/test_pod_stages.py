"""Each stage that runs on a pod: its command line, the run that it is, what its workers get, and what it refuses."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from aura.cli import app
from aura.core import checksums
from aura.core.errors import UserError
from aura.project import whole_params
from aura.tokens.token_shards import TokenShards
from aura.tpu import missing, pod_inputs, settings, setup
from aura.tpu.launch import Job
from aura.tpu.pod import Pod
from aura.tpu.pod_stages import ADAPT, PRETRAIN, STAGES
from aura.tpu.settings import Settings
from tests.conftest import REPOSITORY
from tests.hugging_face.llamas import write_llama
from tests.mini_tokens import MiniTokens
from tests.tokens.test_stored_tokens import stored
from tests.tpu.conftest import Cloud

__all__ = ["stored"]
GIVEN = whole_params.load(REPOSITORY / "params.yaml")


@pytest.fixture
def adapting(settings: Settings, made: MiniTokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A project with this repository's code and all that `adapt` reads; tokenizer and tokens are real ones."""
    monkeypatch.chdir(tmp_path)
    for name in ("aura", "requirements.txt", "requirements-tpu.txt", "versions.json", "pyproject.toml"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    for folder in ADAPT.reads:
        folder.mkdir(parents=True)
        (folder / "content").write_text(folder.name)
        checksums.write(folder)
    return replace(settings, tokenizer=made.spm / "spiece.model", tokens=made.tokens, stage=ADAPT)


def test_a_worker_runs_the_stage_of_the_launch_and_its_results_come_back(adapting: Settings):
    jobs = {name: Job.of(replace(adapting, stage=stage)) for name, stage in STAGES.items()}
    assert {name: job.command for name, job in jobs.items()} == {
        "pretrain": ["python", "-m", "aura.tpu.pod_run", "pretrain"],
        "adapt": ["python", "-m", "aura.tpu.pod_run", "adapt"],
    }
    assert [str(path) for path in jobs["adapt"].results] == ["models/adapter", "models/chat", "reports/adapt"]
    assert [str(path) for path in jobs["pretrain"].results] == ["models/lm", "reports/pretrain"]
    assert jobs["adapt"].key != jobs["pretrain"].key


def test_the_key_of_an_adaptation_follows_all_that_decides_it_and_nothing_else(adapting: Settings):
    def key(stage=ADAPT, **changes: object) -> str:
        changed = whole_params.changed(adapting.values, {name.replace("__", "."): to for name, to in changes.items()})
        return Job.of(replace(adapting, values=changed, stage=stage)).key

    before = key()
    assert key(adapt__where="tpu", pretrain__where="tpu", adapt__max_forgetting=0.5, cache__max_gb=1.0) == before
    for change in ({"adapt__steps": 61}, {"pretrain__fsdp": 2}, {"encode__add_bos": False}):
        assert key(**change) != before
    assert key(PRETRAIN, adapt__steps=61, adapt__where="tpu", encode__add_bos=False) == key(PRETRAIN)
    for folder in ADAPT.reads:
        (folder / "content").write_text("another")
        checksums.write(folder)
        now = key()
        assert now != before
        before = now


def test_workers_are_told_that_the_stage_is_here(adapting: Settings):
    on_pods = whole_params.changed(adapting.values, {"adapt.where": "tpu", "pretrain.where": "tpu"})
    text = dict(setup.project_files(on_pods))["params.yaml"].decode()
    assert text.count("where: local") == 2
    assert "where: tpu" not in text


def held_out(shards: TokenShards) -> np.ndarray:
    return np.concatenate([np.asarray(ids) for ids, _ in shards.documents("held_out")])


def test_workers_that_adapt_get_the_held_out_part_as_a_set_of_its_own(
    adapting: Settings, made: MiniTokens, cloud: Cloud, pod: Pod
):
    """In place of what an earlier run left there, of which one file too many would be a mistake to the reader."""
    pod.create()
    pod.prepare()
    homes = [cloud.home(number) / "aura_tpu" for number in (0, 1)]
    for home in homes:
        (home / "data/tokens/train").mkdir(parents=True)
        (home / "data/tokens/train/old-000.npy").touch()
        (home / "models/lm").mkdir(parents=True)
        (home / "models/lm/checkpoint.json").touch()
    setup.send_what_is_read(pod, adapting)
    whole = TokenShards(made.tokens, made.tokenizer.encoding_sha256)
    for home in homes:
        shards = TokenShards(home / "data/tokens", made.tokenizer.encoding_sha256)
        shards.verify()
        np.testing.assert_array_equal(held_out(shards), held_out(whole))
        assert shards.sources("train") == []
        for folder in ADAPT.reads:
            checksums.verify(home / folder, "nobody")
    before = len(cloud.calls())
    setup.send_what_is_read(pod, adapting)
    assert not any('"scp"' in call for call in cloud.calls()[before:])


def test_the_held_out_part_of_tokens_in_a_store_stays_there(stored: TokenShards, made: MiniTokens, tmp_path: Path):
    (tmp_path / "part").mkdir()
    pod_inputs.held_out(stored.folder, made.spm / "spiece.model", tmp_path / "part")
    shards = TokenShards(tmp_path / "part", made.tokenizer.encoding_sha256)
    shards.verify()
    np.testing.assert_array_equal(held_out(shards), held_out(stored))
    assert not list((tmp_path / "part").rglob("*.npy"))


def test_all_that_an_adaptation_lacks_is_told_at_once(adapting: Settings, cloud: Cloud, made: MiniTokens):
    assert cloud.has_gcloud()
    for folder in ADAPT.reads:
        (folder / checksums.NAME).unlink()
    place = settings.place({"zone": "us-central2-b"}, {})
    lacks = lambda stage: missing.refuse(  # noqa: E731
        place, adapting.values, str(made.spm / "spiece.model"), str(made.tokens), stage
    )
    lacks(PRETRAIN)
    with pytest.raises(UserError) as caught:
        lacks(ADAPT)
    first, *told = str(caught.value).splitlines()
    assert first == "3 things are missing:"
    assert all(made_by in line for line, made_by in zip(told, ADAPT.reads.values(), strict=True))


def test_options_and_variables_of_the_run_are_those_of_the_stage():
    environment = {"STEPS": "70", "LR": "8e-4", "PER_DEVICE_BATCH": "2"}
    asked = settings.run_changes(GIVEN, {"steps": 71}, environment, 8, ADAPT)
    assert (asked.adapt.steps, asked.adapt.learning_rate, asked.adapt.batch_size) == (71, 8e-4, 16)
    assert asked.pretrain == GIVEN.pretrain
    with pytest.raises(UserError, match=r"-S adapt\.steps=70; or unset STEPS"):
        settings.refuse_run_variables(GIVEN, {"STEPS": "70"}, 8, ADAPT)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--seq-len", "64"), "pretrain.seq_len, but adapt continues the model in models/lm"),
        (("--dataset", "elsewhere"), "DATASET=elsewhere is set, but the stage reads data/tokens"),
        (("--spm-model", "elsewhere"), "SPM_MODEL=elsewhere is set, but the stage reads models/spm"),
    ],
)
def test_an_adaptation_of_another_model_or_on_other_data_is_refused(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], told: str
):
    monkeypatch.chdir(REPOSITORY)
    done = CliRunner().invoke(app.app, ["tpu", "launch", "--adapt", *arguments], env={"ZONE": "us-central2-b"})
    assert isinstance(done.exception, UserError)
    assert told in str(done.exception)
    assert not (cloud.folder / "calls.jsonl").exists()


def test_a_worker_gets_the_weights_that_a_run_begins_from(adapting: Settings, tmp_path: Path):
    """Under one path there, wherever they lie here; another base is another run."""
    write_llama(tmp_path / "a base", shards=2)
    (tmp_path / "a base/pytorch_model.bin").write_bytes(b"not read")
    values = whole_params.changed(adapting.values, {"pretrain.from": str(tmp_path / "a base")})
    begun = replace(adapting, stage=PRETRAIN, values=values)
    names = {"config.json", "model.safetensors.index.json"} | {
        f"model-0000{part}-of-00002.safetensors" for part in "12"
    }
    assert pod_inputs.base_files(begun) == {Path("models/base", name): tmp_path / "a base" / name for name in names}
    there = dict(setup.project_files(values))["params.yaml"].decode()
    assert "from: models/base" in there
    before = Job.of(begun).key
    file = tmp_path / "a base/model-00001-of-00002.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\1")
    assert Job.of(begun).key != before
    assert pod_inputs.base_files(adapting) == {}


def test_a_worker_gets_the_evaluation_sets(adapting: Settings, tmp_path: Path):
    """A file keeps its suffix and a folder its files, which tell the kind; another content is another run."""
    (tmp_path / "texts/a").mkdir(parents=True)
    (tmp_path / "texts/a/b.txt").write_text("text")
    (tmp_path / "my task.jsonl").write_text("{}")
    sets = {"texts": str(tmp_path / "texts"), "task": str(tmp_path / "my task.jsonl")}
    values = whole_params.changed(adapting.values, {"pretrain.evaluate": sets})
    begun = replace(adapting, stage=PRETRAIN, values=values)
    assert pod_inputs.evaluation_files(begun) == {
        Path("data/evaluation/texts/a/b.txt"): tmp_path / "texts/a/b.txt",
        Path("data/evaluation/task.jsonl"): tmp_path / "my task.jsonl",
    }
    there = whole_params.parse(dict(setup.project_files(values))["params.yaml"].decode(), Path("params.yaml"))
    assert there.pretrain.evaluate == {"texts": "data/evaluation/texts", "task": "data/evaluation/task.jsonl"}
    before = Job.of(begun).key
    (tmp_path / "my task.jsonl").write_text("[]")
    assert Job.of(begun).key != before
    assert pod_inputs.evaluation_files(adapting) == {}
    (tmp_path / "my task.jsonl").unlink()
    with pytest.raises(UserError, match=r"pretrain.evaluate.task: expected a file or a folder, found nothing"):
        pod_inputs.identifying(begun)

"""Adaptation from end to end, on the mini corpus with a model that was pretrained for some steps."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from aura.adapt.adapt import Inputs, Metrics, adapt, read_metrics, require_kept
from aura.adapt.facts import facts
from aura.adapt.identity import AFTERWARDS, PLACEMENT, run_identity
from aura.adapt.options import Adapt
from aura.adapt.stage import machine_here
from aura.core import files
from aura.core.errors import UserError
from aura.hugging_face.adapted_models import Outputs, write_models
from aura.hugging_face.folder import Trained
from aura.pretrain.pretrain import pretrain
from aura.tokenizer.chat_encoding import encode_conversation
from aura.tokens.conversation_shards import ConversationSplitWriter, write_manifest
from tests.mini_tokens import PARAMS, MiniTokens, tiny

NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


@dataclass(frozen=True)
class Said:
    role: str
    content: str


def small(**changes: object) -> Adapt:
    """Options of an adaptation that runs in seconds."""
    run = {"steps": 6, "batch_size": 4, "rank": 4, "eval_every": 3, "max_forgetting": None, "learning_rate": 0.02}
    return Adapt.model_validate(PARAMS.adapt.model_dump() | run | changes)


def write_conversations(mini: MiniTokens, folder: Path) -> None:
    """Sums of two numbers; every fifth is held out."""
    entries = []
    for split in ("train", "held_out"):
        with ConversationSplitWriter(folder, split) as writer:
            for number in range(100):
                if (number % 5 == 0) == (split == "held_out"):
                    one, other = NUMBERS[number % 10], NUMBERS[number // 10]
                    messages = [Said("user", f"add {one} and {other}"), Said("assistant", f"{one} and {other} it is")]
                    encoded = encode_conversation(mini.tokenizer, messages)
                    writer.add(f"sum {number}", "sums", messages, encoded)
            entries += writer.finish()
    write_manifest(folder, mini.tokenizer.encoding_sha256, entries)


@pytest.fixture(scope="session")
def ready(made: MiniTokens, tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """A pretrained model and conversations; tests must not change them."""
    return inputs_of(made, tmp_path_factory.mktemp("adapt"))


def inputs_of(made: MiniTokens, folder: Path, **changes: object) -> Inputs:
    """Pretrain a tiny model with these changes, and write the conversations beside it."""
    options = tiny(checkpoint_folder=str(folder / "checkpoints"), checkpoint_every=100, **changes)
    pretrain(made.tokens, made.spm / "spiece.model", folder / "lm", folder / "reports", options)
    write_conversations(made, folder / "conversations")
    return Inputs(folder / "conversations", folder / "lm", made.spm / "spiece.model", made.tokens)


def run(inputs: Inputs, folder: Path, machine: dict[str, object] | None = None, **changes: object) -> Metrics:
    """Adapt, and write all that the stage writes but the account of its inputs."""
    options = small(**changes)
    base = Trained.of(inputs.model, inputs.tokenizer.parent)
    outputs = Outputs(folder / "adapter", folder / "chat")

    def write(adapted) -> None:
        write_models(adapted.trained, base, facts(adapted.metrics), outputs, add_bos=True)

    run_on = tiny(**({"checkpoint_folder": str(folder / "checkpoints"), "checkpoint_every": 2} | (machine or {})))
    return adapt(inputs, folder / "reports", options, run_on, write)


def results(folder: Path) -> dict[str, str]:
    found = [path for name in ("adapter", "chat", "reports") for path in (folder / name).rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): files.sha256_file(path) for path in found if path.name != "timings.json"}


@pytest.fixture(scope="module")
def adapted(ready: Inputs, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Metrics]:
    folder = tmp_path_factory.mktemp("adapted")
    return folder, run(ready, folder)


def test_a_mesh_of_a_pod_is_one_device_here():
    here = tiny(fsdp=16, tensor=2)
    assert machine_here(here) is here
    moved = machine_here(here.model_copy(update={"where": "tpu"}))
    assert (moved.fsdp, moved.tensor) == (1, 1)


def test_answers_are_learnt_and_the_metrics_agree_with_the_plots(adapted: tuple[Path, Metrics]):
    folder, metrics = adapted
    assert metrics.response_loss < metrics.response_loss_before
    assert metrics.response_loss_fall == pytest.approx(1 - metrics.response_loss / metrics.response_loss_before)
    assert metrics.start_divergence > 0
    assert metrics.packing["conversations"] == 80
    for card in ("adapter", "chat"):
        text = (folder / card / "README.md").read_text()
        assert all(f"| {row} |" in text for row in ("layers", "trained parameters", "loss on answers, after"))
    plotted = {
        name: np.loadtxt(folder / f"reports/plots/metrics/{name}.tsv", skiprows=1)
        for name in ("loss", "response_loss", "bits_per_byte")
    }
    assert plotted["loss"][:, 0].tolist() == [1, 2, 3, 4, 5, 6]
    assert plotted["response_loss"][:, 0].tolist() == [3, 6]
    assert plotted["response_loss"][-1, 1] == metrics.response_loss
    assert plotted["bits_per_byte"][-1, 1] == metrics.bits_per_byte
    assert "--- answered by the model" in (folder / "reports/samples.txt").read_text(encoding="utf-8")


def test_a_run_that_goes_on_ends_in_the_same_bytes(
    ready: Inputs, adapted: tuple[Path, Metrics], tmp_path: Path, capsys
):
    """From the step before the last, and from the last, as if it had been killed there."""
    folder, _ = adapted
    before = results(folder)
    shutil.copytree(folder / "checkpoints", tmp_path / "checkpoints")
    run(ready, tmp_path)
    assert "going on after step 6" in capsys.readouterr().err
    assert results(tmp_path) == before
    shutil.rmtree(tmp_path / "reports")
    for name in ("6", "hashes/6.json"):
        [path] = (tmp_path / "checkpoints").glob(f"*/{name}")
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    run(ready, tmp_path)
    assert "going on after step 4" in capsys.readouterr().err
    assert results(tmp_path) == before


@pytest.mark.slow
def test_all_weights_and_own_answers_are_learnt_too(made: MiniTokens, tmp_path: Path):
    """Of all weights there is no adapter. A second run from own answers gives the same bytes.

    The windows hold the teacher's hint too, which takes most of 32 tokens.
    """
    ready = inputs_of(made, tmp_path / "base", seq_len=96)
    changes = {"rank": 0, "teach": "own", "own_every": 2, "steps": 4, "learning_rate": 0.005}
    machine = {"checkpoint_every": 100}
    metrics = run(ready, tmp_path / "one", machine, **changes)
    assert metrics.response_loss < metrics.response_loss_before
    assert {path.name for path in (tmp_path / "one/adapter").iterdir()} == {"README.md", "_SHA256SUMS"}
    run(ready, tmp_path / "other", machine, **changes)
    assert results(tmp_path / "one") == results(tmp_path / "other")


def test_a_missed_gate_says_what_to_do(adapted: tuple[Path, Metrics]):
    folder, metrics = adapted
    assert read_metrics(folder / "reports") == metrics
    require_kept(metrics, small(max_forgetting=None))
    require_kept(metrics, small(max_forgetting=100.0))
    forgot = replace(metrics, forgetting=0.2)
    with pytest.raises(UserError, match=r"at most 10\.0%, got 20\.0%.* Lower adapt\.learning_rate, .*dvc repro adapt"):
        require_kept(forgot, small(max_forgetting=0.1))


def test_what_decides_losses_has_checkpoints_of_its_own():
    data, machine = {"the model": "a", "the conversations": "b"}, tiny()

    def key(given=machine, found=data, **changes: object) -> str:
        return run_identity(small(**changes), given, found).key

    changed = {
        "seed": 1, "batch_size": 8, "learning_rate": 0.1, "rank": 2, "alpha": 1.0, "matrices": ["query"],
        "teacher_weight": 2.0, "teacher_decay": 0.5, "teach": "own", "eval_every": 1, "max_forgetting": 0.5,
        "steps": 9, "own_every": 7, "where": "tpu",
    }  # fmt: skip
    assert changed.keys() == Adapt.model_fields.keys()
    same = {name for name, value in changed.items() if key(**{name: value}) == key()}
    assert same == AFTERWARDS | PLACEMENT | {
        "steps",
        "own_every",
    }  # up to its decay a longer run is the same; no own answers
    assert key(teach="own", own_every=7) != key(teach="own")
    assert key(found=data | {"the conversations": "c"}) != key()
    assert key(given=tiny(precision="bfloat16")) != key()
    assert key(given=tiny(remat=True, accumulation=2, fsdp=2)) == key()
    assert key(given=tiny(accumulation=2), teach="own") != key(teach="own")  # each part draws by a key of its own
    assert key(found=data | {"pretrain.seq_len": 32}) != key(found=data | {"pretrain.seq_len": 64})


def test_a_run_without_held_out_conversations_says_so(ready: Inputs, made: MiniTokens, tmp_path: Path):
    with ConversationSplitWriter(tmp_path / "set", "train") as writer:
        messages = [Said("user", "add"), Said("assistant", "what?")]
        writer.add("one", "sums", messages, encode_conversation(made.tokenizer, messages))
        entries = writer.finish()
    write_manifest(tmp_path / "set", made.tokenizer.encoding_sha256, entries)
    inputs = Inputs(tmp_path / "set", ready.model, ready.tokenizer, ready.tokens)
    with pytest.raises(UserError, match=r"expected held-out conversations .*conversations\.held_out"):
        run(inputs, tmp_path)

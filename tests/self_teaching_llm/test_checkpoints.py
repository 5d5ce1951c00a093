import errno
import resource
import shutil
from pathlib import Path

import jax
import pytest

from aura import files
from aura.errors import UserError
from aura.params import Pretrain
from aura.self_teaching_llm import pretrain as program
from aura.self_teaching_llm.checkpoints import Checkpoints, run_key, usable
from tests.mini_tokens import MiniTokens, tiny

CHANGES = {
    "seed": 1, "batch_size": 4, "accumulation": 2, "seq_len": 64, "source_weights": {"a": 2.0}, "learning_rate": 0.1,
    "schedule": "cosine", "warmup_steps": 1, "weight_decay": 0.2, "grad_clip": 2.0, "z_loss": 0.1, "size": "small",
    "tied_embeddings": False, "affect_conditioning": True, "precision": "bfloat16", "remat": True, "eval_every": 2,
    "eval_tokens": 2048,
}  # fmt: skip
HARMLESS = {
    "where": "tpu", "steps": 99, "fsdp": 2, "tensor": 2, "checkpoint_folder": "elsewhere", "checkpoint_every": 7,
}  # fmt: skip


def run(mini: MiniTokens, folder: Path, **changes: object) -> str:
    """Train; the hash of the weights."""
    options = tiny(**({"checkpoint_folder": str(folder / "checkpoints"), "checkpoint_every": 2} | changes))
    program.pretrain(mini.tokens, mini.spm / "spiece.model", folder / "lm", folder / "reports", options)
    return files.sha256_file(folder / "lm/model.safetensors")


def rows(folder: Path, name: str) -> list[str]:
    return (folder / f"reports/plots/metrics/{name}.tsv").read_text().splitlines()


def test_every_option_either_decides_losses_or_is_known_not_to():
    assert CHANGES.keys() | HARMLESS.keys() == Pretrain.model_fields.keys()


@pytest.mark.parametrize("name", CHANGES)
def test_what_decides_losses_has_checkpoints_of_its_own(name: str):
    assert run_key(tiny(**{name: CHANGES[name]}), "tokens") != run_key(tiny(), "tokens")


def test_other_tokens_have_checkpoints_of_their_own():
    assert run_key(tiny(), "tokens") != run_key(tiny(), "other tokens")


@pytest.mark.parametrize("name", HARMLESS)
def test_a_run_on_other_devices_or_longer_finds_its_checkpoints(name: str):
    assert run_key(tiny(**{name: HARMLESS[name]}), "tokens") == run_key(tiny(), "tokens")


def test_a_cosine_of_another_length_is_another_run():
    assert run_key(tiny(schedule="cosine", steps=99), "tokens") != run_key(tiny(schedule="cosine"), "tokens")


@pytest.mark.parametrize(
    ("step", "written_for", "steps", "expected"),
    [(100, 100, 100, True), (60, 100, 200, True), (61, 100, 200, False), (60, 200, 100, True), (61, 200, 100, False)],
)
def test_runs_of_two_lengths_share_the_steps_before_either_decays(step, written_for, steps, expected):
    assert usable(step, written_for, tiny(steps=steps, warmup_steps=0)) is expected


def test_a_repeated_run_goes_on_and_ends_in_the_same_bytes(made: MiniTokens, tmp_path: Path, capsys):
    first = run(made, tmp_path, steps=9)
    kept = files.sha256_file(tmp_path / "reports/plots/metrics/loss.tsv")
    shutil.rmtree(tmp_path / "reports")
    shutil.rmtree(tmp_path / "lm")
    assert run(made, tmp_path, steps=9) == first
    assert "going on after step 8" in capsys.readouterr().err
    assert files.sha256_file(tmp_path / "reports/plots/metrics/loss.tsv") == kept


def test_more_steps_continue_where_the_decay_began(made: MiniTokens, tmp_path: Path, capsys):
    """And end in the bytes of a run that was as long from the beginning."""
    for folder in ("longer", "raised"):
        (tmp_path / folder).mkdir()
    longer = run(made, tmp_path / "longer", steps=16)
    run(made, tmp_path / "raised", steps=10)
    capsys.readouterr()
    assert run(made, tmp_path / "raised", steps=16) == longer
    assert "going on after step 6" in capsys.readouterr().err
    for name in ("loss", "bits_per_byte"):
        assert rows(tmp_path / "raised", name) == rows(tmp_path / "longer", name)


def test_the_newest_two_the_best_and_the_beginning_of_the_decay_are_kept(made: MiniTokens, tmp_path: Path):
    run(made, tmp_path, steps=12, eval_every=2)
    kept = {int(path.name) for path in (tmp_path / "checkpoints").glob("*/*") if path.name.isdigit()}
    bits = [float(row.split("\t")[1]) for row in rows(tmp_path, "bits_per_byte")[1:]]
    best = 2 + 2 * bits.index(min(bits))
    assert kept == {10, 12, 7, best}


def test_an_unfinished_checkpoint_is_left_out(made: MiniTokens, tmp_path: Path, capsys):
    """As a copy of a folder leaves it that was still being written: its name is right, its mark is missing."""
    first = run(made, tmp_path)
    [newest] = (tmp_path / "checkpoints").glob("*/8")
    (newest / "_CHECKPOINT_METADATA").unlink()
    capsys.readouterr()
    assert run(made, tmp_path) == first
    said = capsys.readouterr().err
    assert "8 was never completed" in said
    assert "going on after step 6" in said


def test_a_damaged_checkpoint_is_named(made: MiniTokens, tmp_path: Path):
    run(made, tmp_path)
    [newest] = (tmp_path / "checkpoints").glob("*/8")
    for file in (newest / "state").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    with pytest.raises(UserError, match=r"/8: expected a whole checkpoint.*Remove that folder"):
        run(made, tmp_path)


def test_a_save_that_fails_in_the_background_is_told_at_the_next_step(tmp_path: Path):
    """By a limit on the size of files, which stops the writer as a full disk would."""
    saves = Checkpoints(tiny(checkpoint_folder=str(tmp_path), checkpoint_every=1), "tokens")
    state = {"weights": jax.random.normal(jax.random.key(0), (1 << 18,))}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        saves.save(1, state, {}, None)
        with pytest.raises(UserError, match="checkpoint of step 1 could not be written"):
            saves.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_second_run_in_one_folder_is_told_as_that(tmp_path: Path):
    options = tiny(checkpoint_folder=str(tmp_path), checkpoint_every=1)
    one, two = Checkpoints(options, "tokens"), Checkpoints(options, "tokens")
    state = {"step": jax.numpy.zeros(())}
    one.save(1, state, {}, None)
    one.close()
    two.save(2, state, {}, None)
    two.close()
    with pytest.raises(UserError, match=r"Another run writes to this folder.*pretrain\.checkpoint_folder") as raised:
        Checkpoints(options, "tokens").save(2, state, {}, None)
    assert "Make room" not in str(raised.value)


@pytest.mark.parametrize(
    ("number", "told"), [(errno.ENOSPC, "Make room"), (errno.EACCES, "permissions"), (errno.EEXIST, "Another run")]
)
def test_a_failed_save_says_what_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, told: str):
    saves = Checkpoints(tiny(checkpoint_folder=str(tmp_path), checkpoint_every=1), "tokens")

    def fail() -> None:
        raise OSError(number, "told by the system")

    monkeypatch.setattr(saves, "_open", fail)
    with pytest.raises(UserError, match=told):
        saves.save(1, {"step": jax.numpy.zeros(())}, {}, None)


def test_a_short_run_saves_nothing(made: MiniTokens, tmp_path: Path):
    run(made, tmp_path, checkpoint_every=1000)
    assert not (tmp_path / "checkpoints").exists()

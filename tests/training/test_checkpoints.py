import errno
import os
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from dvclive import Live

from aura.core import files
from aura.core.errors import UserError
from aura.model.options import MODEL_SIZES
from aura.pretrain import identity
from aura.pretrain import pretrain as program
from aura.pretrain.identity import COLUMNS, run_identity
from aura.pretrain.options import Pretrain
from aura.tokens.token_shards import TokenShards
from aura.tpu.pod_run import describe
from aura.training import run_identity as run_identity_module
from aura.training import side_files
from aura.training.checkpoints import Checkpoints
from aura.training.history import BLOCK, History, Row
from aura.training.timings import Attempts
from tests.mini_tokens import MiniTokens, tiny
from tests.pretraining_runs import checkpoints_of, row_of

CHANGES = {
    "seed": 1, "batch_size": 4, "seq_len": 64, "source_weights": {"a": 2.0}, "learning_rate": 0.1,
    "schedule": "cosine", "warmup_steps": 1, "weight_decay": 0.2, "grad_clip": 2.0, "z_loss": 0.1, "size": "small",
    "tied_embeddings": False, "affect_conditioning": True, "precision": "bfloat16", "train_embeddings_first": 3,
    "skip": [[3, 4]], "spike_limit": 9.0, "optimizer": "adamw", "qk_norm": True, "rope_base": 500.0,
    "document_masks": True,
}  # fmt: skip
HARMLESS = {
    "where": "tpu", "steps": 99, "fsdp": 2, "tensor": 2, "checkpoint_folder": "elsewhere", "checkpoint_every": 7,
    "accumulation": 2, "remat": True, "eval_every": 2, "eval_tokens": 2048, "evaluate": {"a": "b.txt"},
    "token_budget": 7,  # of `steps: auto` alone
    "from": "a folder",  # its bytes decide, see tests/pretrain/test_base.py
}  # fmt: skip


def run(mini: MiniTokens, folder: Path, **changes: object) -> str:
    """Train; the hash of the weights."""
    options = tiny(**({"checkpoint_folder": str(folder / "checkpoints"), "checkpoint_every": 2} | changes))
    program.pretrain(mini.tokens, mini.spm / "spiece.model", folder / "lm", folder / "reports", options)
    return files.sha256_file(folder / "lm/model.safetensors")


def key(options: Pretrain, tokens: str) -> str:
    return run_identity(options, tokens).key


def rows(folder: Path, name: str) -> list[str]:
    return (folder / f"reports/plots/metrics/{name}.tsv").read_text().splitlines()


def test_every_option_either_decides_losses_or_is_known_not_to():
    names = {field.alias or name for name, field in Pretrain.model_fields.items()}
    assert CHANGES.keys() | HARMLESS.keys() == names


@pytest.mark.parametrize("name", CHANGES)
def test_what_decides_losses_has_checkpoints_of_its_own(name: str):
    assert key(tiny(**{name: CHANGES[name]}), "tokens") != key(tiny(), "tokens")


def test_other_tokens_have_checkpoints_of_their_own():
    assert key(tiny(), "tokens") != key(tiny(), "other tokens")


@pytest.mark.parametrize("name", HARMLESS)
def test_a_run_on_other_devices_or_longer_finds_its_checkpoints(name: str):
    fixed = {"learning_rate": 0.01}  # `auto` is another number for a run that begins from weights
    assert key(tiny(**fixed, **{name: HARMLESS[name]}), "tokens") == key(tiny(**fixed), "tokens")


def test_a_cosine_of_another_length_is_another_run():
    assert key(tiny(schedule="cosine", steps=99), "tokens") != key(tiny(schedule="cosine"), "tokens")


@pytest.mark.parametrize(
    ("step", "written_for", "steps", "expected"),
    [(100, 100, 100, True), (60, 100, 200, True), (61, 100, 200, False), (60, 200, 100, True), (61, 200, 100, False)],
)
def test_runs_of_two_lengths_share_the_steps_before_either_decays(step, written_for, steps, expected):
    assert run_identity(tiny(steps=steps, warmup_steps=0), "tokens").usable(step, written_for) is expected


def test_a_repeated_run_goes_on_and_ends_in_the_same_bytes(made: MiniTokens, tmp_path: Path, capsys):
    first = run(made, tmp_path, steps=9)
    kept = files.sha256_file(tmp_path / "reports/plots/metrics/loss.tsv")
    shutil.rmtree(tmp_path / "reports")
    shutil.rmtree(tmp_path / "lm")
    assert run(made, tmp_path, steps=9) == first
    assert "going on after step 9" in capsys.readouterr().err  # the last step is saved, though 9 is odd
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


def test_a_run_that_passes_over_batches_goes_on_from_before_them(made: MiniTokens, tmp_path: Path, capsys):
    """And ends in the bytes of a run that passed over them from the beginning; a later pair goes on from it in turn."""
    more = {"steps": 10, "skip": [[8, 8], [10, 10]]}
    for folder in ("whole", "added"):
        (tmp_path / folder).mkdir()
    hashes = [run(made, tmp_path / "whole", **more), run(made, tmp_path / "added", steps=10)]
    capsys.readouterr()
    hashes.append(run(made, tmp_path / "added", steps=10, skip=[[8, 8]]))
    assert "going on after step 6" in capsys.readouterr().err  # at 8, the first run had taken batch 8
    assert run(made, tmp_path / "added", **more) == hashes[0]
    assert "going on after step 8" in capsys.readouterr().err
    assert len(set(hashes)) == 3
    assert rows(tmp_path / "added", "loss") == rows(tmp_path / "whole", "loss")


def test_the_newest_two_the_best_and_the_beginning_of_the_decay_are_kept(made: MiniTokens, tmp_path: Path):
    run(made, tmp_path, steps=12, eval_every=2)
    kept = {int(path.name) for path in (tmp_path / "checkpoints").glob("*/*") if path.name.isdigit()}
    bits = [float(row.split("\t")[1]) for row in rows(tmp_path, "bits_per_byte")[1:]]
    best = 2 + 2 * bits.index(min(bits))
    assert kept == {10, 12, 7, best}


def test_the_best_one_is_kept_by_a_resumed_run_too(tmp_path: Path):
    """Also by one that was killed after each save, and where a step was not evaluated."""
    options, state = tiny(steps=12, checkpoint_folder=str(tmp_path), checkpoint_every=1), {"weights": np.zeros(3)}
    for step, bits in enumerate([3.0, 1.0, 2.0, None, 1.5, 2.0, 1.2, 1.1, 1.0 + 1e-9], start=1):
        saves = checkpoints_of(options)
        saves.save(row_of(step, 2.0, 1.0, 0.1, bits), state)
        saves.close()
    assert {int(path.name) for path in tmp_path.glob("*/*") if path.name.isdigit()} == {2, 7, 8, 9}  # 7: the decay


def test_an_unfinished_checkpoint_is_left_out(made: MiniTokens, tmp_path: Path, capsys):
    """As a copy of a folder leaves it that was still being written: its name is right, its mark is missing."""
    first = run(made, tmp_path)
    [newest] = (tmp_path / "checkpoints").glob("*/8")
    (newest / "_CHECKPOINT_METADATA").unlink()
    (newest.parent / "hashes/8.json").unlink()
    capsys.readouterr()
    assert run(made, tmp_path) == first
    said = capsys.readouterr().err
    assert "8 was never completed" in said
    assert "going on after step 6" in said


def save_steps(folder: Path, *steps: int) -> Path:
    """Checkpoints of a run without a model, whose state is its step; returns their folder."""
    saves = checkpoints_of(tiny(checkpoint_folder=str(folder), checkpoint_every=1))
    for step in steps:
        saves.save(row_of(step, 2.0, 1.0, 0.1), {"weights": np.full(3, float(step))})
    saves.close()
    return Path(saves.folder)


def restore_step(folder: Path) -> int:
    """The step that a run goes on from; its state must be that step's."""
    saves = checkpoints_of(tiny(checkpoint_folder=str(folder), checkpoint_every=1))
    try:
        restored = saves.restore({"weights": jax.ShapeDtypeStruct((3,), np.float64)})
    finally:
        saves.close()
    assert restored is not None
    assert np.asarray(restored.state["weights"]).tolist() == [float(restored.step)] * 3
    return restored.step


def test_a_run_whose_newest_checkpoint_is_damaged_ends_in_the_same_bytes(made: MiniTokens, tmp_path: Path, capsys):
    first = run(made, tmp_path)
    before = results(tmp_path)
    [newest] = (tmp_path / "checkpoints").glob("*/8")
    file = max((path for path in newest.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    capsys.readouterr()
    assert run(made, tmp_path) == first
    said = capsys.readouterr().err
    assert "/8 is skipped" in said
    assert "going on after step 6" in said
    assert results(tmp_path) == before


@pytest.mark.parametrize("damage", ["a bit", "cut", "empty", "missing", "the folder", "swapped", "the seal", "no seal"])
def test_a_damaged_checkpoint_is_skipped_and_told(tmp_path: Path, capsys, damage: str):
    folder = save_steps(tmp_path, 5, 7, 8)  # 5: where the decay begins
    newest, seal = folder / "8", folder / "hashes/8.json"
    file = max((path for path in newest.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    content = file.read_bytes()
    half = len(content) // 2
    bit = content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :]
    if damage == "swapped":
        newest.rename(folder / "kept")
        (folder / "7").rename(newest)
        (folder / "kept").rename(folder / "7")
    elif damage == "the seal":
        seal.write_text(seal.read_text().replace("state", "Ktate", 1))
    elif damage in ("missing", "no seal"):
        (file if damage == "missing" else seal).unlink()
    elif damage == "the folder":
        shutil.rmtree(newest)
    else:
        file.write_bytes({"a bit": bit, "cut": content[:half], "empty": b""}[damage])
    capsys.readouterr()
    assert restore_step(tmp_path) == (5 if damage == "swapped" else 7)
    said = capsys.readouterr().err
    assert ("/8 was never completed" if damage == "no seal" else "/8 is skipped") in said


def forget_seals(folder: Path) -> None:
    """Leave a run's folder as a version of aura left it that wrote no seals."""
    shutil.rmtree(folder / "hashes")
    described = files.read_json(folder / "run.json", made_by="")
    del described["sealed"]
    files.write_json(folder / "run.json", described)


def everything(folder: Path) -> dict[str, bytes]:
    """All files below a folder but the lock, which says who holds it."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if name != "lock"}


@pytest.mark.parametrize("name", ["4/_CHECKPOINT_METADATA", "4/record/metadata", "hashes/4.json", "run.json"])
def test_a_file_that_cannot_be_read_ends_the_run_and_nothing_is_removed(tmp_path: Path, name: str):
    """The disk fails for one of the newest checkpoint: that proves no damage."""
    folder = save_steps(tmp_path, 3, 4)
    kept = (folder / name).rename(tmp_path / "kept")
    before = everything(folder)
    (folder / name).symlink_to("/proc/self/mem")  # a read of its first byte fails with EIO
    with pytest.raises(UserError, match=r"Input/output error\. Nothing was removed") as raised:
        restore_step(tmp_path)
    assert "\n" not in str(raised.value)
    (folder / name).unlink()
    assert everything(folder) == before
    kept.rename(folder / name)
    assert restore_step(tmp_path) == 4


def test_a_damaged_checkpoint_is_kept_until_a_newer_one_is_sealed(tmp_path: Path):
    folder = save_steps(tmp_path, 3, 4, 5)
    content = bytes(20)
    (folder / "5/record/metadata").write_bytes(content)
    assert restore_step(tmp_path) == 4
    assert (folder / "damaged/5/record/metadata").read_bytes() == content
    assert restore_step(tmp_path) == 4
    save_steps(tmp_path, 5)
    assert not list((folder / "damaged").iterdir())
    assert restore_step(tmp_path) == 5


def test_checkpoints_of_an_earlier_version_are_taken_and_sealed(tmp_path: Path, capsys):
    folder = save_steps(tmp_path, 3, 4)
    forget_seals(folder)
    before = everything(folder)
    assert restore_step(tmp_path) == 4
    assert "4 is taken unverified: an earlier version" in capsys.readouterr().err
    assert everything(folder).items() >= before.items()
    assert restore_step(tmp_path) == 4
    assert capsys.readouterr().err == ""
    save_steps(tmp_path, 5)
    (folder / "5/record/metadata").write_bytes(b"{}")
    assert restore_step(tmp_path) == 4


def test_a_damaged_checkpoint_of_an_earlier_version_is_moved_by_the_command_that_is_told(tmp_path: Path):
    folder = save_steps(tmp_path, 3, 4)
    forget_seals(folder)
    for path in (folder / "4/state").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    before = everything(folder)
    with pytest.raises(UserError, match=r"/4: expected a whole checkpoint.*Nothing was removed") as raised:
        restore_step(tmp_path)
    assert everything(folder) == before
    subprocess.run(["sh", "-c", str(raised.value).rpartition("the checkpoint before it: ")[2]], check=True)
    assert restore_step(tmp_path) == 3


def test_a_damaged_line_of_the_history_is_never_another_row():
    for row in (row_of(7, 2.5, 1.25, 1e-4, 3.125), row_of(8, 2.5, 1.25, 1e-4)):
        line = row.to_line(COLUMNS)
        assert Row.from_line(line, COLUMNS) == row
        assert Row.from_line(line.rpartition("\t")[0] + "\n", COLUMNS) == row  # as an earlier version wrote it
        for place in range(8 * len(line)):
            altered = bytearray(line.encode())
            altered[place // 8] ^= 1 << place % 8
            lines = altered.decode(errors="replace").splitlines(keepends=True)
            assert {Row.from_line(one, COLUMNS) for one in lines} <= {None, row}
        assert not any(Row.from_line(line[:end], COLUMNS) for end in range(len(line)))


def test_a_run_whose_checkpoints_are_all_damaged_says_how_to_begin_anew(made: MiniTokens, tmp_path: Path):
    first = run(made, tmp_path)
    for metadata in (tmp_path / "checkpoints").glob("*/*/_CHECKPOINT_METADATA"):
        metadata.write_bytes(b"")
    with pytest.raises(UserError, match="every checkpoint of this run is damaged") as raised:
        run(made, tmp_path)
    subprocess.run(["sh", "-c", str(raised.value).rpartition("begin at step 0 with: ")[2]], check=True)
    assert run(made, tmp_path) == first


def test_a_folder_in_use_is_refused_with_its_holder(made: MiniTokens, tmp_path: Path):
    options = tiny(checkpoint_folder=str(tmp_path / "checkpoints"), checkpoint_every=2)
    holder = checkpoints_of(options, TokenShards(made.tokens, made.tokenizer.encoding_sha256).sha256)
    holder.lock()
    with pytest.raises(UserError, match=f"is in use by process {os.getpid()} of"):
        run(made, tmp_path)
    holder.unlock()
    run(made, tmp_path)


def test_a_save_that_fails_in_the_background_is_told_at_the_next_step(tmp_path: Path):
    """By a limit on the size of files, which stops the writer as a full disk would."""
    saves = checkpoints_of(tiny(checkpoint_folder=str(tmp_path), checkpoint_every=1))
    state = {"weights": jax.random.normal(jax.random.key(0), (1 << 18,))}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        saves.save(row_of(1, 2.0, 1.0, 0.1), state)
        with pytest.raises(UserError, match="checkpoint of step 1 could not be written"):
            saves.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_second_run_in_one_folder_is_told_as_that(tmp_path: Path):
    options = tiny(checkpoint_folder=str(tmp_path), checkpoint_every=1)
    one, two = checkpoints_of(options), checkpoints_of(options)
    state = {"step": jax.numpy.zeros(())}
    one.save(row_of(1, 2.0, 1.0, 0.1), state)
    one.close()
    two.save(row_of(2, 2.0, 1.0, 0.1), state)
    two.close()
    with pytest.raises(UserError, match=r"Another run writes to this folder.*pretrain\.checkpoint_folder") as raised:
        checkpoints_of(options).save(row_of(2, 2.0, 1.0, 0.1), state)
    assert "Make room" not in str(raised.value)


@pytest.mark.parametrize(
    ("number", "told"), [(errno.ENOSPC, "Make room"), (errno.EACCES, "permissions"), (errno.EEXIST, "Another run")]
)
def test_a_failed_save_says_what_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, told: str):
    saves = checkpoints_of(tiny(checkpoint_folder=str(tmp_path), checkpoint_every=1))

    def fail() -> None:
        raise OSError(number, "told by the system")

    monkeypatch.setattr(saves, "_open", fail)
    with pytest.raises(UserError, match=told):
        saves.save(row_of(1, 2.0, 1.0, 0.1), {"step": jax.numpy.zeros(())})


def test_a_short_run_saves_nothing(made: MiniTokens, tmp_path: Path):
    run(made, tmp_path, checkpoint_every=1000)
    assert not (tmp_path / "checkpoints").exists()


def saved(folder: Path, key: str = "*") -> set[int]:
    return {int(path.name) for path in (folder / "checkpoints").glob(f"{key}/*") if path.name.isdigit()}


def results(folder: Path) -> dict[str, str]:
    """Hash of the weights and of every logged number."""
    found = [*(folder / "lm").iterdir(), *(folder / "reports").rglob("*")]
    kept = [path for path in found if path.is_file() and path.name != "timings.json"]
    return {path.relative_to(folder).as_posix(): files.sha256_file(path) for path in kept}


def test_a_shorter_run_removes_nothing_of_a_longer_one_and_saves_its_last_step(
    made: MiniTokens, tmp_path: Path, capsys
):
    """`checkpoint.json` gives an account of the newest checkpoint: that of the weights."""
    first = run(made, tmp_path, steps=12)
    before = saved(tmp_path, "*-12")
    run(made, tmp_path, steps=5)
    assert saved(tmp_path, "*-12") == before
    [folder] = (tmp_path / "checkpoints").glob("*-5")
    assert describe(str(folder))["step"] == 5
    capsys.readouterr()
    assert run(made, tmp_path, steps=12) == first
    assert "going on after step 12" in capsys.readouterr().err


def test_a_size_by_its_name_is_the_size_by_its_numbers():
    assert key(tiny(size="tiny"), "tokens") == key(tiny(size=MODEL_SIZES["tiny"].model_dump()), "tokens")
    assert key(tiny(source_weights={"a": 2.0, "b": 1.0}), "t") == key(tiny(source_weights={"a": 2.0}), "t")
    assert key(tiny(source_weights={"a": 1.0}), "t") != key(tiny(), "t")


def said_anew(folder: Path, capsys, step: int = 2, **changes: object) -> str:
    checkpoints = checkpoints_of(tiny(checkpoint_folder=str(folder), checkpoint_every=2, **changes))
    assert checkpoints.restore({}) is None
    checkpoints.save(row_of(step, 2.0, 1.0, 0.1), {"weights": np.zeros(3)})
    checkpoints.close()
    return str(capsys.readouterr().err)


def test_a_run_that_begins_anew_names_what_differs_from_the_nearest_one(tmp_path: Path, capsys):
    assert said_anew(tmp_path, capsys, seed=3, z_loss=0.1) == ""
    assert "differs in pretrain.seed (3 there, 0 here), pretrain.z_loss" in said_anew(tmp_path, capsys)
    said = said_anew(tmp_path, capsys, learning_rate=0.02)
    assert "begins at step 0" in said
    assert "differs in pretrain.learning_rate (0.016 there, 0.02 here)" in said
    assert "z_loss" not in said


def test_a_run_of_another_length_that_begins_anew_says_why(tmp_path: Path, capsys):
    said_anew(tmp_path, capsys, step=3, steps=3)
    said = said_anew(tmp_path, capsys, steps=2)
    assert "there is the same run with 3 steps, but none of its checkpoints fits this one" in said


def test_folders_of_other_people_are_no_runs_and_no_checkpoints(tmp_path: Path, capsys):
    said_anew(tmp_path, capsys)
    [own] = tmp_path.iterdir()
    for name in (f"{own.name}.backup", f"{own.name}-old", f"{own.name.rpartition('-')[0]}-\u00b2"):
        shutil.copytree(own, tmp_path / name)
    (own / "\u00b2").mkdir()
    checkpoints = checkpoints_of(tiny(checkpoint_folder=str(tmp_path), checkpoint_every=2))
    restored = checkpoints.restore({"weights": jax.ShapeDtypeStruct((3,), np.float64)})
    assert restored is not None
    assert (restored.step, restored.folder) == (2, str(own))
    checkpoints.close()


def test_a_run_told_to_end_while_its_last_checkpoint_is_written_ends_with_it(
    made: MiniTokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    close, ended = Checkpoints.close, list[int]()

    def told(checkpoints: Checkpoints) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.3)
        close(checkpoints)

    monkeypatch.setattr(Checkpoints, "close", told)
    monkeypatch.setattr(os, "_exit", ended.append)
    with pytest.raises(SystemExit):
        run(made, tmp_path, steps=2)
    assert not ended
    assert "step 2 of 2 is saved" in capsys.readouterr().err


def test_a_process_that_writes_no_history_keeps_no_more_of_it(tmp_path: Path):
    history = History(str(tmp_path), COLUMNS)
    for step in range(1, 2 * BLOCK + 2):
        history.add(row_of(step, 1.0, 1.0, 0.1))
    history.save(write=False)
    assert [row.step for row in history._rows] == [2 * BLOCK + 1]
    assert not list(tmp_path.iterdir())


def test_a_changed_module_is_named(monkeypatch):
    before = identity.decisive(tiny(), "tokens")
    monkeypatch.setattr(
        run_identity_module, "_hash", lambda path: path.name if path.name == "model.py" else cached(path)
    )
    assert run_identity_module.differences(identity.decisive(tiny(), "tokens"), before) == [
        "the code of aura.model.model"
    ]


cached = run_identity_module._hash


def test_damaged_side_files_end_no_run(made: MiniTokens, tmp_path: Path, capsys):
    """And change no result but the plots, of which what is lost is told. The record is one of an earlier version."""
    run(made, tmp_path)
    before, losses = results(tmp_path), rows(tmp_path, "loss")
    [folder] = (tmp_path / "checkpoints").iterdir()
    forget_seals(folder)
    for name, left in (("attempts.json", b""), ("run.json", b"{"), ("8/record/metadata", bytes(100))):
        assert (folder / name).exists()
        (folder / name).write_bytes(left)
    capsys.readouterr()
    run(made, tmp_path)
    said = capsys.readouterr().err
    assert "going on after step 8" in said
    assert said.count("is damaged") == 2
    assert results(tmp_path) == before
    history = folder / "history/000000.tsv"
    lines = history.read_text().splitlines(keepends=True)
    history.write_text("".join([*lines[:2], lines[2][:9] + "\n", *lines[3:]]))
    run(made, tmp_path)
    assert "the plots lack 1 of 8 steps" in capsys.readouterr().err
    assert rows(tmp_path, "loss") == [*losses[:3], *losses[4:]]


DAMAGED = ["", "{", "[]", "[1]", "null", '{"earlier": {}}', '{"earlier": 1, "last": {"first": "x"}}', "\0" * 50]


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_account_of_attempts_begins_again(tmp_path: Path, capsys, text: str):
    (tmp_path / "attempts.json").write_text(text)
    attempts = Attempts(str(tmp_path), 3, 0.0)
    attempts.reached(5, 1.0)
    assert "attempts.json" in capsys.readouterr().err
    assert attempts.summary()["attempts"] == 1
    assert Attempts(str(tmp_path), 4, 0.0).summary() | {"goodput": 0} == {
        "goodput": 0, "attempts": 2, "steps_taken_again": 1,
    }  # fmt: skip


def test_a_resumption_writes_no_row_of_the_past_by_itself(made: MiniTokens, tmp_path: Path, monkeypatch):
    run(made, tmp_path, steps=6)
    calls = []
    log = Live.log_metric
    monkeypatch.setattr(Live, "log_metric", lambda *given, **named: (calls.append(given[1]), log(*given, **named)))
    run(made, tmp_path, steps=6)
    assert sorted(calls) == ["bits_per_byte", "gradient_norm", "learning_rate", "loss", "skipped"]  # of the last step
    assert [row.split("\t")[0] for row in rows(tmp_path, "loss")[1:]] == [str(step) for step in range(1, 7)]


def test_a_save_costs_the_same_however_long_the_run_has_been_going_on(tmp_path: Path, monkeypatch):
    """Bytes that are written of the history, and in the checkpoint's record."""
    written = []
    write = side_files.write
    monkeypatch.setattr(side_files, "write", lambda path, text: (written.append(len(text)), write(path, text)))
    history, most = History(str(tmp_path), COLUMNS), []
    for step in range(1, 3 * BLOCK + 2):
        history.add(row_of(step, 1 / step, 1 / step, 0.004))
        if step % 1000 == 0:
            history.save()
            most.append(sum(written))
            written.clear()
    assert max(most[-10:]) < 1.2 * max(most[:10])
    again = History(str(tmp_path / "other"), COLUMNS)
    again.go_on(2 * BLOCK + 500, str(tmp_path), None)
    past = [row.step for rows in again.past(str(tmp_path)) for row in rows]
    assert past == list(range(1, 2 * BLOCK + 500))
    assert again.last == row_of(2 * BLOCK + 500, 1 / (2 * BLOCK + 500), 1 / (2 * BLOCK + 500), 0.004)
    again.save()
    third = History(str(tmp_path / "other"), COLUMNS)
    third.go_on(2 * BLOCK + 500, str(tmp_path / "other"), None)
    assert [row.step for rows in third.past(str(tmp_path / "other")) for row in rows] == past

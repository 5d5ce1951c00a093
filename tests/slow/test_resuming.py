"""What a run goes on from after its options changed, after other runs, and beside damaged files."""

from pathlib import Path

import pytest

from aura.core import files
from tests.mini_tokens import MiniTokens
from tests.training.test_checkpoints import forget_seals, results, rows, run, saved

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("shorter", [4, 6, 9])
def test_a_shorter_run_removes_nothing_of_a_longer_one(made: MiniTokens, tmp_path: Path, capsys, shorter: int):
    first = run(made, tmp_path, steps=12)
    before = saved(tmp_path, "*-12")
    run(made, tmp_path, steps=shorter)
    assert saved(tmp_path, "*-12") == before
    assert shorter in saved(tmp_path, f"*-{shorter}")
    capsys.readouterr()
    assert run(made, tmp_path, steps=12) == first
    assert "going on after step 12" in capsys.readouterr().err


RESUMED = {"accumulation": 2, "remat": True, "eval_every": 3, "eval_tokens": 2048}


@pytest.mark.parametrize("name", RESUMED)
def test_what_decides_no_loss_is_changed_without_beginning_anew(made: MiniTokens, tmp_path: Path, capsys, name: str):
    """And the metrics are those of the new settings, also where no step is left."""
    run(made, tmp_path / "changed", steps=5)
    capsys.readouterr()
    run(made, tmp_path / "changed", steps=5, **{name: RESUMED[name]})
    assert "going on after step 5" in capsys.readouterr().err
    run(made, tmp_path / "fresh", steps=5, **{name: RESUMED[name]})
    said = [files.read_json(tmp_path / folder / "reports/metrics.json", made_by="") for folder in ("changed", "fresh")]
    changed, fresh = ({name: value for name, value in record.items() if not isinstance(value, dict)} for record in said)
    assert changed == pytest.approx(fresh, rel=1e-5)


# What a power cut or a full disk leaves of a file.
DAMAGE = {"empty": b"", "cut": b'{"earlier": {"attem', "zeros": bytes(100), "a list": b"[]", "foreign": b'{"last": 3}'}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["attempts.json", "run.json", "8/record/metadata"])
def test_a_damaged_side_file_ends_no_run(made: MiniTokens, tmp_path: Path, capsys, name: str, damage: str):
    """And changes no result. The record is one of an earlier version, without a seal."""
    run(made, tmp_path)
    before = results(tmp_path)
    [folder] = (tmp_path / "checkpoints").iterdir()
    assert (folder / name).exists()
    if name == "8/record/metadata":
        forget_seals(folder)
    (folder / name).write_bytes(DAMAGE[damage])
    capsys.readouterr()
    run(made, tmp_path)
    said = capsys.readouterr().err
    assert "going on after step 8" in said
    assert results(tmp_path) == before
    if name in ("attempts.json", "8/record/metadata"):
        assert "is damaged" in said


def test_a_line_of_the_history_that_was_cut_short_is_told_and_left_out(made: MiniTokens, tmp_path: Path, capsys):
    run(made, tmp_path)
    before = rows(tmp_path, "loss")
    [history] = (tmp_path / "checkpoints").glob("*/history/000000.tsv")
    lines = history.read_text().splitlines(keepends=True)
    history.write_text("".join([*lines[:2], lines[2][:9] + "\n", *lines[3:7], lines[7][:12]]))
    capsys.readouterr()
    run(made, tmp_path)
    assert "the plots lack 1 of 8 steps" in capsys.readouterr().err  # the last one is in the record, too
    assert rows(tmp_path, "loss") == [*before[:3], *before[4:]]

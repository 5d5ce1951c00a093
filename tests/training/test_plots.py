"""Plots of a run: what an earlier run left goes away at once, and metrics.json comes with the first row."""

from pathlib import Path

from aura.core import files
from aura.training.history import Plots, Row


def test_a_block_without_a_row_leaves_nothing_of_an_earlier_run(tmp_path: Path):
    with Plots(tmp_path) as plots:
        plots.write(Row(1, {"loss": 2.0}))
        plots.sum_up({"loss": 2.0})
    assert files.read_json(tmp_path / "metrics.json", made_by="")["loss"] == 2.0
    [plot] = (tmp_path / "plots/metrics").iterdir()
    assert plot.name == "loss.tsv"
    with Plots(tmp_path):
        pass
    assert not (tmp_path / "metrics.json").exists()
    assert not (tmp_path / "plots/metrics").exists()


def test_a_process_that_writes_nothing_makes_no_files(tmp_path: Path):
    with Plots(None) as plots:
        plots.write(Row(1, {"loss": 2.0}))
        plots.sum_up({"loss": 2.0})
    assert not [*tmp_path.iterdir()]

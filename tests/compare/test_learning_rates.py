"""The range test on a tiny model: it suggests a rate that learns, ends early, and goes on to the same bytes."""

import math
import time
from pathlib import Path

import pytest

from aura.compare import learning_rates
from aura.compare.learning_rates import Curve, Point, Range, measured, suggestion
from aura.core.errors import UserError
from tests.mini_tokens import MiniTokens, tiny

RATES = Range(1e-4, 1.0, 60)


class Killed(Exception):
    """Stands for a kill."""


def run(mini: MiniTokens, folder: Path, rates: Range = RATES) -> Curve:
    options = tiny(checkpoint_folder=str(folder / "checkpoints"))
    return measured(mini.tokens, mini.spm / "spiece.model", folder / "work", options, rates)


def test_a_killed_range_test_ends_in_the_same_curve(
    made: MiniTokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    whole = run(made, tmp_path / "whole")
    assert 1e-3 <= whole.suggested <= 0.1
    assert [point.learning_rate for point in whole.points] == [RATES.rate(place) for place in range(len(whole.points))]
    taking = learning_rates.RangeTest.measurements

    def measurements(task: learning_rates.RangeTest, step: int, outcome: dict[str, float]) -> dict[str, float]:
        while step > 30 and not [*(tmp_path / "killed/checkpoints").glob("*/30")]:
            time.sleep(0.01)  # the background save outlives this "kill", and would otherwise end in the next run
        if step == 40:
            raise Killed
        return taking(task, step, outcome)

    with monkeypatch.context() as patch:
        patch.setattr(learning_rates.RangeTest, "measurements", measurements)
        with pytest.raises(Killed):
            run(made, tmp_path / "killed")
    capsys.readouterr()
    assert run(made, tmp_path / "killed") == whole
    assert "going on after step 30" in capsys.readouterr().err
    assert run(made, tmp_path / "killed") == whole  # and once more from its last checkpoint


def curve(*losses: float) -> list[Point]:
    return [Point(place + 1, RATES.rate(place), loss, loss) for place, loss in enumerate(losses)]


def test_the_suggestion_is_the_rate_of_the_steepest_fall():
    losses = [8 - 4 / (1 + math.exp(20 - place)) for place in range(60)]
    assert suggestion(curve(*losses, float("nan")), RATES) == pytest.approx(RATES.rate(20), rel=0.05)


@pytest.mark.parametrize(("sign", "remedy"), [(1, "Lower --from"), (-1, "Raise --to")])
def test_a_loss_that_never_falls_or_falls_to_the_end_suggests_nothing(sign: int, remedy: str):
    with pytest.raises(UserError, match=remedy):
        suggestion(curve(*[sign * place**2 for place in range(60)]), RATES)


def test_without_tokens_the_message_says_what_makes_them(made: MiniTokens, tmp_path: Path):
    with pytest.raises(UserError, match="dvc repro encode"):
        measured(tmp_path / "none", made.spm / "spiece.model", tmp_path / "work", tiny(), RATES)


def test_a_range_that_is_none_is_refused(made: MiniTokens, tmp_path: Path):
    with pytest.raises(UserError, match="<= --from < --to <= 1"):
        run(made, tmp_path, Range(0.1, 0.01, 60))

"""Numbers that users give `SelfTeachingAdapter`: one out of its range is an error in one line."""

from typing import Any

import pytest

from aura.core.errors import UserError
from aura.one_shot import self_teaching


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tokens": 0}, "max_new_tokens: expected 1 or more, got 0"),
        ({"temperature": float("nan")}, "temperature: expected 0 or more, got nan"),
        ({"top_p": 0.0}, "top_p: expected more than 0"),
        ({"seed": 2**32}, "seed: expected 0 to 4294967295"),
    ],
)
def test_a_number_with_which_nothing_can_be_drawn_is_refused(change: dict[str, Any], said: str):
    with pytest.raises(UserError, match=f"generate: {said}"):
        self_teaching._require_drawable(**{"tokens": 1, "temperature": 0.0, "top_p": 1.0, "seed": 0} | change)


def test_steps_are_checked_before_they_are_compared():
    with pytest.raises(UserError, match="steps"):
        self_teaching._options({"steps": "many"}, own=False)
    chosen, _ = self_teaching._options({"steps": 2}, own=False)
    assert (chosen.steps, chosen.eval_every) == (2, 2)

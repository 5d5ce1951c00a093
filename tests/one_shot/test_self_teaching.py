"""What users give `SelfTeachingAdapter`: a wrong number or folder is an error in one line."""

from pathlib import Path
from typing import Any

import pytest

from aura.core import checksums
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


@pytest.mark.parametrize(
    ("given", "said"),
    [({"steps": "many"}, "steps"), ({"where": "tpu"}, "where: this class adapts on this machine")],
)
def test_an_option_that_cannot_be_is_refused(given: dict[str, Any], said: str):
    with pytest.raises(UserError, match=said):
        self_teaching._options(given, own=False)


def test_a_model_that_save_did_not_write_is_never_replaced(tmp_path: Path):
    own = tmp_path / "downloaded"
    own.mkdir()
    (own / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    with pytest.raises(UserError, match="downloaded holds other files"):
        self_teaching.require_free(own)
    with pytest.raises(UserError, match="models/lm is an output of the pipeline"):
        self_teaching.require_free(Path("models/lm"))
    checksums.write(own)
    self_teaching.require_free(own)


def test_the_first_records_keep_their_lines(tmp_path: Path):
    given = tmp_path / "data.jsonl"
    given.write_bytes(b'{"a": 1}\n\n  \n{"b": 2}\n{"c": 3}')
    assert self_teaching._first_records(given, 2, tmp_path / "made/data.jsonl").read_bytes() == given.read_bytes()[:22]
    assert self_teaching._first_records(given, 3, tmp_path / "made/data.jsonl").read_bytes() == given.read_bytes()

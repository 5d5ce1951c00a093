"""Options go before variables, variables before params.yaml; and only `aura tpu` lets them change the run."""

import re

import pytest

from aura.core.errors import UserError
from aura.project import whole_params
from aura.tpu import settings
from tests.conftest import REPOSITORY

GIVEN = whole_params.load(REPOSITORY / "params.yaml")


def test_options_go_before_variables_and_those_before_defaults():
    environment = {"NAME": "mine", "ZONE": "us-central2-b", "SPOT": "false", "SLICES": "2", "PROJECT": ""}
    place = settings.place({"name": "yours", "zone": None}, environment)
    assert (place.name, place.zone, place.spot, place.slices, place.project) == (
        "yours", "us-central2-b", False, 2, None
    )  # fmt: skip


def test_the_guides_variables_change_the_run():
    environment = {"MODEL_SIZE": "small", "SEQ_LEN": "1024", "BATCH_SIZE": "16", "STEPS": "1000", "LR": "8e-4"}
    run = settings.run_changes(GIVEN, {"steps": 70}, environment | {"HOME": "/"}).pretrain
    assert (run.size, run.seq_len, run.batch_size, run.learning_rate, run.steps) == ("small", 1024, 16, 8e-4, 70)


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"NAME": "My Pod"}, "name: expected a name that matches"),
        ({"ZONE": "us central; rm -rf"}, "zone: expected"),
        ({"SLICES": "many"}, "slices: expected a valid integer"),
    ],
)
def test_a_variable_that_makes_no_sense_is_named(environment: dict[str, str], told: str):
    with pytest.raises(UserError, match=re.escape(told)):
        settings.place({}, environment)


def test_a_variable_out_of_range_is_told_like_params_yaml():
    with pytest.raises(UserError, match=r"pretrain\.steps: expected greater than or equal to 1, or auto; got 0"):
        settings.run_changes(GIVEN, {}, {"STEPS": "0"})


def test_a_dataset_that_is_no_folder_of_tokens_is_told_how_to_become_one():
    with pytest.raises(UserError, match="aura source add"):
        settings.tokens(None, {"DATASET": "allenai/c4"})

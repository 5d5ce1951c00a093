"""What `auto` stands for in section pretrain."""

import pytest

from aura.core import bounded
from aura.core.errors import UserError
from aura.model.options import MODEL_SIZES
from aura.pretrain import recipe
from aura.pretrain.options import Pretrain, PretrainSection
from aura.project import whole_params
from tests.mini_tokens import PARAMS

AUTO = dict.fromkeys(("steps", "batch_size", "learning_rate", "warmup_steps", "weight_decay"), "auto")


def decided(**changes: object) -> Pretrain:
    values = PARAMS.pretrain.model_dump() | {"seq_len": 1024, "size": "small"} | AUTO | changes
    return recipe.decided(PretrainSection.model_validate(values))


def test_numbers_that_are_given_stay():
    given = {"steps": 77, "batch_size": 6, "learning_rate": 0.5, "warmup_steps": 3, "weight_decay": 0.25}
    assert {name: getattr(decided(**given), name) for name in given} == given


def test_a_size_alone_decides_a_run_of_twenty_tokens_for_each_weight():
    run, weights = decided(), recipe.layer_weights(MODEL_SIZES["small"])
    assert weights == 12 * (2 * 768 * 64 * (12 + 6) + 3 * 768 * 2048)
    tokens = run.steps * run.batch_size * run.seq_len
    assert 0 <= tokens - 20 * weights < run.batch_size * run.seq_len


def test_a_budget_decides_steps_and_a_larger_one_takes_larger_batches():
    runs = [decided(token_budget=budget) for budget in (10**7, 10**9, 10**11)]
    assert [run.batch_size for run in runs] == sorted({run.batch_size for run in runs})
    for run, budget in zip(runs, (10**7, 10**9, 10**11), strict=True):
        assert 0 <= run.steps * run.batch_size * run.seq_len - budget < run.batch_size * run.seq_len
        assert run.batch_size * run.seq_len == pytest.approx(0.58 * budget**0.571, rel=0.42)  # a power of two


def test_more_steps_take_larger_batches():
    sizes = [decided(steps=steps).batch_size for steps in (100, 1000, 10_000)]
    assert sizes == sorted(set(sizes))


def test_a_batch_can_be_cut_into_its_parts():
    assert decided(token_budget=10**7, accumulation=3).batch_size % 3 == 0


def test_the_rate_of_adamw_falls_with_size_and_that_of_muon_does_not():
    sizes = ("tiny", "small", "medium", "large")
    adamw = [decided(optimizer="adamw", size=size, token_budget=10**9).learning_rate for size in sizes]
    assert adamw == sorted(set(adamw), reverse=True)
    assert adamw[0] == recipe.ADAMW_MOST
    assert decided(optimizer="adamw", size="medium", token_budget=10**10).learning_rate == pytest.approx(
        0.0019, rel=0.1
    )
    assert {decided(optimizer="muon", size=size).learning_rate for size in sizes} == {recipe.MUON_RATE}


def test_the_rate_of_adamw_in_small_batches_is_that_of_kaplan_et_al():
    small = recipe.adamw_rate(25_690_112, 1024)
    assert small == pytest.approx(0.003239 - 0.0001395 * 17.0616, rel=1e-4)
    assert recipe.adamw_rate(25_690_112, 8192) > 1.5 * small
    assert recipe.adamw_rate(10**12, 2**24) > 0  # where the rate of Kaplan et al. is below 0


def test_a_short_run_under_muon_takes_a_higher_rate():
    rates = [decided(steps=steps).learning_rate for steps in (10, 75, 150, 300, 10_000)]
    assert rates == pytest.approx([0.0226, 0.0226, 0.0226, 0.016, 0.016], rel=2e-3)


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("pretrain", "steps"),
        ("pretrain", "token_budget"),
        ("train_tokenizer", "token_budget"),
        ("train_tokenizer", "model_parameters"),
    ],
)
def test_a_count_may_be_written_with_an_exponent(section: str, key: str):
    values, kind = getattr(PARAMS, section).model_dump(by_alias=True), type(getattr(PARAMS, section))
    given = values | {"steps": "auto"} if section == "pretrain" else values | {"vocab_size": "auto"}
    read = bounded.read_yaml(f"{key}: 2e6")
    assert getattr(kind.model_validate(given | read), key) == 2_000_000
    with pytest.raises(ValueError, match="valid integer"):
        kind.model_validate(given | {key: 0.5})


def test_what_auto_decided_is_told():
    section = PretrainSection.model_validate(PARAMS.pretrain.model_dump() | AUTO | {"steps": 600, "batch_size": 8})
    assert recipe.told(section, recipe.decided(section)) == (
        "auto is learning_rate 0.016, warmup_steps 40, weight_decay 0.1; the run has 614,400 tokens in batches of 1,024"
    )
    given = PretrainSection.model_validate(recipe.decided(section).model_dump(by_alias=True))
    assert recipe.told(given, recipe.decided(given)) is None


def test_warm_up_is_at_most_a_tenth_of_a_short_run():
    assert decided(steps=20).warmup_steps == 2
    assert decided(steps=10_000).warmup_steps == recipe.WARMUP_STEPS


def test_weights_to_begin_from_leave_their_size_open():
    """Its configuration says the size, and not section pretrain; so a rule that needs it cannot be followed."""
    with pytest.raises(UserError, match=r"pretrain\.steps: auto .* pretrain\.token_budget"):
        decided(**{"from": "base"})
    with pytest.raises(UserError, match=r"pretrain\.learning_rate: auto"):
        decided(**{"from": "base", "optimizer": "adamw", "token_budget": 10**6})
    assert decided(**{"from": "base", "token_budget": 10**6}).learning_rate == recipe.BASE_SHARE * recipe.MUON_RATE


def test_the_rate_of_a_base_is_the_same_in_short_runs():
    assert decided(**{"from": "base", "steps": 40}).learning_rate == recipe.BASE_SHARE * recipe.MUON_RATE


def test_a_mistake_names_its_key_and_what_is_right():
    with pytest.raises(
        UserError, match=r"^[^\n]*pretrain\.learning_rate: expected a valid number, or auto; got 'high'[^\n]*$"
    ):
        whole_params.changed(PARAMS, {"pretrain.learning_rate": "high"})
    with pytest.raises(UserError, match=r"pretrain\.optimizer: expected 'muon' or 'adamw'; got 'sgd'"):
        whole_params.changed(PARAMS, {"pretrain.optimizer": "sgd"})
    with pytest.raises(UserError, match=r"pretrain\.token_budget .* pretrain\.steps: auto"):
        whole_params.changed(PARAMS, {"pretrain.token_budget": 10**9})


def test_a_number_that_no_run_can_have_is_told_with_its_key():
    with pytest.raises(UserError, match=r"pretrain\.steps: auto is [\d,]+, expected less than or equal to 100000000\."):
        decided(token_budget=10**15, batch_size=1)
    with pytest.raises(
        UserError, match=r"pretrain\.batch_size: auto is 4,194,304, .* or change pretrain\.token_budget"
    ):
        decided(steps=10_000_000, seq_len=128)

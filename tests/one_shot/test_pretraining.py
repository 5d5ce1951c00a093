"""The guide's program that pretrains: what it takes from params.yaml."""

from aura.one_shot import pretraining
from aura.project import whole_params
from tests.mini_tokens import PARAMS


def test_options_of_the_pipelines_corpus_do_not_concern_another_one():
    changes = {"skip": [[301, 303]], "evaluate": {"own": "x.txt"}, "steps": "auto", "token_budget": 1_000_000}
    settings = whole_params.changed(PARAMS, {f"pretrain.{name}": value for name, value in changes.items()})
    run = pretraining._with_changes(settings, {"steps": 20})
    assert (run.steps, run.skip, run.evaluate, run.warmup_steps) == (20, [], {}, 2)

"""The model that lm-eval asks, without lm-eval: an empty base class stands for its own, which is not in the lock.

tests/slow/test_lm_eval.py runs lm-eval itself where it is installed.
"""

import sys
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from aura.core.errors import UserError
from aura.hugging_face.loading import Loaded
from aura.model.model import ModelConfig, initial_model
from aura.tokenizer.reader import Reader
from tests.mini_tokens import MiniTokens


@dataclass
class Request:
    args: tuple[str, Any]
    task_name: str = "mine"
    doc_id: int = 0


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    names = ("lm_eval", "lm_eval.api", "lm_eval.api.model")
    for name in names:
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["lm_eval.api.model"].LM = type("LM", (), {})
    monkeypatch.delitem(sys.modules, "aura.compare.lm_eval_model", raising=False)
    yield import_module("aura.compare.lm_eval_model")
    sys.modules.pop("aura.compare.lm_eval_model", None)
    del import_module("aura.compare").lm_eval_model  # or the next import would find the one with the stub


def test_every_kind_of_request_is_answered(module: Any, made: MiniTokens):
    config = ModelConfig(made.tokenizer.vocab_size, 1, 16, 2, 1, 16, tied_embeddings=True)
    reader = Reader.of(made.tokenizer, 64, add_bos=True)
    model = module.ScoredInPlace(Loaded(initial_model(config, 0), reader), 64, 4)
    [(likelihood, greedy)] = model.loglikelihood([Request(("def ", "a"))])
    assert likelihood < 0
    assert isinstance(greedy, bool)
    [whole] = model.loglikelihood_rolling([Request(("def a", None))])
    assert np.isfinite(whole)
    assert whole < 0
    asked = [Request((text, {"until": ["\n"], "max_gen_toks": 4})) for text in ("def ", "class ")]
    answers = model.generate_until(asked)
    assert len(answers) == 2
    assert not any("\n" in answer for answer in answers)


def test_a_tokenizer_without_a_beginning_is_refused(module: Any, made: MiniTokens):
    config = ModelConfig(made.tokenizer.vocab_size, 1, 16, 2, 1, 16, tied_embeddings=True)
    model = module.ScoredInPlace(Loaded(initial_model(config, 0), Reader(made.tokenizer, 64, None)), 64, 4)
    with pytest.raises(UserError, match="expected a tokenizer with a token that begins or ends a document"):
        model.generate_until([Request(("", {"until": []}))])

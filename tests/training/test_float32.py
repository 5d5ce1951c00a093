"""In bfloat16 runs, what must not be rounded is float32: softmax, logits, losses, norms, and their sums."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aura.model.model import Compute, LanguageModel, ModelConfig, initial_model
from aura.pretrain.step.training import mean_loss
from aura.training.evaluation import token_nats
from aura.training.generation import continuations, empty_cache, next_logits, ready

CONFIG = ModelConfig(
    vocab_size=40, layers=2, width=16, heads=2, kv_heads=1, hidden=16, tied_embeddings=True, qk_norm=True
)
TOKENS = np.random.default_rng(0).integers(4, 40, (2, 17)).astype(np.int32)
WIDE = {
    "exp",
    "exp2",
    "log",
    "log1p",
    "rsqrt",
    "sqrt",
    "div",
    "reduce_sum",
    "reduce_max",
    "argmax",
    "cumsum",
    "cos",
    "sin",
}
MODEL = initial_model(CONFIG, 0, Compute("bfloat16"))


def equations(jaxpr: Any) -> Iterator[Any]:
    """All equations of a program, those of its inner ones included."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.tree.leaves([*equation.params.values()], is_leaf=lambda value: hasattr(value, "eqns")):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                yield from equations(inner)


PROGRAMS: dict[str, Callable[[LanguageModel], Any]] = {
    "loss": lambda model: mean_loss(model, {"tokens": TOKENS}, 1e-4),
    "loss with masks": lambda model: mean_loss(model, {"tokens": TOKENS}, 1e-4, 5),
    "evaluation": lambda model: token_nats(model, TOKENS, 5),
    "logits": lambda model: model(TOKENS),
    "generation": lambda model: next_logits(ready(model), TOKENS, 0, empty_cache(model, 2, 20))[0],
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_nothing_that_sums_or_exponentiates_is_bfloat16(name: str):
    program = PROGRAMS[name]
    narrow = [
        f"{equation.primitive}: {variable.aval}"
        for equation in equations(jax.make_jaxpr(program)(MODEL).jaxpr)
        if equation.primitive.name in WIDE
        for variable in equation.invars
        if variable.aval.dtype == jnp.bfloat16
    ]
    assert narrow == []
    assert {leaf.dtype for leaf in jax.tree.leaves(jax.eval_shape(program, MODEL))} == {np.dtype(np.float32)}


def test_the_gradient_of_the_weights_is_float32():
    slopes = jax.eval_shape(jax.grad(lambda model: PROGRAMS["loss with masks"](model)[0]), MODEL)
    assert {leaf.dtype for leaf in jax.tree.leaves(slopes)} == {np.dtype(np.float32)}


def test_bfloat16_draws_from_float32_logits():
    drawn = partial(continuations, MODEL, TOKENS, jax.random.key(0), 0.8, tokens=3)
    kinds = {
        variable.aval.dtype
        for equation in equations(jax.make_jaxpr(drawn)().jaxpr)
        if equation.primitive.name == "argmax"
        for variable in equation.invars
    }
    assert kinds == {np.dtype(np.float32)}

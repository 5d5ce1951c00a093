"""One optimiser step of an adaptation, from reference answers or from the model's own.

The state is what a step changes and a checkpoint holds: the trained weights, the optimiser, and the teacher if there is
one. The weights that stay are an argument beside it, which no step consumes and no checkpoint holds.

The optimiser is a `optax.GradientTransformation` over the trained weights; its count is the number of the step.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from aura.adapt.objective import Arrays, Assemble, Weights, followed, losses_and_slopes
from aura.adapt.own_answers import own_losses_and_slopes
from aura.adapt.weighted_losses import Losses, Terms
from aura.training.steps import Outcome, State


def initial_state(trained: Weights, optimizer: optax.GradientTransformation, *, teacher: bool) -> State:
    """The state before the first step; to be jitted or traced. The teacher begins as a copy of the trained weights."""
    state = {"trained": trained, "optimizer": optimizer.init(trained)}
    return state | ({"teacher": jax.tree.map(jnp.copy, trained)} if teacher else {})


def make_step(optimizer: optax.GradientTransformation, assemble: Assemble, terms: Terms, decay: float) -> Any:  # noqa: ANN401 - what jax.jit makes
    """The jitted function (base, state, batch) -> (next state, outcome), which learns from reference answers.

    It consumes the state's memory. The outcome has `loss` and `divergence`, in nats per learnt token before the step,
    and `gradient_norm`.

    Arguments:
        optimizer: of the trained weights.
        assemble: makes a model of base and trained weights.
        terms: the objective's factors.
        decay: of the teacher, per step; from 0 to 1.
    """

    def losses_of(base: Weights, state: State, batch: Arrays) -> tuple[Losses, Weights]:
        windows = {name: batch[name] for name in ("tokens", "segments", "learnt", "affect") if name in batch}
        return losses_and_slopes(assemble, base, state["trained"], state.get("teacher"), windows, terms)

    @partial(jax.jit, donate_argnums=1)
    def step(base: Weights, state: State, batch: Arrays) -> tuple[State, Outcome]:
        losses, slopes = losses_of(base, state, batch)
        return _next(optimizer, decay, state, slopes), _outcome(losses.nats, losses, slopes)

    return step


def make_own_step(
    optimizer: optax.GradientTransformation, assemble: Assemble, decay: float, *, seed: int, tokens: int, eos: int
) -> Any:  # noqa: ANN401 - what jax.jit makes
    """The jitted function (base, state, batch, number) -> (next state, outcome), which learns from own answers.

    `number` is that of the step, int32: it decides the draws, together with the seed. `loss` of the outcome is the
    objective, and `certain` the share of answer tokens that it counts; the rest is as `make_step` has it.

    Arguments:
        optimizer: of the trained weights.
        assemble: makes a model of base and trained weights.
        decay: of the teacher, per step; from 0 to 1.
        seed: of the draws.
        tokens: the most of an answer.
        eos: the id that ends an answer.
    """

    @partial(jax.jit, donate_argnums=1)
    def step(base: Weights, state: State, batch: Arrays, number: jax.Array) -> tuple[State, Outcome]:
        key = jax.random.fold_in(jax.random.key(seed), number)
        prompts = {name: batch[name] for name in ("prompts", "prompt_lengths", "hinted", "hinted_lengths")}
        losses, slopes = own_losses_and_slopes(
            assemble, base, state["trained"], state["teacher"], prompts, key, tokens=tokens, eos=eos
        )
        outcome = _outcome(losses.objective, losses, slopes) | {"certain": losses.certain}
        return _next(optimizer, decay, state, slopes), outcome

    return step


def _outcome(loss: jax.Array, losses: Losses, slopes: Weights) -> Outcome:
    return {"loss": loss, "divergence": losses.divergence, "gradient_norm": optax.tree.norm(slopes)}


def _next(optimizer: optax.GradientTransformation, decay: float, state: State, slopes: Weights) -> State:
    updates, optimizer_state = optimizer.update(slopes, state["optimizer"], state["trained"])
    trained = optax.apply_updates(state["trained"], updates)
    after = {"trained": trained, "optimizer": optimizer_state}
    return after | ({"teacher": followed(state["teacher"], trained, decay)} if "teacher" in state else {})

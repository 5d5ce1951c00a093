"""The training loop: AdamW, one jitted step, a loss per step.

Everything a step needs is a function of its number (batch, learning rate), so the same machine ends in the same
bytes every time. The loss is fetched each step, which keeps the loop simple and stops a diverged run
at the step that broke it; the wait is under a millisecond on CPU.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import optax

from aura.data.batches import Batches
from aura.errors import UserError
from aura.params import Pretrain
from aura.self_teaching_llm.cross_entropy import mean_cross_entropy
from aura.self_teaching_llm.model import MATRICES, LanguageModel

State = dict[str, Any]  # {"model": LanguageModel, "optimizer": optax state}
Step = Callable[[State, jax.typing.ArrayLike], tuple[State, jax.Array]]

FINAL_SHARE = 0.1  # of the peak learning rate, reached at the last step


def train(state: State, optimizer: optax.GradientTransformation, batches: Batches, steps: int) -> Iterator[float]:
    """Yield the loss (nats per token) of each step; after each, `state` holds the model it led to.

    Raises:
        UserError: a loss is infinite or no number.
    """
    run_step = make_step(optimizer)
    for number in range(steps):
        new_state, loss = run_step(state, batches.batch(number))
        state.update(new_state)
        if not math.isfinite(nats := float(loss)):
            raise UserError(
                f"training stopped: expected a finite loss, came {nats} at step {number + 1} of {steps}. "
                "Lower pretrain.learning_rate or pretrain.grad_clip, or raise pretrain.warmup_steps."
            )
        yield nats


def initial_state(model: LanguageModel, optimizer: optax.GradientTransformation) -> State:
    """The model with an optimiser that has seen nothing."""
    return {"model": model, "optimizer": jax.jit(optimizer.init)(model)}


def make_step(optimizer: optax.GradientTransformation) -> Step:
    """The compiled function (state, window_BxS+1) -> (next state, loss); it consumes the state's memory."""

    @partial(jax.jit, donate_argnums=0)
    def step(state: State, tokens_BxS1: jax.Array) -> tuple[State, jax.Array]:
        loss, slopes = jax.value_and_grad(mean_loss)(state["model"], tokens_BxS1)
        updates, optimizer_state = optimizer.update(slopes, state["optimizer"], state["model"])
        return {"model": optax.apply_updates(state["model"], updates), "optimizer": optimizer_state}, loss

    return step


def mean_loss(model: LanguageModel, tokens_BxS1: jax.Array) -> jax.Array:
    """Mean cross-entropy in nats per token over windows of S inputs and their S targets."""
    x_BxSxD = model.features(tokens_BxS1[:, :-1])
    x_TxD = x_BxSxD.reshape(-1, x_BxSxD.shape[-1])
    return mean_cross_entropy(x_TxD, model.output_table, tokens_BxS1[:, 1:].reshape(-1))


def make_optimizer(options: Pretrain) -> optax.GradientTransformation:
    """AdamW (arXiv:1711.05101) after clipping, a linear warm-up, and a cosine down to a tenth (arXiv:2203.15556)."""
    schedule = optax.warmup_cosine_decay_schedule(
        init_value=options.learning_rate / (options.warmup_steps + 1),  # so that no step is lost to a rate of 0
        peak_value=options.learning_rate,
        warmup_steps=options.warmup_steps,
        decay_steps=options.steps + 1,
        end_value=FINAL_SHARE * options.learning_rate,
    )
    return optax.chain(
        optax.clip_by_global_norm(options.grad_clip),
        optax.adamw(schedule, b1=0.9, b2=0.95, weight_decay=options.weight_decay, mask=decays),  # b2 of GPT-3
    )


def decays(model: LanguageModel) -> Any:  # noqa: ANN401 - a pytree like the model
    """Which weights decay: matrices, by name; scales and embeddings do not (stacked scales have two axes, too)."""
    return jax.tree_util.tree_map_with_path(lambda path, _: leaf_name(path).rpartition(".")[2] in MATRICES, model)


def leaf_name(path: tuple[Any, ...]) -> str:
    """A weight's name from its place in the model: `blocks.query`."""
    return jax.tree_util.keystr(path, simple=True, separator=".").removesuffix(".value")

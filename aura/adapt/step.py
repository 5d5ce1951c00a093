"""The state of an adaptation and its step: low-rank factors beside a model that stays, or all weights.

The model that stays is an argument of the step and no part of the state, so a checkpoint holds the trained weights,
their slow copy and their optimiser alone: of an adapter of rank 16 on 8 billion weights, a fiftieth. The rate rises
over WARMUP steps and falls at the end (`wsd`), and weights do not decay: what is not needed for answers shall stay.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from aura.adapt.objective import Arrays, Model, Weights, followed, losses_and_slopes
from aura.adapt.options import Adapt
from aura.adapt.own_answers import own_losses_and_slopes
from aura.adapt.weighted_losses import Losses, Terms
from aura.model.attention import implementation_for
from aura.model.lora import Adapter, LoraConfig, adapted
from aura.model.model import Compute, LanguageModel
from aura.tokenizer import chat_encoding
from aura.tokenizer.opening import AnyTokenizer
from aura.training.batch_layout import Machine
from aura.training.optimizer import make_optimizer
from aura.training.steps import Outcome, State

WARMUP = 10  # steps; the same for every length, so that a longer run goes on from a shorter one
GRAD_CLIP = 1.0  # global norm
WINDOW: tuple[str, ...] = ("tokens", "segments", "learnt", "affect")  # arrays of a batch, by what reads them
EXCHANGE: tuple[str, ...] = ("prompts", "prompt_lengths", "hinted", "hinted_lengths")
REMEDY = "Lower adapt.learning_rate."


@dataclass(frozen=True)
class Rates:
    """The `optimizer.Course` of an adaptation."""

    steps: int
    learning_rate: float
    warmup_steps: int = WARMUP
    schedule: str = "wsd"
    weight_decay: float = 0.0
    grad_clip: float = GRAD_CLIP

    @classmethod
    def of(cls, options: Adapt) -> "Rates":
        """Those of section adapt."""
        return cls(options.steps, options.learning_rate)


@dataclass(frozen=True)
class Answers:
    """Facts about the answers that a model draws by itself.

    Attributes:
        tokens: the most of an answer.
        eos: the id that ends one.
    """

    tokens: int
    eos: int


def lora_config(options: Adapt, tokens: tuple[int, ...]) -> LoraConfig:
    """The adapter's shape; `tokens` are ids whose rows of the tables are trained, too."""
    return LoraConfig(options.rank, options.alpha, tuple(options.matrices), tokens)


def first_trained(options: Adapt, tokens: tuple[int, ...], base: LanguageModel) -> Weights:
    """The weights that are trained, as they begin: an adapter that changes nothing, or with rank 0 a copy of all."""
    if options.rank:
        return Adapter(base, lora_config(options, tokens), options.seed)
    return jax.tree.map(jnp.copy, base)


def initial_state(options: Adapt, tokens: tuple[int, ...], base: LanguageModel) -> State:
    """Trained weights, their slow copy if there is a teacher, a new optimiser, and the steps taken; to be traced."""
    trained = first_trained(options, tokens, base)
    optimizer_state = make_optimizer(Rates.of(options)).init(trained)
    state = {"trained": trained, "optimizer": optimizer_state, "taken": jnp.zeros((), jnp.int32)}
    return state | ({"teacher": jax.tree.map(jnp.copy, trained)} if options.has_teacher else {})


def assembled(base: LanguageModel, trained: Weights) -> LanguageModel:
    """The model of what stays and what is trained."""
    return adapted(base, trained) if isinstance(trained, Adapter) else trained


def learns_from_own(options: Adapt, number: int) -> bool:
    """Return whether the step of this number, from 0, learns from answers that the model draws itself."""
    return options.teach == "own" and (number + 1) % options.own_every == 0


def make_step(options: Adapt) -> Any:  # noqa: ANN401 - a function that jax.jit made, which can also be lowered
    """The compiled function (state, batch, base) -> (next state, outcome) that learns from reference answers.

    The outcome holds `loss`, nats per learnt token, `teacher_divergence`, KL(student ‖ teacher) in nats, and
    `gradient_norm`, all before the step.
    """
    terms = Terms(divergence=options.teacher_weight)

    @partial(jax.jit, donate_argnums=0)
    def step(state: State, batch: Arrays, base: LanguageModel) -> tuple[State, Outcome]:
        teacher = state["teacher"] if options.teacher_weight > 0 else None
        windows: Arrays = {name: batch[name] for name in WINDOW if name in batch}
        losses, slopes = losses_and_slopes(_assemble, base, state["trained"], teacher, windows, terms)
        return _moved_on(options, state, losses, slopes)

    return step


def make_own_step(options: Adapt, answers: Answers) -> Any:  # noqa: ANN401 - as `make_step`
    """The compiled function of `make_step` that learns from answers which the model draws to the batch's prompts.

    `loss` is that of the drawn answers, and `teacher_divergence` counts where the teacher is the more certain.
    """

    @partial(jax.jit, donate_argnums=0)
    def step(state: State, batch: Arrays, base: LanguageModel) -> tuple[State, Outcome]:
        exchanges: Arrays = {name: batch[name] for name in EXCHANGE}
        losses, slopes = own_losses_and_slopes(
            _assemble,
            base,
            state["trained"],
            state["teacher"],
            exchanges,
            jax.random.fold_in(jax.random.key(options.seed), state["taken"]),
            tokens=answers.tokens,
            eos=answers.eos,
        )
        return _moved_on(options, state, losses, slopes)

    return step


def _assemble(base: Weights, trained: Weights) -> Model:
    model: Model = assembled(base, trained)
    return model


def _moved_on(options: Adapt, state: State, losses: Losses, slopes: Weights) -> tuple[State, Outcome]:
    """The state after an update, and the outcome."""
    optimizer = make_optimizer(Rates.of(options))
    updates, optimizer_state = optimizer.update(slopes, state["optimizer"], state["trained"])
    trained = optax.apply_updates(state["trained"], updates)
    moved = {"trained": trained, "optimizer": optimizer_state, "taken": state["taken"] + 1}
    if options.has_teacher:
        moved["teacher"] = followed(state["teacher"], trained, options.teacher_decay)
    outcome = {
        "loss": losses.nats,
        "teacher_divergence": losses.divergence,
        "gradient_norm": optax.tree.norm(slopes),
    }
    return moved, outcome


def compute_of(machine: Machine, seq_len: int, platform: str) -> Compute:
    """The arithmetic of an adaptation. Layers are not unrolled: a short run would compile longer than it gains."""
    attention = implementation_for(platform, seq_len=seq_len, dtype=machine.precision)
    return Compute(machine.precision, machine.remat, attention)


def role_ids(tokenizer: AnyTokenizer) -> tuple[int, ...]:
    """Ids of the special tokens of roles, where there are such: no text encodes to them."""
    first = {int(ids[0]) for ids in chat_encoding.role_ids(tokenizer).values() if len(ids) == 1}
    return tuple(sorted(token for token in first if tokenizer.is_special(token)))

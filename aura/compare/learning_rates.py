"""A learning-rate range test: one short run whose rate grows from tiny to huge, and what its losses say.

Smith (arXiv:1506.01186, section 3.3): where the loss falls, rates are of use; where it rises again, they are too large.
The test is a run like any other (`loop.Task`) with the model, data and optimiser of section pretrain. So it goes on
after a kill, to the same bytes. Each update is one at the largest rate, scaled: updates are linear in the rate.
"""

import csv
import math
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax

from aura.core.errors import UserError
from aura.model.model import Compute, ModelConfig
from aura.pretrain import identity
from aura.pretrain.options import Pretrain
from aura.pretrain.pretrain import Pretraining, opened_base
from aura.pretrain.step import training
from aura.tokenizer import opening
from aura.tokens.token_shards import TokenShards
from aura.training import loop
from aura.training.compiled_programs import keep_compiled
from aura.training.history import Row
from aura.training.run_identity import RunIdentity, code_and_libraries
from aura.training.steps import Outcome, State, Step
from aura.training.timings import Stopwatch

SMOOTHING = 0.9  # share that the running average of the losses keeps at each step: it looks back over ten
AROUND = 0.05  # of the steps, on each side of one: the losses whose mean is its smoothed loss in the curve
BLOWN_UP = 1.5  # times the smallest running average of the losses: above, the test ends
# The place of the smallest loss says less: of a clipped optimiser the loss can dip once more at rates that are far too
# large, where the model has forgotten all but the frequency of each token.
RULE = "the rate at which the smoothed loss fell fastest"
COLUMNS = ("loss", "running_loss", "learning_rate", "gradient_norm")
LEAST_STEPS, MOST_STEPS = 20, 1_000_000
LEAST_RATE = 1e-12


@dataclass(frozen=True)
class Range:
    """The rates of a test: `steps` of them from `low` to `high`, each the same multiple of the one before."""

    low: float
    high: float
    steps: int

    @property
    def around(self) -> int:
        """Losses on each side of one that its smoothed loss is the mean of."""
        return max(1, round(AROUND * self.steps))

    def rate(self, step: int) -> float:
        """The rate of a step, from 0."""
        return float(self.low * (self.high / self.low) ** (step / (self.steps - 1)))

    def share(self, count: Any) -> Any:  # noqa: ANN401 - a number or an array of them
        """The rate of a step, from 0, as a share of the highest; to be traced."""
        return (self.low / self.high) ** (1 - count / (self.steps - 1))


@dataclass(frozen=True)
class Point:
    """A step (from 1), its rate, its loss before the update and the mean of the losses around it, nats per token."""

    step: int
    learning_rate: float
    loss: float
    smoothed_loss: float


@dataclass(frozen=True)
class Curve:
    """What a test found: a point for each step, and the suggestion."""

    points: list[Point]
    suggested: float
    blew_up: bool


@dataclass(frozen=True)
class Taken:
    """Results of the run itself; the curve is read from its plots."""

    blew_up: bool


def measured(tokens: Path, tokenizer_file: Path, work: Path, options: Pretrain, rates: Range) -> Curve:
    """Run the test with section pretrain on token shards; the run's own plots go to the folder `work`.

    Raises:
        UserError: the tokens cannot be read, the range is none, or the losses say nothing about its rates.
    """
    if not LEAST_RATE <= rates.low < rates.high <= 1 or not LEAST_STEPS <= rates.steps <= MOST_STEPS:
        raise UserError(
            f"expected {LEAST_RATE:g} <= --from < --to <= 1 and {LEAST_STEPS} to {MOST_STEPS:,} --steps, got "
            f"--from {rates.low:g} --to {rates.high:g} --steps {rates.steps:,}"
        )
    keep_compiled()
    tokenizer = opening.load(tokenizer_file)
    shards = TokenShards(tokens, tokenizer.encoding_sha256)
    shards.verify()
    base = opened_base(options, tokenizer, tokenizer_file.parent)
    task = RangeTest(shards, tokenizer, _at_highest(options, rates), base, rates)
    trained = loop.run(task, work, Stopwatch())
    points = _points(work / "plots/metrics", rates)
    return Curve(points, suggestion(points, rates), trained.results.blew_up)


def suggestion(points: list[Point], rates: Range) -> float:
    """The suggested rate of a curve, by `RULE`, with two digits.

    Raises:
        UserError: the smoothed loss never fell, or fell fastest at the end of the range.
    """
    around = rates.around
    slopes = [
        (after.smoothed_loss - before.smoothed_loss, middle)
        for before, middle, after in zip(points, points[around:], points[2 * around :], strict=False)
        if math.isfinite(after.smoothed_loss)
    ]
    slope, steepest = min(slopes, key=lambda found: (found[0], found[1].step), default=(0.0, points[0]))
    if slope >= 0:
        raise UserError(
            f"the loss never fell from the rate {rates.low:g} on, so there is none to suggest. Lower --from, or raise "
            "--steps."
        )
    if steepest.step + around >= rates.steps:
        raise UserError(
            f"the loss fell fastest at the highest rate, {rates.high:g}: better ones are above. Raise --to."
        )
    return float(f"{steepest.learning_rate:.1e}")


class RangeTest(Pretraining):
    """A `loop.Task`: pretraining at growing rates. Its last numbers are of no use, so it is not evaluated."""

    activity = "learning-rate range test"
    remedy = "The test ends here: rates from this one on are too large."

    def __init__(self, shards: TokenShards, tokenizer: Any, options: Pretrain, base: Any, rates: Range) -> None:  # noqa: ANN401 - as Pretraining has them
        super().__init__(shards, tokenizer, options, base)
        self._rates, self._blew_up = rates, False
        self.identity: RunIdentity = replace(
            self.identity,
            task="lr-range",
            steps=rates.steps,
            decisive={
                **self.identity.decisive,
                **{f"lr_range.{name}": value for name, value in asdict(rates).items()},
                **code_and_libraries((*identity.CODE, sys.modules[__name__])),
            },
            shared_steps=lambda _: 0,
            checkpoint_every=min(options.checkpoint_every, max(1, rates.steps // 4)),
            columns=COLUMNS,
            best="running_loss",
            beginnings={},
        )
        compute = Compute.of(options, self.mesh.devices.flat[0].platform)
        self._new_state = partial(first_state, options, self.config, compute, rates)

    def compiled_step(self, state: State) -> Step:
        """The step, compiled."""
        step: Step = (
            make_step(self.options, self._rates, self._document_start).lower(state, self.layout.shapes()).compile()
        )
        return step

    def measurements(self, step: int, outcome: dict[str, float]) -> dict[str, float]:
        """Losses and norm of the gradient before the step, and its rate."""
        named = {name: outcome[name] for name in COLUMNS if name in outcome}
        return {**named, "learning_rate": self._rates.rate(step - 1)}

    def evaluates(self, step: int) -> bool:  # noqa: ARG002
        """Never."""
        return False

    def evaluate(self, step: int, state: State, interrupted: Callable[[], bool]) -> dict[str, float] | None:  # noqa: ARG002
        """Return nothing."""
        return {}

    def is_over(self, outcome: dict[str, float]) -> bool:
        """Return whether the loss blew up."""
        is_finite = not outcome["skipped"]
        self._blew_up = not is_finite or outcome["running_loss"] > BLOWN_UP * outcome["best_loss"]
        return self._blew_up

    def progress(self, outcome: dict[str, float], steps_a_second: float) -> str:  # noqa: ARG002
        """Return the loss."""
        return f"loss {outcome['loss']:.3f}"

    def results(self, state: State, last: Row) -> Any:  # noqa: ANN401, ARG002 - another class than that of pretraining
        """Return whether the loss blew up."""
        return Taken(self._blew_up)


def first_state(options: Pretrain, config: ModelConfig, compute: Compute, rates: Range) -> State:
    """The state of pretraining, whose optimiser grows its rate, and the average of the losses; to be traced."""
    state = training.initial_state(options, config, compute)
    zero = jnp.zeros((), jnp.float32)
    curve = {"average": zero, "weight": zero, "best": zero + jnp.inf}
    return {**state, "optimizer": _optimizer(options, rates).init(state["model"]), "curve": curve}


def make_step(options: Pretrain, rates: Range, document_start: int | None = None) -> Any:  # noqa: ANN401 - a function that jax.jit made
    """The compiled step of pretraining, whose outcome also has `running_loss` and the smallest one, `best_loss`."""
    inner = training.make_step(options, document_start, _optimizer(options, rates))

    @partial(jax.jit, donate_argnums=0)
    def step(state: State, batch: dict[str, jax.Array]) -> tuple[State, Outcome]:
        curve = state["curve"]
        moved, outcome = inner({name: part for name, part in state.items() if name != "curve"}, batch)
        average = SMOOTHING * curve["average"] + (1 - SMOOTHING) * outcome["loss"]
        weight = SMOOTHING * curve["weight"] + (1 - SMOOTHING)  # below 1 at first, where there is less to average
        running = average / weight
        best = jnp.fmin(curve["best"], running)
        after = {"average": average, "weight": weight, "best": best}
        return {**moved, "curve": after}, {**outcome, "running_loss": running, "best_loss": best}

    return step


def _at_highest(options: Pretrain, rates: Range) -> Pretrain:
    """Section pretrain with the highest rate throughout: so long a wsd run does not decay within the test."""
    changes = {"schedule": "wsd", "warmup_steps": 0, "steps": 4 * rates.steps, "learning_rate": rates.high}
    return options.model_copy(update={**changes, "spike_limit": None, "where": "local", "evaluate": {}})


def _optimizer(options: Pretrain, rates: Range) -> optax.GradientTransformation:
    return optax.chain(training.optimizer_of(options), optax.scale_by_schedule(rates.share))


def _points(plots: Path, rates: Range) -> list[Point]:
    """The points of a run, from the plots that it wrote."""
    steps, losses = zip(*_column(plots / "loss.tsv"), strict=True)
    around = rates.around
    means = [statistics.fmean(losses[max(0, place - around) : place + around + 1]) for place in range(len(losses))]
    return [
        Point(step, rates.rate(step - 1), loss, mean) for step, loss, mean in zip(steps, losses, means, strict=True)
    ]


def _column(path: Path) -> list[tuple[int, float]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [(int(row[0]), float(row[1])) for row in list(csv.reader(file, delimiter="\t"))[1:]]

"""The training loop: takes a task's steps, evaluates, saves and reports in between, and goes on after a kill.

A `Task` is what one stage differs in from another: its first state, its step, its batches and its measures. All else is
here and in the modules beside it, once: checkpoints, history, plots, SIGTERM, several processes, timings. A killed run
goes on from its last checkpoint to the same bytes, and its plots from the history beside it. In a run of several
processes all compute, and the first one writes.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol

import jax
from jax.sharding import Mesh

from aura.core import console
from aura.core.errors import UserError
from aura.training import distributed
from aura.training.batch_layout import Batches, BatchLayout
from aura.training.checkpoints import Checkpoints
from aura.training.history import History, Plots, Row
from aura.training.profiling import profiled
from aura.training.run_identity import RunIdentity
from aura.training.steps import State, Step, train
from aura.training.termination import Termination
from aura.training.timings import Attempts, Stopwatch


class Results(Protocol):
    """A dataclass: what a run achieved, as metrics.json tells it."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


class Task(Protocol):
    """One kind of training: what the stage `pretrain` does not share with the stage `adapt`.

    A task keeps what it measured; the state of the run is the loop's.
    """

    @property
    def activity(self) -> str:
        """The name of the work in the line of progress, such as pretraining."""

    @property
    def identity(self) -> RunIdentity:
        """All that decides the losses, the names of the measurements, and the place of checkpoints."""

    @property
    def mesh(self) -> Mesh:
        """The devices."""

    @property
    def batches(self) -> Batches:
        """Training data by the number of a step."""

    @property
    def layout(self) -> BatchLayout:
        """Layout of a batch on the mesh."""

    @property
    def remedy(self) -> str:
        """The advice of a message about a run that diverged."""

    def abstract_state(self) -> State:
        """Shapes and places of the state, without making it."""

    def first_state(self) -> State:
        """The state before the first step, on the devices."""

    def compiled_step(self, state: State) -> Step:
        """The step, compiled for a state of this kind; called with the mesh in force."""

    def before(self, number: int, state: State) -> None:
        """Called before each step, with its number (from 0); may change the state, which may not be computed yet."""

    def measurements(self, step: int, outcome: dict[str, float]) -> dict[str, float]:
        """Return what the history tells of a step (from 1) without an evaluation, by the names of the measurements."""

    def is_over(self, outcome: dict[str, float]) -> bool:
        """Return whether this step is the last one, though more were planned; then the state is of no further use."""

    def evaluates(self, step: int) -> bool:
        """Return whether the model is evaluated after `step`; it always is after the last one."""

    def evaluate(self, step: int, state: State, interrupted: Callable[[], bool]) -> dict[str, float] | None:
        """The held-out measurements; None as soon as `interrupted` says so, and then a resumption makes up for it."""

    def progress(self, outcome: dict[str, float], steps_a_second: float) -> str:
        """Return what the line of progress says of the newest step."""

    def results(self, state: State, last: Row) -> Results:
        """Return the results of the run, after its last step."""


@dataclass(frozen=True)
class Trained:
    """A run at its end.

    Attributes:
        state: after the last step.
        results: as `Task.results` gave them.
        steps_timed: those of this attempt, without the first one and its compilation.
        attempts: all starts of this run.
    """

    state: State
    results: Any
    steps_timed: int
    attempts: Attempts


def run(task: Task, reports: Path, watch: Stopwatch, profile: Path | None = None) -> Trained:
    """Train from the newest checkpoint of this very run, or from its first state; write metrics and plots to `reports`.

    With `profile`, a trace of a few steps is written there, for TensorBoard or XProf.

    Raises:
        UserError: a loss diverged, or a checkpoint cannot be read or written.
    """
    training = TrainingRun(task)
    watch.lap("prepare")
    with ExitStack() as stack:
        stack.callback(training.checkpoints.unlock)
        termination = stack.enter_context(Termination(training.checkpoints.unlock))
        training.begin()
        watch.lap("initialise")
        plots = stack.enter_context(Plots(reports if distributed.is_first() else None, task.identity.further))
        first = training.history.step
        folder = training.checkpoints.folder if training.checkpoints.worthwhile else None
        attempts = Attempts(folder, first, watch.began)
        training.loop(plots, attempts, watch, termination, profile)
        results = task.results(training.state, training.last_row)
        plots.sum_up(asdict(results))
    return Trained(training.state, results, max(0, task.identity.steps - first - 1), attempts)


class TrainingRun:
    """A run of a task: its state on the devices, and what it has measured so far."""

    def __init__(self, task: Task) -> None:
        self.task, self.steps = task, task.identity.steps
        self.checkpoints = Checkpoints(task.identity)
        self.history = History(self.checkpoints.folder, task.identity.columns)
        self.past_in = self.checkpoints.folder  # where the rows of the steps before this attempt are
        self.state: State = {}
        self._ends = self._is_settled = False  # of the newest step

    def begin(self) -> None:
        """Fill `state` and `history`: from a checkpoint of this very run, or anew."""
        restored = self.checkpoints.restore(self.task.abstract_state())
        if restored is None:
            self.state = self.task.first_state()
            return
        self.state, self.past_in = restored.state, restored.folder
        self.history.go_on(restored.step, restored.folder, restored.row)
        if distributed.is_first():
            console.err.print(f"going on after step {restored.step:,}, from {restored.folder}", markup=False)

    def loop(
        self, plots: Plots, attempts: Attempts, watch: Stopwatch, termination: Termination, profile: Path | None
    ) -> None:
        """Take the steps that are left; evaluate, save and report in between. SIGTERM ends it with a checkpoint."""
        first, last, task = self.history.step, self.steps, self.task
        if distributed.is_first():
            console.err.print(f"{task.activity}: compiles a step")
        with jax.set_mesh(task.mesh):
            run_step = task.compiled_step(self.state)
        distributed.meet("compiled")
        watch.lap("compile")
        outcomes = train(
            self.state,
            run_step,
            task.batches,
            task.layout,
            first,
            last,
            before=task.before,
            settles=partial(self._settles, termination),
            remedy=task.remedy,
        )
        if distributed.is_first():
            outcomes = console.track(outcomes, task.activity, total=last - first, told=task.progress)
        if profile:
            outcomes = profiled(outcomes, profile)
        with jax.set_mesh(task.mesh):
            self._catch_up(plots, termination, watch)
            with termination.steps():
                for step, outcome in enumerate(outcomes, start=first + 1):
                    watch.lap("first_step" if step == first + 1 else "train")
                    self._record(step, outcome, termination, watch)
                    plots.write(self.last_row)
                    if step == first + 1:
                        watch.lap("log_and_save")  # imports DVCLive
                    self.checkpoints.check()
                    if distributed.is_first():
                        attempts.reached(step, watch.seconds["first_step"] + watch.seconds["train"])
                    if task.is_over(outcome):  # not saved: a run that goes on must come to this step again
                        break
                    self._save(due=self._ends or self.checkpoints.due(step))
                    if self._ends:
                        self.checkpoints.close()
                        termination.end(f"step {step:,} of {last:,} is saved. Run the same command again to go on.")
                    watch.lap("log_and_save" if self._is_settled else "train")  # otherwise the device goes on meanwhile
                self.checkpoints.close()
        watch.lap("log_and_save")
        if termination.asked:  # since the last step
            termination.end(f"step {last:,} of {last:,} is saved. Run the same command again to go on.")

    def _catch_up(self, plots: Plots, termination: Termination, watch: Stopwatch) -> None:
        """Plot the steps before a resumption; evaluate after the last one if that is still due, or ends the run."""
        row, step = self.history.last, self.history.step
        if step == 0:
            return
        if row is None and step == self.steps:
            raise UserError(
                f"{self.past_in}: the loss of step {step} is lost, in its record and in its history. "
                f"Remove {self.past_in}/{step}, and the run goes on from the checkpoint before it."
            )
        due = self._evaluates(step) and row is not None and self.task.identity.best not in row.values
        if row and (step == self.steps or due):
            row = self._evaluated(row, termination, watch)
            self.history.add(row)
        if not distributed.is_first():
            return
        copied = plots.copy(self.history.past(self.past_in))
        if row:
            plots.write(row)
        if lost := step - copied - bool(row):
            console.err.print(
                f"the history in {self.past_in} is damaged: the plots lack {lost:,} of {step:,} steps", markup=False
            )

    def _record(self, step: int, outcome: dict[str, float], termination: Termination, watch: Stopwatch) -> None:
        row = Row(step, self.task.measurements(step, outcome))
        self.history.add(self._evaluated(row, termination, watch) if self._evaluates(step) else row)

    def _settles(self, termination: Termination, step: int) -> bool:
        """Return whether the state after `step` is needed: to save, to evaluate, or because SIGTERM ends the run."""
        self._ends = termination.due(step)
        self._is_settled = self._ends or self.checkpoints.due(step) or self._evaluates(step)
        return self._is_settled

    def _evaluates(self, step: int) -> bool:
        return step == self.steps or self.task.evaluates(step)

    def _evaluated(self, row: Row, termination: Termination, watch: Stopwatch) -> Row:
        """`row` with the held-out measurements of now; without them if SIGTERM cut the evaluation short."""
        measured = self.task.evaluate(row.step, self.state, lambda: termination.asked)
        watch.lap("evaluate")
        return replace(row, values=row.values | (measured or {}))

    @property
    def last_row(self) -> Row:
        """The measurements of the newest step."""
        assert self.history.last is not None  # noqa: S101 - a step was taken, and its row added
        return self.history.last

    def _save(self, *, due: bool) -> None:
        if due:
            self.checkpoints.lock()
            self.history.save(write=distributed.is_first())
            self.checkpoints.save(self.last_row, self.state)

"""What a run has measured so far. It is saved with the weights, and the plots are rewritten from it.

DVC deletes a stage's outputs before it runs the stage again, so plots alone could not survive a kill.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

from dvclive import Live

from aura.params import Pretrain
from aura.self_teaching_llm.optimizer import make_schedule


@dataclass(frozen=True)
class Evaluation:
    """Held-out bits per byte after `step` steps, of all text and by source."""

    step: int
    bits_per_byte: float
    by_source: dict[str, float]


@dataclass
class History:
    """One number per step taken, and the evaluations between them; about 40 bytes a step in a checkpoint."""

    loss: list[float] = field(default_factory=list)  # nats per token
    gradient_norm: list[float] = field(default_factory=list)  # before clipping
    evaluations: list[Evaluation] = field(default_factory=list)

    @property
    def step(self) -> int:
        """Steps taken."""
        return len(self.loss)

    @property
    def evaluated_now(self) -> Evaluation | None:
        """The evaluation of the last step taken, if it was evaluated."""
        return self.evaluations[-1] if self.evaluations and self.evaluations[-1].step == self.step else None

    def to_record(self) -> dict[str, Any]:
        """As JSON can hold it; floats keep every bit."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "History":
        """The inverse of `to_record`."""
        evaluations = [Evaluation(**evaluation) for evaluation in record["evaluations"]]
        return cls(record["loss"], record["gradient_norm"], evaluations)


class Plots:
    """DVCLive's rows for a history: each step's once, those before a resumption too.

    Arguments:
        live: where to write, or None in a process that writes nothing.
        options: of the run.
    """

    def __init__(self, live: Live | None, options: Pretrain) -> None:
        self._live, self._rate = live, make_schedule(options)

    def write(self, history: History, first: int) -> None:
        """Write the rows of all steps after `first`."""
        if self._live is None:
            return
        evaluations = {evaluation.step: evaluation for evaluation in history.evaluations}
        for step in range(first + 1, history.step + 1):
            self._live.step = step
            self._live.log_metric("loss", history.loss[step - 1])
            self._live.log_metric("gradient_norm", history.gradient_norm[step - 1])
            self._live.log_metric("learning_rate", float(self._rate(step - 1)))
            if step in evaluations:
                self._live.log_metric("bits_per_byte", evaluations[step].bits_per_byte)

"""Rows and checkpoints of runs of pretraining that never train. Importing this imports JAX."""

from aura.pretrain.identity import COLUMNS, run_identity
from aura.pretrain.options import Pretrain
from aura.training.checkpoints import Checkpoints
from aura.training.history import Row


def row_of(step: int, *values: float | None) -> Row:
    """The row of a step of pretraining: loss, norm of the gradient, learning rate, and bits per byte if evaluated."""
    named = zip(COLUMNS, values, strict=False)
    return Row(step, {name: value for name, value in named if value is not None})


def checkpoints_of(options: Pretrain, tokens: str = "tokens") -> Checkpoints:
    """The checkpoints of a run of pretraining on tokens with this hash."""
    return Checkpoints(run_identity(options, tokens))

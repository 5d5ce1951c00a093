"""The options of `adapt` in params.yaml. The machine (precision, mesh, checkpoints) is that of `pretrain`."""

from typing import Annotated, Literal

from pydantic import Field

from aura.core.section import Section

Matrix = Literal["query", "key", "value", "output", "gate", "up", "down"]


class Adapt(Section):
    """The adaptation of the language model to conversations."""

    where: Literal["local", "tpu"]
    seed: int = Field(ge=0, le=2**32 - 1)
    steps: int = Field(ge=1, le=100_000_000)
    batch_size: int = Field(ge=1, le=1_000_000)
    learning_rate: float = Field(gt=0, le=1)
    rank: int = Field(ge=0, le=65_536)
    alpha: float = Field(gt=0, le=1_000_000)
    matrices: Annotated[list[Matrix], Field(min_length=1)]
    teacher_weight: float = Field(ge=0, le=1000)
    teacher_decay: float = Field(ge=0, le=1)
    teach: Literal["reference", "own"]
    own_every: int = Field(ge=1, le=1_000_000)
    max_forgetting: Annotated[float, Field(ge=0, le=100)] | None
    eval_every: int = Field(ge=1, le=100_000_000)

    @property
    def has_teacher(self) -> bool:
        """Return whether a slow copy of the weights is kept."""
        return self.teach == "own" or self.teacher_weight > 0

"""The options of `pretrain` in params.yaml."""

from typing import Annotated, Literal

from pydantic import Field

from aura.core.params import SourceName
from aura.core.section import Section
from aura.model.options import MODEL_SIZES, Shape, Size


class Pretrain(Section):
    """The language model and its training run."""

    where: Literal["local", "tpu"]
    seed: int = Field(ge=0, le=2**32 - 1)
    steps: int = Field(ge=1, le=100_000_000)
    batch_size: int = Field(ge=1, le=1_000_000)
    accumulation: int = Field(ge=1, le=1_000_000)
    seq_len: int = Field(ge=8, le=2**20)
    source_weights: dict[SourceName, Annotated[float, Field(ge=0, le=1_000_000)]]
    learning_rate: float = Field(gt=0, le=1)
    schedule: Literal["cosine", "wsd"]
    warmup_steps: int = Field(ge=0)
    weight_decay: float = Field(ge=0, le=1)
    grad_clip: float = Field(gt=0, le=1000)
    z_loss: float = Field(ge=0, le=1)
    size: Size
    tied_embeddings: bool
    affect_conditioning: bool
    precision: Literal["float32", "bfloat16"]
    remat: bool
    fsdp: int = Field(ge=1, le=1_000_000)
    tensor: int = Field(ge=1, le=1024)
    eval_every: int = Field(ge=1, le=100_000_000)
    eval_tokens: int = Field(ge=1024, le=1_000_000_000)
    checkpoint_folder: str
    checkpoint_every: int = Field(ge=1, le=100_000_000)

    @property
    def shape(self) -> Shape:
        """The model's sizes: those given, or those of the name."""
        return MODEL_SIZES[self.size] if isinstance(self.size, str) else self.size

"""The options of `pretrain` in params.yaml."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, PlainValidator
from pydantic_core import PydanticCustomError

from aura.core import hub_address
from aura.core.params import SourceName
from aura.core.section import NUMBER, NUMBER_OR_AUTO, WHOLE, Auto, Section
from aura.model.options import MODEL_SIZES, Shape, Size, rope_base_for

MASKED_FROM = 16_384  # tokens of a sequence; see `masks_documents`
LARGEST_ROPE_BASE = 1e9
MOST_BATCHES = 200_000_000  # the largest number of a batch in `skip`


def _base(value: object) -> str | None:
    """A folder, an address on the Hub at a full commit, or none."""
    if value is None or (isinstance(value, str) and value and hub_address.is_right(value)):
        return value
    raise PydanticCustomError("base_weights", f"null, a folder, or {hub_address.FORM}")


Steps = Annotated[int, Field(ge=1, le=100_000_000), WHOLE, NUMBER]
BatchSize = Annotated[int, Field(ge=1, le=1_000_000), NUMBER]
Rate = Annotated[float, Field(gt=0, le=1), NUMBER]
WarmupSteps = Annotated[int, Field(ge=0), NUMBER]
Decay = Annotated[float, Field(ge=0, le=1), NUMBER]


def _passed_over(value: object) -> list[tuple[int, int]]:
    """Ranges of batches, from 1, both ends in; ascending, where no two of them meet: neighbours become one."""
    error = PydanticCustomError(
        "passed_over", "[] or pairs [from, to] of numbers of batches, from 1, where from is at most to"
    )
    if not isinstance(value, list | tuple):
        raise error
    merged: list[tuple[int, int]] = []
    for pair in sorted(_pair(each, error) for each in value):
        if merged and pair[0] <= merged[-1][1]:
            raise PydanticCustomError(
                "overlap",
                "pairs that do not overlap, but {one} and {other} do",
                {"one": str([*merged[-1]]), "other": str([*pair])},
            )
        if merged and pair[0] == merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], pair[1])
        else:
            merged.append(pair)
    return merged


def _pair(value: object, error: Exception) -> tuple[int, int]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise error
    first, last = value
    if type(first) is not int or type(last) is not int or not 1 <= first <= last <= MOST_BATCHES:
        raise error
    return first, last


def _rope_base(value: object) -> float | str:
    """`auto`, or a number as a float."""
    if value == "auto":
        return "auto"
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 1 < value <= LARGEST_ROPE_BASE:
        return float(value)
    raise PydanticCustomError("rope_base", "auto, or a number above 1 and up to 1000000000")


def _document_masks(value: object) -> bool | str:
    if value == "auto" or isinstance(value, bool):
        return value
    raise PydanticCustomError("document_masks", "auto, true or false")


class _Common(Section):
    """The options that nothing decides but their values."""

    model_config = ConfigDict(serialize_by_alias=True)  # `from` is a word of Python's own

    where: Literal["local", "tpu"]
    seed: int = Field(ge=0, le=2**32 - 1)
    accumulation: int = Field(ge=1, le=1_000_000)
    seq_len: int = Field(ge=8, le=2**20)
    source_weights: dict[SourceName, Annotated[float, Field(ge=0, le=1_000_000)]]
    optimizer: Literal["muon", "adamw"]
    token_budget: Annotated[int, Field(ge=1, le=10**15), WHOLE] | None
    schedule: Literal["cosine", "wsd"]
    grad_clip: float = Field(gt=0, le=1000)
    z_loss: float = Field(ge=0, le=1)
    skip: Annotated[list[tuple[int, int]], PlainValidator(_passed_over)]
    spike_limit: Annotated[float, Field(gt=0, le=1_000_000)] | None
    size: Size
    tied_embeddings: bool
    qk_norm: bool
    rope_base: Annotated[float | str, PlainValidator(_rope_base)]
    document_masks: Annotated[bool | str, PlainValidator(_document_masks)]
    base: Annotated[str | None, PlainValidator(_base)] = Field(alias="from")  # which then decides the two before it
    train_embeddings_first: int = Field(ge=0, le=100_000_000)
    affect_conditioning: bool
    precision: Literal["float32", "bfloat16"]
    remat: bool
    fsdp: int = Field(ge=1, le=1_000_000)
    tensor: int = Field(ge=1, le=1024)
    eval_every: int = Field(ge=1, le=100_000_000)
    eval_tokens: int = Field(ge=1024, le=1_000_000_000)
    evaluate: dict[SourceName, Annotated[str, Field(min_length=1)]]
    checkpoint_folder: str
    checkpoint_every: int = Field(ge=1, le=100_000_000)

    @property
    def shape(self) -> Shape:
        """The model's sizes: those given, or those of the name."""
        return MODEL_SIZES[self.size] if isinstance(self.size, str) else self.size

    @property
    def rotary_base(self) -> float:
        """The base of rotary positions: the one given, or that of the length."""
        return rope_base_for(self.seq_len) if isinstance(self.rope_base, str) else self.rope_base

    @property
    def masks_documents(self) -> bool:
        """Return whether a token sees its own document alone.

        Llama 3 found little effect of such a mask in usual pretraining, and a large one on very long sequences
        (arXiv:2407.21783, section 3.2).
        """
        return self.seq_len >= MASKED_FROM if isinstance(self.document_masks, str) else self.document_masks


class Pretrain(_Common):
    """A training run of the language model, with all its numbers."""

    steps: Steps
    batch_size: BatchSize
    learning_rate: Rate
    warmup_steps: WarmupSteps
    weight_decay: Decay


class PretrainSection(_Common):
    """The language model and its training run, of which `aura/pretrain/recipe.py` may decide some numbers (`auto`)."""

    steps: Annotated[Steps | Auto, NUMBER_OR_AUTO]
    batch_size: Annotated[BatchSize | Auto, NUMBER_OR_AUTO]
    learning_rate: Annotated[Rate | Auto, NUMBER_OR_AUTO]
    warmup_steps: Annotated[WarmupSteps | Auto, NUMBER_OR_AUTO]
    weight_decay: Annotated[Decay | Auto, NUMBER_OR_AUTO]

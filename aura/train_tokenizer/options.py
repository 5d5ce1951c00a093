"""The options of `train_tokenizer` in params.yaml."""

from typing import Annotated, Literal

from pydantic import Field, PlainValidator
from pydantic_core import PydanticCustomError

from aura.core import hub_address
from aura.core.section import WHOLE, Section

NAMED_SIZES = {"tiny": 2_000, "small": 8_000, "medium": 16_000, "large": 32_000, "xl": 50_000}  # pieces
SIZE_NAMES = (*NAMED_SIZES, "auto")


def _vocabulary_size(value: object) -> int | str:
    """A number of pieces or a name of one; a union of types would report every mistake twice."""
    if value in SIZE_NAMES or (type(value) is int and 264 <= value <= 1_000_000):
        return value
    raise PydanticCustomError("vocabulary_size", f"264 to 1000000 or one of {', '.join(SIZE_NAMES)}")


def _base(value: object) -> str | None:
    """A path, a version, an address on the Hub at a full commit, or none."""
    if value is None or (isinstance(value, str) and 1 <= len(value) <= 1000 and hub_address.is_right(value)):
        return value
    raise PydanticCustomError("base_tokenizer", f"null, a path, a version, or {hub_address.FORM}")


Role = Literal["pad", "bos", "eos", "unk", "system", "user", "assistant", "thought", "action", "observation", "tool"]


class TrainTokenizer(Section):
    """The tokenizer."""

    base: Annotated[str | None, PlainValidator(_base)] = Field(alias="from")
    roles: dict[Role, str | int | None]
    extend: int = Field(ge=0, le=1_000_000)
    keep: list[str]
    max_changed: float = Field(ge=0, le=1)
    model_type: Literal["unigram", "bpe"]
    vocab_size: Annotated[int | str, PlainValidator(_vocabulary_size)]
    model_parameters: Annotated[int, Field(ge=1, le=10**13), WHOLE] | None
    token_budget: Annotated[int, Field(ge=1, le=10**15), WHOLE] | None
    character_coverage: float = Field(ge=0.98, le=1)  # SentencePiece's own range
    max_piece_chars: int = Field(ge=1, le=64)
    max_segments: int = Field(ge=1000, le=10**9)
    split_digits: bool
    split_by_script: bool
    split_by_number: bool
    whitespace_pieces: bool
    special_tokens: bool
    reserved_tokens: int = Field(ge=0, le=1024)
    extra_special_tokens: list[str]
    user_symbols: list[Annotated[str, Field(min_length=1)]]

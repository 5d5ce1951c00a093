"""The options of `validate` in params.yaml."""

from typing import Annotated, Literal

from pydantic import Field

from aura.core.section import Section

Share = Annotated[float, Field(ge=0, le=1)]


Waivable = Literal[
    "bytes_per_token",
    "fertility",
    "unknown_share",
    "byte_fallback_share",
    "group_byte_fallback_share",
    "unused_share",
    "unreachable_share",
    "round_trip_failures",
    "forgeable_special_tokens",
    "changed_share",
]


class Validate(Section):
    """The gates a tokenizer must pass."""

    min_bytes_per_token: Annotated[float, Field(ge=1, le=16)] | None
    max_fertility: Annotated[float, Field(ge=1, le=100)] | None
    max_unknown_share: Share | None
    max_byte_fallback_share: Share | None
    max_group_byte_fallback_share: Share | None
    max_unused_share: Share | None
    max_unreachable_share: Share | None
    waive: list[Waivable]

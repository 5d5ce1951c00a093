"""The options of `select` in params.yaml."""

from typing import Annotated, Literal

from pydantic import Field

from aura.core.params import SourceName
from aura.core.section import Section


class Caps(Section):
    """At most so much of one source; `None` means no cap. `share` is of its documents."""

    share: float | None = Field(None, gt=0, le=1)
    max_files: int | None = Field(None, ge=1)
    max_documents: int | None = Field(None, ge=1)
    max_bytes: int | None = Field(None, ge=1)


class Select(Section):
    """Choice of the corpus from all sources together, and its split."""

    deduplicate: Literal["exact", "none"]
    prefer: list[SourceName] = Field(default_factory=list)
    near_duplicates: Annotated[float, Field(ge=0.5, le=1)] | None
    held_out: float = Field(ge=0.0001, le=0.5)
    caps: dict[SourceName, Caps]

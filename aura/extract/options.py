"""The options of `extract` in params.yaml: the sources, and how they are read and cleaned."""

from typing import Annotated, Literal

from pydantic import Field

from aura.core.params import SourceName
from aura.core.section import NUMBER, NUMBER_OR_AUTO, Auto, Section
from aura.sources.options import Source


class Extract(Section):
    """Reading and cleaning; see params.yaml for units and ranges of this and every other section."""

    sources: dict[SourceName, Source] = Field(min_length=1)
    min_chars: int = Field(ge=0, le=1_000_000)
    invalid_text: Literal["drop", "replace"]
    on_bad_file: Literal["skip", "fail"]
    max_document_bytes: int = Field(ge=1000, le=1_000_000_000)
    lexicon: str
    shards: Annotated[Annotated[int, Field(ge=1, le=4096), NUMBER] | Auto, NUMBER_OR_AUTO]

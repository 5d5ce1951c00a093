"""The options of `conversations` in params.yaml: the sources, and what is kept of them."""

from typing import Annotated, Literal

from pydantic import Field

from aura.core.params import SourceName
from aura.core.section import Section
from aura.sources.options import Encoding


class JsonConversations(Section):
    """A folder of files of JSON records, or one file; `glob`, `encoding` and `links` are those of extract."""

    kind: Literal["json"]
    path: str
    glob: str | None = Field(default=None, min_length=1)
    encoding: Encoding = None
    links: Literal["inside", "anywhere"] = "inside"


class ParquetConversations(Section):
    """A folder of .parquet files, or one file; a row is a record."""

    kind: Literal["parquet"]
    path: str
    glob: str | None = Field(default=None, min_length=1)
    links: Literal["inside", "anywhere"] = "inside"


class DatasetConversations(Section):
    """A Hugging Face dataset: the file at `path` pins its name, split and revision; a row is a record."""

    kind: Literal["dataset"]
    path: str


class DocstringConversations(Section):
    """The built-in set: questions about the functions and classes of the packages that the file at `path` pins."""

    kind: Literal["docstrings"]
    path: str


ConversationSource = Annotated[
    JsonConversations | ParquetConversations | DatasetConversations | DocstringConversations,
    Field(discriminator="kind"),
]


class Conversations(Section):
    """The conversations that a model is adapted on; see params.yaml for units and ranges."""

    sources: dict[SourceName, ConversationSource] = Field(min_length=1)
    held_out: float = Field(ge=0.0001, le=0.5)
    max_record_bytes: int = Field(ge=1000, le=1_000_000_000)

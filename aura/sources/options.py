"""A source as params.yaml names it: where its files are, of which kind, and how they are read."""

import codecs
import contextlib
from typing import Annotated, Literal

from pydantic import Field, PlainValidator
from pydantic_core import PydanticCustomError

from aura.core.section import Section

TEXT_KEYS = ("text", "content", "body", "message", "messages", "conversations", "conversation")


def _text_encoding(value: object) -> str | None:
    """The name of a codec that turns bytes into text, whatever block they are read in."""
    if value is None:
        return None
    if isinstance(value, str) and value and value.isascii() and not set(value) & _NO_CODEC_NAME:
        with contextlib.suppress(LookupError):
            codec = codecs.lookup(value)
            if codec._is_text_encoding and codec.incrementaldecoder and codec.name not in _NO_TEXT_ENCODINGS:
                return value
    raise PydanticCustomError("encoding", f"an encoding that Python knows, such as {', '.join(ENCODINGS)}")


# A small part of what Python knows: those that the web's texts are in.
ENCODINGS = (
    *("utf-8", "utf-16", "utf-32", "cp1252", "latin-1", "cp1250", "cp1251", "koi8-r", "iso8859-2", "iso8859-7"),
    *("cp1253", "cp1254", "cp1255", "cp1256", "cp874", "gb18030", "hz", "big5", "shift_jis", "cp932", "euc_jp"),
    *("iso2022_jp", "euc_kr", "cp949", "iso2022_kr", "cp437", "mac_roman", "utf-7"),
)
_NO_TEXT_ENCODINGS = {"idna", "punycode", "undefined"}  # host names, which no block of a file may cut; nothing
_NO_CODEC_NAME = set("/\\\0 \t\n")  # codecs.lookup imports a module of the name

Encoding = Annotated[str | None, PlainValidator(_text_encoding)]


class TxtSource(Section):
    """A folder of .txt and .md files, or of those whose names match `glob` (`**/*.rst`); as in JSON and Parquet.

    `encoding` names that of files without a Unicode mark; without it they are UTF-8, or UTF-16 or UTF-32 by evidence.
    `links` says where links to files may lead: "inside" the folder, or "anywhere".
    """

    kind: Literal["txt"]
    path: str
    glob: str | None = Field(default=None, min_length=1)
    encoding: Encoding = None
    links: Literal["inside", "anywhere"] = "inside"
    documents: Literal["file", "blank_line", "line"] = "file"


class JsonSource(Section):
    """A folder of files of JSON values, .json and .jsonl; `text_keys` are dotted paths, the first with a text counts.

    A record that has a text is one document, and records inside it are not read; with `nested: true`, they are, too.
    """

    kind: Literal["json"]
    path: str
    glob: str | None = Field(default=None, min_length=1)
    encoding: Encoding = None
    links: Literal["inside", "anywhere"] = "inside"
    text_keys: list[str] = Field(default=list(TEXT_KEYS), min_length=1)
    nested: bool = False


class ParquetSource(Section):
    """A folder of .parquet files; `text_keys` are columns or dotted paths, the first that holds a string counts."""

    kind: Literal["parquet"]
    path: str
    glob: str | None = Field(default=None, min_length=1)
    links: Literal["inside", "anywhere"] = "inside"
    text_keys: list[str] = Field(default=list(TEXT_KEYS), min_length=1)


class DatasetSource(Section):
    """A Hugging Face dataset: the file at `path` pins its name, split and revision; `text_keys` as in Parquet."""

    kind: Literal["dataset"]
    path: str
    text_keys: list[str] = Field(default=list(TEXT_KEYS), min_length=1)


class SampleSource(Section):
    """The built-in sample: documentation inside the installed packages that the file at `path` pins."""

    kind: Literal["sample"]
    path: str


Source = Annotated[TxtSource | JsonSource | ParquetSource | DatasetSource | SampleSource, Field(discriminator="kind")]

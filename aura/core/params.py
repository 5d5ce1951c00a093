"""The typed view of params.yaml: every knob's type and range, checked before any work.

params.yaml is the only place of values; nothing here has a default except the per-source options, which a
source may leave out. An unknown key, a wrong type or a value out of range is a `UserError` that names the
key, what was expected, what came, and the nearest right name.
"""

import codecs
import contextlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, PlainValidator, Tag
from pydantic_core import PydanticCustomError

from aura.core.bounded import Unreadable, read_yaml
from aura.core.errors import UserError
from aura.core.section import Section, checked, nearest
from aura.core.shown_text import holds_secret

PARAMS_FILE = Path("params.yaml")
texts_read: list[str] = []  # different ones that `load` got from PARAMS_FILE, for `stage_inputs`

SourceName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
Share = Annotated[float, Field(ge=0, le=1)]
VOCABULARY_NAMES = ("tiny", "small", "medium", "large", "xl", "auto")
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


def one_document_per_file(source: "Source") -> bool:
    """Whether each of a source's files is one document, which then has the file's name."""
    return source.kind == "sample" or (source.kind == "txt" and source.documents == "file")


def encoding_of(source: "Source") -> str | None:
    """The encoding that a source names for its files, if it does."""
    return source.encoding if isinstance(source, (TxtSource, JsonSource)) else None


Source = Annotated[TxtSource | JsonSource | ParquetSource | DatasetSource | SampleSource, Field(discriminator="kind")]


class Extract(Section):
    """Reading and cleaning; see params.yaml for units and ranges of this and every other section."""

    sources: dict[SourceName, Source] = Field(min_length=1)
    min_chars: int = Field(ge=0, le=1_000_000)
    invalid_text: Literal["drop", "replace"]
    on_bad_file: Literal["skip", "fail"]
    max_document_bytes: int = Field(ge=1000, le=1_000_000_000)
    lexicon: str
    shards: Annotated[int, Field(ge=1, le=4096)] | Literal["auto"]


def _store_url(value: object) -> str | None:
    """An address that holds no secret, because it is written into manifests; or none."""
    if value is None:
        return None
    if isinstance(value, str) and re.fullmatch(r"[a-z][a-z0-9+.-]*://[^@?#]*[^@?#/]", value):
        return value
    raise PydanticCustomError("store_url", "null or an address such as gs://BUCKET/PREFIX, without user and query")


class Caps(Section):
    """At most so much of one source; `None` means no cap. `share` is of its documents."""

    share: float | None = Field(None, gt=0, le=1)
    max_files: int | None = Field(None, ge=1)
    max_documents: int | None = Field(None, ge=1)
    max_bytes: int | None = Field(None, ge=1)


class Select(Section):
    """What of all sources together becomes the corpus, and its split."""

    deduplicate: Literal["exact", "none"]
    near_duplicates: Annotated[float, Field(ge=0.5, le=1)] | None
    held_out: float = Field(ge=0.0001, le=0.5)
    caps: dict[SourceName, Caps]


def _vocabulary_size(value: object) -> int | str:
    """A number of pieces or a name of one; a union of types would report every mistake twice."""
    if value in VOCABULARY_NAMES or (type(value) is int and 264 <= value <= 1_000_000):
        return value
    raise PydanticCustomError("vocabulary_size", f"264 to 1000000 or one of {', '.join(VOCABULARY_NAMES)}")


class TrainTokenizer(Section):
    """The tokenizer."""

    model_type: Literal["unigram", "bpe"]
    vocab_size: Annotated[int | str, PlainValidator(_vocabulary_size)]
    model_parameters: Annotated[int, Field(ge=1, le=10**13)] | None
    token_budget: Annotated[int, Field(ge=1, le=10**15)] | None
    character_coverage: float = Field(ge=0.98, le=1)  # SentencePiece's own range
    max_piece_chars: int = Field(ge=1, le=64)
    split_digits: bool
    split_by_script: bool
    split_by_number: bool
    whitespace_pieces: bool
    special_tokens: bool
    reserved_tokens: int = Field(ge=0, le=1024)
    extra_special_tokens: list[str]
    user_symbols: list[Annotated[str, Field(min_length=1)]]


class Validate(Section):
    """The gates a tokenizer must pass."""

    min_bytes_per_token: Annotated[float, Field(ge=1, le=16)] | None
    max_fertility: Annotated[float, Field(ge=1, le=100)] | None
    max_unknown_share: Share | None
    max_byte_fallback_share: Share | None
    max_group_byte_fallback_share: Share | None
    max_unused_share: Share | None
    max_unreachable_share: Share | None


class Encode(Section):
    """How documents are laid out in the token shards."""

    add_bos: bool
    add_eos: bool


class Shape(Section):
    """The sizes of a model."""

    layers: int = Field(ge=1, le=1000)
    width: int = Field(ge=8, le=65_536)
    heads: int = Field(ge=1, le=1024)
    kv_heads: int = Field(ge=1, le=1024)
    hidden: int = Field(ge=8, le=2**20)


# SwiGLU has 8/3 of the width (as many weights as a layer of four times the width without a gate,
# arXiv:2002.05202), rounded up to 128 features; half as many key/value heads as heads.
MODEL_SIZES = {  # parameters with 32,000 pieces and tied embeddings: 5 M, 110 M, 320 M, 1.2 B
    "tiny": Shape(layers=4, width=128, heads=4, kv_heads=2, hidden=384),
    "small": Shape(layers=12, width=768, heads=12, kv_heads=6, hidden=2048),
    "medium": Shape(layers=24, width=1024, heads=16, kv_heads=8, hidden=2816),
    "large": Shape(layers=24, width=2048, heads=16, kv_heads=8, hidden=5504),
}


def _kind_of_size(value: object) -> str:
    return "shape" if isinstance(value, (dict, Shape)) else "name"


Size = Annotated[
    Annotated[Literal["tiny", "small", "medium", "large"], Tag("name")] | Annotated[Shape, Tag("shape")],
    Discriminator(_kind_of_size),
]


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


class CacheLimits(Section):
    """The action cache; no stage depends on it, because it changes no output."""

    max_gb: float = Field(ge=0, le=1_000_000)

    @property
    def max_bytes(self) -> float:
        """The same in bytes."""
        return self.max_gb * 1e9


class Params(Section):
    """All of params.yaml."""

    cache: CacheLimits
    cluster: str | None  # of no stage either: the same bytes come out wherever work runs
    store: Annotated[str | None, PlainValidator(_store_url)]
    extract: Extract
    select: Select
    train_tokenizer: TrainTokenizer
    validation: Validate = Field(alias="validate")  # pydantic keeps the name `validate` for itself
    encode: Encode
    pretrain: Pretrain


def load(path: Path = PARAMS_FILE) -> Params:
    """Read and check params.yaml; every mistake in it is listed in one `UserError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path} is missing. Run this in the project's folder, or `git checkout {path}`.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not valid UTF-8: {error}") from None
    if path == PARAMS_FILE and text not in texts_read:
        texts_read.append(text)
    return parse(text, path)


def parse(text: str, path: Path) -> Params:
    """Check the text of a params.yaml; `path` is what messages call it."""
    try:
        values = read_yaml(text)
    except Unreadable as error:
        raise UserError(f"{path} is not valid YAML: {error}") from None
    return checked_together(values, str(path))


def checked_together(values: Any, name: str) -> Params:  # noqa: ANN401 - what YAML or a caller gives
    """Check the values of a whole params.yaml, each and together; messages begin with `name`."""
    params = checked(Params, values, name)
    _check_together(name, params)
    return params


def changed(params: Params, changes: Mapping[str, Any]) -> Params:
    """The same with other values for some keys, such as `pretrain.steps`; checked like a file.

    Raises:
        UserError: a value is not one that params.yaml could hold; the message names its key.
    """
    values = params.model_dump(by_alias=True)
    for key, value in changes.items():
        section, _, name = key.partition(".")
        values[section][name] = value
    return checked_together(values, "params.yaml with options and variables")


def _check_together(name: str, params: Params) -> None:
    """Rules that bind several keys."""
    run, sources = params.pretrain, params.extract.sources
    width, heads, kv_heads, hidden = run.shape.width, run.shape.heads, run.shape.kv_heads, run.shape.hidden
    rules = [
        (
            width % heads == 0,
            f"pretrain.size.width ({width}) must be divisible by pretrain.size.heads ({heads})",
        ),
        (
            (width // heads) % 2 == 0,
            "pretrain.width / pretrain.size.heads must be even (rotary embeddings turn pairs)",
        ),
        (
            heads % kv_heads == 0,
            f"pretrain.size.heads ({heads}) must be divisible by pretrain.size.kv_heads ({kv_heads})",
        ),
        (
            kv_heads % run.tensor == 0 and hidden % run.tensor == 0,
            f"pretrain.tensor ({run.tensor}) must divide pretrain.size.kv_heads ({kv_heads}) and "
            f"pretrain.size.hidden ({hidden})",
        ),
        (
            width % run.fsdp == 0,
            f"pretrain.fsdp ({run.fsdp}) must divide pretrain.size.width ({width})",
        ),
        (
            run.batch_size % run.accumulation == 0,
            f"pretrain.accumulation ({run.accumulation}) must divide pretrain.batch_size ({run.batch_size})",
        ),
        (
            run.warmup_steps <= run.steps,
            f"pretrain.warmup_steps ({run.warmup_steps}) must be at most pretrain.steps ({run.steps})",
        ),
        *(
            (name in sources, f"select.caps.{name}: no such source;{nearest(name, list(sources))}")
            for name in params.select.caps
        ),
        *(
            (name in sources, f"pretrain.source_weights.{name}: no such source;{nearest(name, list(sources))}")
            for name in run.source_weights
        ),
    ]
    places = {"cluster": params.cluster or "", "pretrain.checkpoint_folder": run.checkpoint_folder}
    places |= {f"extract.sources.{source}.path": entry.path for source, entry in sources.items()}
    rules += [
        (not holds_secret(place), f"{key} holds a user, password or key, and git would keep it. Leave it out")
        for key, place in places.items()
    ]
    broken = [f"{name}: {message}" for holds, message in rules if not holds]
    if broken:
        raise UserError("\n".join(broken))

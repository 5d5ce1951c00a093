"""The typed view of params.yaml: every knob's type and range, checked before any work.

params.yaml is the only place of values; nothing here has a default except the per-source options, which a
source may leave out. An unknown key, a wrong type or a value out of range is a `UserError` that names the
key, what was expected, what came, and the nearest right name.
"""

import difflib
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from aura.errors import UserError

PARAMS_FILE = Path("params.yaml")

SourceName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
Share = Annotated[float, Field(ge=0, le=1)]
TEXT_KEYS = ("text", "content", "body", "message")


class Section(pydantic.BaseModel):
    """A part of params.yaml: no unknown keys, no silent conversions, immutable."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True, frozen=True)


Model = typing.TypeVar("Model", bound=Section)


class TxtSource(Section):
    """A folder of .txt and .md files."""

    kind: Literal["txt"]
    path: str
    documents: Literal["file", "blank_line", "line"] = "file"


class JsonSource(Section):
    """A folder of .json and .jsonl files; `text_keys` are dotted paths, the first one present counts."""

    kind: Literal["json"]
    path: str
    text_keys: list[str] = Field(default=list(TEXT_KEYS), min_length=1)


class ParquetSource(Section):
    """A folder of .parquet files; `text_keys` are columns or dotted paths, the first that holds a string counts."""

    kind: Literal["parquet"]
    path: str
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


class Extract(Section):
    """Reading and cleaning; see params.yaml for units and ranges of this and every other section."""

    sources: dict[SourceName, Source] = Field(min_length=1)
    min_chars: int = Field(ge=0, le=1_000_000)
    invalid_text: Literal["drop", "replace"]
    on_bad_file: Literal["skip", "fail"]
    lexicon: str
    shards: int = Field(ge=1, le=256)


class Caps(Section):
    """At most so much of one source; `None` means no cap."""

    max_files: int | None = Field(None, ge=1)
    max_documents: int | None = Field(None, ge=1)
    max_bytes: int | None = Field(None, ge=1)


class Select(Section):
    """What of all sources together becomes the corpus, and its split."""

    deduplicate: Literal["exact", "none"]
    held_out: float = Field(ge=0.0001, le=0.5)
    caps: dict[SourceName, Caps]


class TrainTokenizer(Section):
    """The tokenizer."""

    model_type: Literal["unigram", "bpe"]
    vocab_size: int = Field(ge=300, le=1_000_000)
    character_coverage: float = Field(ge=0.9, le=1)
    max_piece_chars: int = Field(ge=1, le=64)
    split_digits: bool
    split_by_script: bool
    split_by_number: bool
    whitespace_pieces: bool
    special_tokens: bool
    reserved_tokens: int = Field(ge=0, le=1024)
    user_symbols: list[Annotated[str, Field(min_length=1)]]


class Validate(Section):
    """The gates a tokenizer must pass."""

    min_bytes_per_token: Annotated[float, Field(ge=1, le=16)] | None
    max_fertility: Annotated[float, Field(ge=1, le=100)] | None
    max_unknown_share: Share | None
    max_byte_fallback_share: Share | None
    max_unused_share: Share | None
    round_trip: bool


class Encode(Section):
    """How documents are laid out in the token shards."""

    add_bos: bool
    add_eos: bool


@dataclass(frozen=True)
class ModelSize:
    """A named size; what follows from it (heads, SwiGLU features) is derived in `Pretrain.shape`."""

    layers: int
    width: int
    head_width: int


MODEL_SIZES = {  # parameters with 32,000 pieces and tied embeddings: 5 M, 110 M, 320 M, 1.2 B
    "tiny": ModelSize(4, 128, 32),
    "small": ModelSize(12, 768, 64),
    "medium": ModelSize(24, 1024, 64),
    "large": ModelSize(24, 2048, 128),
}


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
    size: Literal["tiny", "small", "medium", "large"]
    layers: Annotated[int, Field(ge=1, le=1000)] | None
    width: Annotated[int, Field(ge=8, le=65_536)] | None
    heads: Annotated[int, Field(ge=1, le=1024)] | None
    kv_heads: Annotated[int, Field(ge=1, le=1024)] | None
    hidden: Annotated[int, Field(ge=8, le=2**20)] | None
    tied_embeddings: bool
    affect_conditioning: bool
    precision: Literal["float32", "bfloat16"]
    remat: bool
    attention: Literal["auto", "xla", "cudnn", "splash"]
    fsdp: int = Field(ge=1, le=1_000_000)
    tensor: int = Field(ge=1, le=1024)
    eval_every: int = Field(ge=1, le=100_000_000)
    eval_tokens: int = Field(ge=1024, le=1_000_000_000)
    sample_tokens: int = Field(ge=1)
    checkpoint_folder: str
    checkpoint_every: int = Field(ge=1, le=100_000_000)

    def shape(self) -> dict[str, Any]:
        """The model's sizes: a key that is given stands, the others follow from `size` and from those given.

        Heads are as wide as the size says, half as many key/value heads, and SwiGLU has 8/3 of the width (as many
        weights as a layer of four times the width without a gate, arXiv:2002.05202), rounded up to 128 features.
        """
        size = MODEL_SIZES[self.size]
        layers, width = self.layers or size.layers, self.width or size.width
        heads = self.heads or max(1, width // size.head_width)
        kv_heads = self.kv_heads or max(1, heads // 2)
        hidden = self.hidden or -(-width * 8 // (3 * 128)) * 128
        return {
            "layers": layers, "width": width, "heads": heads, "kv_heads": kv_heads, "hidden": hidden,
            "tied_embeddings": self.tied_embeddings,
        }  # fmt: skip


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
    return parse(text, path)


def parse(text: str, path: Path) -> Params:
    """Check the text of a params.yaml; `path` is what messages call it."""
    try:
        values = YAML(typ="safe").load(text)
    except YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
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


def checked(kind: type[Model], values: Any, name: str) -> Model:  # noqa: ANN401 - what YAML or a caller gives
    """Check `values` against a section's type; every mistake is listed in one `UserError` that begins with `name`."""
    if not isinstance(values, dict):
        raise UserError(f"{name}: expected keys with values, came {type(values).__name__}. See: git diff {name}")
    try:
        return kind.model_validate(values)
    except pydantic.ValidationError as error:
        raise UserError("\n".join(_explain(name, kind, values, mistake) for mistake in error.errors())) from None


def _check_together(name: str, params: Params) -> None:
    """Rules that bind several keys."""
    run, sources = params.pretrain, params.extract.sources
    shape = run.shape()
    width, heads, kv_heads = shape["width"], shape["heads"], shape["kv_heads"]
    rules = [
        (
            width % heads == 0,
            f"pretrain.width ({width}) must be divisible by pretrain.heads ({heads})",
        ),
        (
            (width // heads) % 2 == 0,
            "pretrain.width / pretrain.heads must be even (rotary embeddings turn pairs)",
        ),
        (
            heads % kv_heads == 0,
            f"pretrain.heads ({heads}) must be divisible by pretrain.kv_heads ({kv_heads})",
        ),
        (
            kv_heads % run.tensor == 0 and shape["hidden"] % run.tensor == 0,
            f"pretrain.tensor ({run.tensor}) must divide pretrain.kv_heads ({kv_heads}) and "
            f"pretrain.hidden ({shape['hidden']})",
        ),
        (
            width % run.fsdp == 0,
            f"pretrain.fsdp ({run.fsdp}) must divide pretrain.width ({width})",
        ),
        (
            run.batch_size % run.accumulation == 0,
            f"pretrain.accumulation ({run.accumulation}) must divide pretrain.batch_size ({run.batch_size})",
        ),
        (
            run.attention != "cudnn" or run.precision == "bfloat16",
            "pretrain.attention cudnn needs pretrain.precision bfloat16",
        ),
        (
            run.attention != "splash" or run.seq_len % 128 == 0,
            f"pretrain.attention splash needs a pretrain.seq_len ({run.seq_len}) divisible by 128",
        ),
        (
            run.warmup_steps <= run.steps,
            f"pretrain.warmup_steps ({run.warmup_steps}) must be at most pretrain.steps ({run.steps})",
        ),
        (
            2 * run.sample_tokens <= run.seq_len,
            f"pretrain.sample_tokens ({run.sample_tokens}) must be at most half of pretrain.seq_len ({run.seq_len})",
        ),
        *(
            (name in sources, f"select.caps.{name}: no such source;{_nearest(name, list(sources))}")
            for name in params.select.caps
        ),
        *(
            (name in sources, f"pretrain.source_weights.{name}: no such source;{_nearest(name, list(sources))}")
            for name in run.source_weights
        ),
    ]
    broken = [f"{name}: {message}" for holds, message in rules if not holds]
    if broken:
        raise UserError("\n".join(broken))


def _explain(name: str, kind: type[Section], values: Any, mistake: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    location = _location(mistake["loc"])
    key, came = ".".join(location), mistake["input"]
    if mistake["type"] == "extra_forbidden":
        names = _names_beside(kind, values, location)
        return f"{name}: unknown key {key} (came: {came!r});{_nearest(location[-1], names)}"
    if mistake["type"] == "missing":
        return f"{name}: the key {key} is missing. Add it; `git diff {name}` shows whether it was removed."
    expected = mistake["msg"].removeprefix("Input should be ").replace("String should match", "a name that matches")
    if mistake["type"] == "union_tag_invalid":
        key, came = f"{key}.kind", mistake["ctx"]["tag"]
        expected = f"one of {mistake['ctx']['expected_tags']}"
    return f"{name}: {key}: expected {expected}; came {came!r} ({type(came).__name__})"


def _location(loc: tuple[str | int, ...]) -> list[str]:
    """The key's path in the file: without the kind of source that pydantic inserts after a source's name."""
    parts = [str(part) for part in loc if part != "[key]"]
    if parts[:2] == ["extract", "sources"] and len(parts) > 3:
        del parts[3]
    return parts


def _names_beside(kind: type[Section], values: Any, location: list[str]) -> list[str]:  # noqa: ANN401 - as in `checked`
    """Names that may stand where the last part of `location` does; for a source, those of its kind."""
    kinds: list[Any] = [kind]
    for part in location[:-1]:
        fields = [model.model_fields.get(part) or _field_with_alias(model, part) for model in kinds]
        kinds = [model for field in fields if field for model in _models_in(field.annotation)] or kinds
        values = values.get(part) if isinstance(values, dict) else None
    if isinstance(values, dict) and len(kinds) > 1:
        kinds = [
            model for model in kinds if values.get("kind") in typing.get_args(model.model_fields["kind"].annotation)
        ]
    return sorted({field.alias or name for model in kinds for name, field in model.model_fields.items()})


def _field_with_alias(kind: Any, alias: str) -> Any:  # noqa: ANN401 - a pydantic model and its FieldInfo
    return next((field for field in kind.model_fields.values() if field.alias == alias), None)


def _models_in(annotation: Any) -> list[type[pydantic.BaseModel]]:  # noqa: ANN401 - a type expression
    """All models inside a type expression such as `dict[str, A | B]`."""
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in _models_in(part)]


def _nearest(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f" did you mean {close[0]}?" if close else f" known here: {', '.join(names)}"

"""All of params.yaml, checked at once: every mistake in it is told before any work.

A stage takes its own section from `aura.core.params`, and calls `load` for this check alone.
So this module decides no bytes, and no stage lists it in dvc.yaml.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from aura.adapt.options import Adapt
from aura.conversations.options import Conversations
from aura.core.errors import UserError
from aura.core.params import PARAMS_FILE, Shared, parsed, read
from aura.core.section import checked, nearest
from aura.core.shipped import LEXICON, PARAMS
from aura.core.shown_text import holds_secret
from aura.encode.options import Encode
from aura.export.options import Export
from aura.extract.options import Extract
from aura.pretrain import recipe
from aura.pretrain.options import Pretrain, PretrainSection
from aura.select.options import Select
from aura.train_tokenizer.options import TrainTokenizer
from aura.validate.options import Validate


class Params(Shared):
    """All of params.yaml."""

    extract: Extract
    select: Select
    train_tokenizer: TrainTokenizer
    validation: Validate = Field(alias="validate")  # pydantic keeps the name `validate` for itself
    encode: Encode
    conversations: Conversations
    pretrain: PretrainSection
    adapt: Adapt
    export: Export


def load(path: Path = PARAMS_FILE) -> Params:
    """Read and check params.yaml; every mistake in it is listed in one `UserError`."""
    return parse(read(path), path)


def defaults() -> Params:
    """The values of the params.yaml that this package ships, for programs that run outside of a project."""
    values = parsed(PARAMS.read_text(encoding="utf-8"), PARAMS)
    return checked_together(values | {"extract": values["extract"] | {"lexicon": str(LEXICON)}}, str(PARAMS))


def load_or_defaults() -> Params:
    """params.yaml of the working folder, or the shipped one where there is none."""
    return load() if PARAMS_FILE.exists() else defaults()


def check_own(path: Path = PARAMS_FILE) -> None:
    """`load` where a params.yaml has a section of aura's; another pipeline's, or none, is no mistake."""
    if not path.exists():
        return
    text = read(path)
    values = parsed(text, path)
    own = {field.alias or name for name, field in Params.model_fields.items()} - set(Shared.model_fields)
    if isinstance(values, Mapping) and not own.isdisjoint(values):
        parse(text, path)


def parse(text: str, path: Path) -> Params:
    """Check the text of a params.yaml; `path` is what messages call it."""
    return checked_together(parsed(text, path), str(path))


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


Rule = tuple[bool, str]  # whether it holds, and what to say if not


def _check_together(name: str, params: Params) -> None:
    """Rules that bind several keys; every broken one is told."""
    rules = [
        *_of_tokenizer(params),
        *(_of_size(params.pretrain) if params.pretrain.base is None else []),  # which weights to begin from decide
        *_of_runs(params),
        *_of_sources(params),
        *_without_secrets(params),
    ]
    broken = [f"{name}: {message}" for holds, message in rules if not holds]
    if broken:
        raise UserError("\n".join(broken))


def _of_size(run: PretrainSection) -> list[Rule]:
    """The shape of a model, and what of it the mesh divides."""
    width, heads, kv_heads, hidden = run.shape.width, run.shape.heads, run.shape.kv_heads, run.shape.hidden
    own = run.shape.head_width
    return [
        (
            own is not None or width % heads == 0,
            f"pretrain.size.width ({width}) must be divisible by pretrain.size.heads ({heads}), or name "
            "pretrain.size.head_width",
        ),
        (
            own is not None or (width // heads) % 2 == 0,
            f"pretrain.size.width / pretrain.size.heads ({width // heads}) must be even: rotary embeddings turn pairs",
        ),
        (
            own is None or own % 2 == 0,
            f"pretrain.size.head_width ({own}) must be even: rotary embeddings turn pairs",
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
    ]


def _of_tokenizer(params: Params) -> list[Rule]:
    """An adopted tokenizer, and who can read the one that there will be."""
    adopted, text = params.train_tokenizer, params.extract.sources
    return [
        (
            not adopted.extend or adopted.base is not None,
            "train_tokenizer.extend needs a tokenizer to extend: name it in train_tokenizer.from",
        ),
        (
            not adopted.roles or adopted.base is not None,
            "train_tokenizer.roles: expected {} without train_tokenizer.from: aura knows the roles of what it trains",
        ),
        (
            not adopted.keep or adopted.base is not None,
            "train_tokenizer.keep: expected [] without train_tokenizer.from: it serves train_tokenizer.extend alone",
        ),
        (
            {*adopted.keep} <= {*text},
            f"train_tokenizer.keep: expected sources out of {', '.join(text)}, got {', '.join(adopted.keep)}",
        ),
        (
            not params.export.gguf
            or params.train_tokenizer.base is not None  # the stage export looks at the file itself
            or params.train_tokenizer.model_type == "bpe",
            "export.gguf: true: llama.cpp cannot read a unigram tokenizer with the same ids: it gives <unk> for a "
            "character without a piece, not its bytes. Set train_tokenizer.model_type: bpe, or export.gguf: false",
        ),
    ]


def _of_runs(params: Params) -> list[Rule]:
    """Steps and batches of the two runs."""
    budget, steps = params.pretrain.token_budget, params.pretrain.steps
    run = recipe.decided(params.pretrain)
    return [
        (
            budget is None or steps == "auto",
            f"pretrain.token_budget ({budget}) is for pretrain.steps: auto, got {steps} steps. Set one of the two",
        ),
        (
            run.batch_size % run.accumulation == 0,
            f"pretrain.accumulation ({run.accumulation}) must divide pretrain.batch_size ({run.batch_size})",
        ),
        (
            params.adapt.batch_size % run.accumulation == 0,
            f"pretrain.accumulation ({run.accumulation}) must divide adapt.batch_size ({params.adapt.batch_size})",
        ),
        (
            run.warmup_steps <= run.steps,
            f"pretrain.warmup_steps ({run.warmup_steps}) must be at most pretrain.steps ({run.steps})",
        ),
        *_of_skip(run),
    ]


def _of_skip(run: Pretrain) -> list[Rule]:
    """Batches that are passed over: each pair must concern a batch that the run would take."""
    rules, last_batch = [], run.steps
    for first, last in run.skip:
        message = f"pretrain.skip: [{first}, {last}]: the run ends with batch {last_batch}. Leave it out, or raise "
        rules.append((first <= last_batch, f"{message}pretrain.steps"))
        last_batch += last - first + 1
    return rules


def _of_sources(params: Params) -> list[Rule]:
    """Names of sources in other sections."""
    sources = params.extract.sources
    return [
        *(
            (name in sources, f"select.caps.{name}: no such source;{nearest(name, list(sources))}")
            for name in params.select.caps
        ),
        *(
            (name in sources, f"select.prefer: {name}: no such source;{nearest(name, list(sources))}")
            for name in params.select.prefer
        ),
        *(
            (name in sources, f"pretrain.source_weights.{name}: no such source;{nearest(name, list(sources))}")
            for name in params.pretrain.source_weights
        ),
    ]


def _without_secrets(params: Params) -> list[Rule]:
    """Places, whose names git would keep."""
    places = {"cluster": params.cluster or "", "pretrain.checkpoint_folder": params.pretrain.checkpoint_folder}
    places |= {"pretrain.from": params.pretrain.base or "", "train_tokenizer.from": params.train_tokenizer.base or ""}
    places |= {f"pretrain.evaluate.{name}": path for name, path in params.pretrain.evaluate.items()}
    places |= {f"extract.sources.{source}.path": entry.path for source, entry in params.extract.sources.items()}
    places |= {f"conversations.sources.{name}.path": entry.path for name, entry in params.conversations.sources.items()}
    return [
        (not holds_secret(place), f"{key} holds a user, password or key, and git would keep it. Leave it out")
        for key, place in places.items()
    ]

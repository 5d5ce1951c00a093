"""Pretrain with a tokenizer at hand, on folders or a Hugging Face dataset: the guide's program, outside the pipeline.

    python aura/self_teaching_llm/build_aura_model.py pretrain_hf --spm_model models/spm/spiece.model \\
        --dataset allenai/c4 --config en --steps 1000 --lr 8e-4

It calls the functions of the pipeline's stages one after the other, in a work folder that the next run goes on from:
rows are fetched once, and training resumes from its last checkpoint. What is not named comes from params.yaml. The
tokenizer may have learnt from other text, so no gate is asked for; bits per byte say how well it fits.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from aura.core import console, keys
from aura.core.errors import UserError
from aura.encode.encoding import encode_with
from aura.extract.extract import extract
from aura.model.options import MODEL_SIZES
from aura.one_shot import program
from aura.pretrain import recipe
from aura.pretrain.options import Pretrain
from aura.project import whole_params
from aura.project.whole_params import Params
from aura.select.select import select
from aura.sources import hub
from aura.sources.hub import DatasetPin
from aura.sources.materialise import is_complete, write_shards
from aura.sources.options import TEXT_KEYS, JsonSource, Source
from aura.storage import cache
from aura.tokenizer import opening
from aura.tokenizer.opening import AnyTokenizer

SOURCE = "dataset"  # what the only source of such a run is called
WORK = Path(".aura/pretrain_hf")

Steps = Annotated[int | None, typer.Option("--steps", help="Optimiser steps.")]
Rate = Annotated[float | None, typer.Option("--lr", help="Learning rate at its peak.")]
BatchSize = Annotated[int | None, typer.Option("--batch_size", help="Sequences per step.")]
SeqLen = Annotated[int | None, typer.Option("--seq_len", help="Tokens per sequence.")]
ModelSize = Annotated[str | None, typer.Option("--model_size", help=f"{' | '.join(MODEL_SIZES)}.")]
SpmModel = Annotated[Path, typer.Option("--spm_model", help="The tokenizer: a spiece.model.")]
Output = Annotated[Path, typer.Option("--output", help="Folder for the model, and reports in it.")]


def pretrain_hf(
    spm_model: SpmModel,
    dataset: Annotated[str, typer.Option("--dataset", help="Name on the Hub (OWNER/NAME), or a local folder.")],
    config: Annotated[str | None, typer.Option("--config", help="The dataset's configuration, such as en.")] = None,
    split: Annotated[str, typer.Option("--split", help="The split to read.")] = "train",
    revision: Annotated[str | None, typer.Option("--revision", help="Commit, tag or branch; the newest.")] = None,
    max_samples: Annotated[
        int, typer.Option("--max_samples", min=1, help="At most so many rows, from the first on.")
    ] = 100_000,
    text_key: Annotated[list[str] | None, typer.Option("--text_key", help="Column with the text.")] = None,
    steps: Steps = None,
    lr: Rate = None,
    batch_size: BatchSize = None,
    seq_len: SeqLen = None,
    model_size: ModelSize = None,
    output: Output = Path("models/lm_hf"),
) -> None:
    """Train a language model on a dataset; run it again to go on after an interruption."""
    settings, options = _settings(steps, lr, batch_size, seq_len, model_size)
    tokenizer = _begun(spm_model, output)
    pin = DatasetPin(
        dataset=dataset, config=config, split=split, revision=hub.resolve(dataset, revision), max_documents=max_samples
    )
    work = WORK / keys.action_key(pin.model_dump(), text_key)
    source = _fetched(pin, text_key or list(TEXT_KEYS), work)
    tokens = _tokens({SOURCE: source}, tokenizer, settings, work)
    _pretrain("pretrain_hf", tokens, spm_model, output, options)


def pretrain(
    spm_model: SpmModel,
    txt_dirs: program.TxtDirs = None,
    json_dirs: program.JsonDirs = None,
    steps: Steps = None,
    lr: Rate = None,
    batch_size: BatchSize = None,
    seq_len: SeqLen = None,
    model_size: ModelSize = None,
    output: Output = Path("models/lm_own"),
) -> None:
    """Train a language model on folders of text; run it again to go on after an interruption."""
    if not (txt_dirs or json_dirs):
        raise UserError(
            "expected text to learn from, got none: name folders with --txt_dirs or --json_dirs. The sources of "
            "params.yaml are learnt from by: dvc repro pretrain"
        )
    settings, options = _settings(steps, lr, batch_size, seq_len, model_size)
    tokenizer = _begun(spm_model, output)
    sources = program.sources_of(txt_dirs or [], json_dirs or [], program.ProgramReading())
    work = WORK / keys.action_key({name: source.model_dump(mode="json") for name, source in sources.items()})
    _pretrain("pretrain", _tokens(sources, tokenizer, settings, work), spm_model, output, options)


def _settings(
    steps: int | None, lr: float | None, batch_size: int | None, seq_len: int | None, model_size: str | None
) -> tuple[Params, Pretrain]:
    """params.yaml, and its section pretrain with what was asked for."""
    asked = {
        "steps": steps, "learning_rate": lr, "batch_size": batch_size, "seq_len": seq_len, "size": model_size,
    }  # fmt: skip
    settings = whole_params.load_or_defaults()
    return settings, _with_changes(settings, {name: value for name, value in asked.items() if value is not None})


def _begun(spm_model: Path, output: Path) -> AnyTokenizer:
    """The tokenizer, once the folder of the model is found to be free."""
    tokenizer = opening.load(spm_model)
    if output.exists() and not (output / "lm").exists() and any(output.iterdir()):
        raise UserError(f"expected a new folder as --output, or an earlier model; {output} holds other files.")
    return tokenizer


def _pretrain(name: str, tokens: Path, spm_model: Path, output: Path, options: Pretrain) -> None:
    """Train, and say what came of it."""
    from aura.pretrain.pretrain import pretrain as train  # here, because JAX takes seconds to import

    metrics = train(tokens, spm_model, output / "lm", output / "reports", options)
    console.summary(
        name,
        {
            "parameters": f"{metrics.parameters:,}",
            "steps": f"{options.steps:,}",
            "tokens": f"{metrics.tokens:,}",
            "held-out bits per byte": f"{metrics.bits_per_byte:.3f}",
        },
        see=f"{output}/reports",
    )


def _with_changes(settings: Params, changes: dict[str, object]) -> Pretrain:
    """Section pretrain with `changes`, checked like params.yaml; warm-up is shortened to fit fewer steps."""
    values = settings.pretrain.model_dump() | changes
    if "auto" not in (values["steps"], values["warmup_steps"]):
        values["warmup_steps"] = min(values["warmup_steps"], values["steps"])
    values |= {"source_weights": {}, "skip": [], "evaluate": {}}  # they are of the pipeline's corpus
    if values["steps"] != "auto":
        values["token_budget"] = None
    checked = settings.model_dump(by_alias=True) | {"pretrain": values}
    return recipe.decided(whole_params.checked_together(checked, "pretrain_hf").pretrain)


def _fetched(pin: DatasetPin, text_keys: list[str], work: Path) -> Source:
    """Fetch the rows of a dataset; those of an earlier run are not fetched again."""
    rows = work / "rows"
    if not is_complete(rows, pin, text_keys):
        if rows.exists():
            shutil.rmtree(rows)
        write_shards(pin, text_keys, rows)
    return JsonSource(kind="json", path=str(rows), text_keys=["text"])


def _tokens(sources: Mapping[str, Source], tokenizer: AnyTokenizer, settings: Params, work: Path) -> Path:
    """Clean, split and encode sources; what an earlier run has done is not done again."""
    store = cache.project_cache()
    for name, source in sources.items():
        extract(name, source, settings.extract, work / "extracted" / name, store)
    uncapped = settings.select.model_copy(update={"caps": {}, "prefer": []})
    select(list(sources), uncapped, work / "extracted", work / "corpus", store)
    encode_with(tokenizer, work / "corpus", work / "tokens", settings.encode, store)
    store.prune(settings.cache.max_bytes)
    return work / "tokens"

"""Pretrain on a Hugging Face dataset with a tokenizer at hand: the guide's program, outside the pipeline.

    python aura/self_teaching_llm/build_aura_model.py pretrain_hf --spm_model models/spm/spiece.model \\
        --dataset allenai/c4 --config en --steps 1000 --lr 8e-4

It calls the functions of the pipeline's stages one after the other, in a work folder that the next run goes on from:
rows are fetched once, and training resumes from its last checkpoint. What is not named comes from params.yaml. The
tokenizer may have learnt from other text, so no gate is asked for; bits per byte say how well it fits.
"""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from aura.core import console, keys
from aura.core.errors import UserError
from aura.encode.encoding import encode_with
from aura.extract.extract import extract
from aura.model.options import MODEL_SIZES
from aura.pretrain.options import Pretrain
from aura.project import whole_params
from aura.project.whole_params import Params
from aura.select.select import select
from aura.sources import hub
from aura.sources.hub import DatasetPin
from aura.sources.materialise import is_complete, write_shards
from aura.sources.options import TEXT_KEYS, JsonSource
from aura.storage import cache
from aura.tokenizer.tokenizer import Tokenizer

SOURCE = "dataset"  # what the only source of such a run is called

app = typer.Typer(
    add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False,
    help="Build language models on AURA tokenizers.",
)  # fmt: skip


@app.callback()
def group() -> None:
    """Keep `pretrain_hf` a subcommand while it is the only one."""


@app.command("pretrain_hf")
def pretrain_hf(
    spm_model: Annotated[Path, typer.Option("--spm_model", help="The tokenizer: a spiece.model.")],
    dataset: Annotated[str, typer.Option("--dataset", help="Name on the Hub (OWNER/NAME), or a local folder.")],
    config: Annotated[str | None, typer.Option("--config", help="The dataset's configuration, such as en.")] = None,
    split: Annotated[str, typer.Option("--split", help="The split to read.")] = "train",
    revision: Annotated[str | None, typer.Option("--revision", help="Commit, tag or branch; the newest.")] = None,
    max_samples: Annotated[
        int, typer.Option("--max_samples", min=1, help="At most so many rows, from the first on.")
    ] = 100_000,
    text_key: Annotated[list[str] | None, typer.Option("--text_key", help="Column with the text.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Optimiser steps.")] = None,
    lr: Annotated[float | None, typer.Option("--lr", help="Learning rate at its peak.")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch_size", help="Sequences per step.")] = None,
    seq_len: Annotated[int | None, typer.Option("--seq_len", help="Tokens per sequence.")] = None,
    model_size: Annotated[str | None, typer.Option("--model_size", help=f"{' | '.join(MODEL_SIZES)}.")] = None,
    output: Annotated[Path, typer.Option("--output", help="Folder for the model, and reports in it.")] = Path(
        "models/lm_hf"
    ),
) -> None:
    """Train a language model on a dataset; run it again to go on after an interruption."""
    asked = {
        "steps": steps, "learning_rate": lr, "batch_size": batch_size, "seq_len": seq_len, "size": model_size,
    }  # fmt: skip
    settings = whole_params.load()
    options = _with_changes(settings, {name: value for name, value in asked.items() if value is not None})
    tokenizer = Tokenizer.load(spm_model)
    if output.exists() and not (output / "lm").exists() and any(output.iterdir()):
        raise UserError(f"expected a new folder as --output, or an earlier model; {output} holds other files.")
    pin = DatasetPin(
        dataset=dataset, config=config, split=split, revision=hub.resolve(dataset, revision), max_documents=max_samples
    )
    work = Path(".aura/pretrain_hf") / keys.action_key(pin.model_dump(), text_key)
    tokens = _tokens(pin, text_key or list(TEXT_KEYS), tokenizer, settings, work)
    from aura.pretrain.pretrain import pretrain  # here, because JAX takes seconds to import

    metrics = pretrain(tokens, spm_model, output / "lm", output / "reports", options)
    console.summary(
        "pretrain_hf",
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
    if values["steps"] < values["warmup_steps"]:
        values["warmup_steps"] = values["steps"]
    values["source_weights"] = {}  # they name the pipeline's sources
    checked = settings.model_dump(by_alias=True) | {"pretrain": values}
    return whole_params.checked_together(checked, "pretrain_hf").pretrain


def _tokens(pin: DatasetPin, text_keys: list[str], tokenizer: Tokenizer, settings: Params, work: Path) -> Path:
    """Fetch, clean, split and encode a dataset; what an earlier run has done is not done again."""
    rows, store = work / "rows", cache.project_cache()
    if not is_complete(rows, pin, text_keys):
        if rows.exists():
            shutil.rmtree(rows)
        write_shards(pin, text_keys, rows)
    source = JsonSource(kind="json", path=str(rows), text_keys=["text"])
    extract(SOURCE, source, settings.extract, work / "extracted" / SOURCE, store)
    uncapped = settings.select.model_copy(update={"caps": {}, "prefer": []})
    select([SOURCE], uncapped, work / "extracted", work / "corpus", store)
    encode_with(tokenizer, work / "corpus", work / "tokens", settings.encode, store)
    store.prune(settings.cache.max_bytes)
    return work / "tokens"


def main() -> None:
    """Run the command line."""
    console.run(lambda: app(prog_name="python aura/self_teaching_llm/build_aura_model.py"))


if __name__ == "__main__":
    main()

"""Teach a pretrained model to answer, from one file: the users' program, outside the pipeline.

    python -m aura.self_teaching_llm.train_instruct --jsonl data.jsonl --spm-model models/spm/spiece.model --steps 100

The pipeline's own way is `aura conversations add NAME PATH; dvc repro adapt`, which versions the result.
"""

from pathlib import Path
from typing import Annotated

import typer

from aura.core import console, paths
from aura.one_shot import other_options

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
NAME = "python -m aura.self_teaching_llm.train_instruct"


@app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def train_instruct(
    context: typer.Context,
    jsonl: Annotated[Path, typer.Option("--jsonl", help="Records: .jsonl or .json, or a folder of such files.")],
    spm_model: Annotated[
        Path, typer.Option("--spm-model", "--spm_model", help="The tokenizer: a spiece.model.")
    ] = paths.TOKENIZER_MODEL,
    model: Annotated[
        Path, typer.Option("--model", help="The pretrained model, or one that was adapted before.")
    ] = paths.LANGUAGE_MODEL,
    output: Annotated[Path, typer.Option("--output", help="Folder for the adapted model.")] = Path(
        "models/chat_instruct"
    ),
    steps: Annotated[int | None, typer.Option("--steps", help="Optimiser steps.")] = None,
    lr: Annotated[float | None, typer.Option("--lr", help="Learning rate at its peak.")] = None,
    max_len: Annotated[
        int | None, typer.Option("--max-len", "--max_len", help="No effect: windows are as long as in pretraining.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", "--batch_size", help="Windows of tokens per step.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", help="At most so many records of a .jsonl file.")] = None,
    rank: Annotated[int | None, typer.Option("--rank", help="Of the adapter (LoRA); 0 trains all weights.")] = None,
    teach: Annotated[str | None, typer.Option("--teach", help="reference, or own: also own answers.")] = None,
) -> None:
    """Adapt a model to instructions; what is left out comes from the section adapt of params.yaml.

    Options of other systems are accepted with a note if they have no meaning here.
    """
    other_options.told(other_options.names_on_the_command_line(context.args), "train_instruct")
    # Here, because JAX takes seconds to import.
    from aura.one_shot.self_teaching import SelfTeachingAdapter, require_free

    require_free(output)
    adapter = SelfTeachingAdapter(spm_model, model)
    metrics = adapter.train_instruct_from_jsonl(jsonl, steps, lr, max_len, batch_size, limit, rank=rank, teach=teach)
    adapter.save(output)
    before, after = metrics.response_loss_before, metrics.response_loss
    bits_before, bits = metrics.bits_per_byte_before, metrics.bits_per_byte
    console.summary(
        "train_instruct",
        {
            "trained parameters": f"{metrics.trained_parameters:,}",
            "held-out loss on answers": f"{after:.3f} nats per token ({before:.3f} before)",
            "pretraining text": f"{bits:.3f} bits per byte ({bits_before:.3f} before)",
        },
        see=f"{output}/README.md; to talk to it: aura chat --model {output}",
    )


def main() -> None:
    """Run the command line."""
    console.run(lambda: app(prog_name=NAME))


if __name__ == "__main__":
    main()

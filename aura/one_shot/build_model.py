"""`build_aura_model.py`: the users' program with a subcommand for each step from text to a model that answers.

Each subcommand calls what the pipeline calls. `dvc repro` does all of it, and versions the results.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from aura.core import console, paths
from aura.one_shot import pretraining, program

NAME = "python aura/self_teaching_llm/build_aura_model.py"
app = typer.Typer(
    add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False,
    help="Build tokenizers, language models on them, and talk with these.",
)  # fmt: skip

app.command("tokenizer")(program.train_tokenizer)
app.command("pretrain")(pretraining.pretrain)
app.command("pretrain_hf")(pretraining.pretrain_hf)


@app.command("chat")
def chat(
    model: Annotated[Path, typer.Option("--model", help="Folder of the model.")] = paths.CHAT_MODEL,
    spm_model: Annotated[
        Path, typer.Option("--spm_model", help="The tokenizer of a folder that has none.")
    ] = paths.TOKENIZER_MODEL,
    system: Annotated[str | None, typer.Option("--system", help="What the model is told first.")] = None,
    max_new_tokens: Annotated[int, typer.Option("--max_new_tokens", min=1, help="Of an answer, at most.")] = 256,
    temperature: Annotated[float, typer.Option("--temperature", min=0, help="0: the likeliest token each time.")] = 0.8,
    top_p: Annotated[float, typer.Option("--top_p", min=1e-6, max=1, help="Share of the likeliest tokens.")] = 1.0,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Seed of the random draws.")] = 0,
) -> None:
    """Talk with a model, as `aura chat` does."""
    from aura.chat.chat import Request, talk  # here, because JAX takes seconds to import
    from aura.training.answers import Drawing

    talk(Request(model, spm_model, system, max_new_tokens, Drawing(temperature, top_p, seed)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    given = program.expanded(sys.argv[1:] if arguments is None else arguments)
    console.run(lambda: app(args=given, prog_name=NAME))


if __name__ == "__main__":
    main()

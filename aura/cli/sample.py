"""`aura sample`: what the trained model says after a text."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from aura.cli import places
from aura.core import console, paths
from aura.core.errors import UserError


def sample(
    text: Annotated[str, typer.Argument(help="The beginning; it may be empty.")],
    tokens: Annotated[int, typer.Option(help="At most so many tokens after it.", min=1)] = 64,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token each time.", min=0)] = 0.8,
    seed: Annotated[int, typer.Option(help="Seed of the random draws.", min=0)] = 0,
    model: Annotated[
        Path, typer.Option(parser=places.path, metavar="PATH", help="Folder of the model.")
    ] = paths.LANGUAGE_MODEL,
    tokenizer: Annotated[
        Path, typer.Option(parser=places.path, metavar="PATH", help="The tokenizer it was trained on.")
    ] = paths.TOKENIZER_MODEL,
) -> None:
    """Continue a text with the trained model."""
    # Here, because JAX takes seconds to import and most commands need none.
    from aura.model import weights
    from aura.tokenizer.tokenizer import Tokenizer
    from aura.training import sampling

    with_tokenizer, trained_on = Tokenizer.load(tokenizer), weights.config(model, tokenizer=str)["tokenizer"]
    if with_tokenizer.encoding_sha256 != trained_on:
        raise UserError(
            f"{model} was trained on the tokenizer {trained_on[:16]}…, but {tokenizer} is "
            f"{with_tokenizer.encoding_sha256[:16]}…. Name the right one with --tokenizer, or run: dvc repro"
        )
    said = sampling.continue_text(
        weights.load(model), with_tokenizer, text, tokens=tokens, temperature=temperature, seed=seed
    )
    console.out.print(Text(text + said))

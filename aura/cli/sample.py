"""`aura sample`: what the trained model says after a text."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from aura.cli import places
from aura.core import console, paths


def sample(
    text: Annotated[str, typer.Argument(help="The beginning; it may be empty.")],
    tokens: Annotated[int, typer.Option(help="At most so many tokens after it.", min=1)] = 64,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token each time.", min=0)] = 0.8,
    seed: Annotated[int, typer.Option(help="Seed of the random draws.", min=0, max=2**32 - 1)] = 0,
    model: Annotated[
        Path, typer.Option(parser=places.path, metavar="PATH", help="Folder of the model.")
    ] = paths.LANGUAGE_MODEL,
    tokenizer: Annotated[
        Path, typer.Option(parser=places.path, metavar="PATH", help="The tokenizer it was trained on.")
    ] = paths.TOKENIZER_MODEL,
) -> None:
    """Continue a text with the trained model."""
    # Here, because JAX takes seconds to import and most commands need none.
    from aura.hugging_face import loading
    from aura.training import sampling

    loaded = loading.load(model, tokenizer)
    said = sampling.continue_text(
        loaded.model, loaded.tokenizer, text, tokens=tokens, temperature=temperature, seed=seed
    )
    console.out.print(Text(text + said))

"""`aura chat`: talk with the adapted model, in the terminal or through a pipe."""

from pathlib import Path
from typing import Annotated

import typer

from aura.cli import places
from aura.core import paths


def chat(
    model: Annotated[
        Path,
        typer.Option(
            parser=places.path, metavar="PATH", help="Folder of the model: models/chat, models/adapter or models/lm."
        ),
    ] = paths.CHAT_MODEL,
    system: Annotated[str | None, typer.Option(help="What the model is told before the first question.")] = None,
    tokens: Annotated[int, typer.Option(help="At most so many tokens in an answer.", min=1)] = 256,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token each time.", min=0)] = 0.8,
    top_p: Annotated[
        float, typer.Option(help="Draw from the likeliest tokens with this probability together.", min=1e-6, max=1)
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of the random draws.", min=0, max=2**32 - 1)] = 0,
    tokenizer: Annotated[
        Path, typer.Option(parser=places.path, metavar="PATH", help="The tokenizer of models/lm or models/adapter.")
    ] = paths.TOKENIZER_MODEL,
) -> None:
    """Talk with the adapted model: a line is a question, and the model sees the chat so far.

    Ctrl-C ends an answer, Ctrl-D the chat. In a pipe, each line of standard input is answered on standard output.
    """
    # Here, because JAX takes seconds to import and most commands need none.
    from aura.chat.chat import Request, talk
    from aura.training.answers import Drawing

    talk(Request(model, tokenizer, system, tokens, Drawing(temperature, top_p, seed)))

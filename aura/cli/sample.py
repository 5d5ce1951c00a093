"""`aura sample`: what the trained model says after a text."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from aura.cli import places
from aura.core import console, paths
from aura.core.errors import UserError


def sample(
    text: Annotated[list[str], typer.Argument(help="A beginning; it may be empty. Several are continued at once.")],
    tokens: Annotated[int, typer.Option(help="At most so many tokens after it.", min=1)] = 64,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token each time.", min=0)] = 0.8,
    top_p: Annotated[
        float, typer.Option(help="Draw from the likeliest tokens with this probability together.", min=1e-6, max=1)
    ] = 1.0,
    stop: Annotated[
        list[str] | None, typer.Option(help="End before this text or special token; may be given several times.")
    ] = None,
    number: Annotated[int, typer.Option(help="Continuations of each text.", min=1, max=4096)] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the random draws.", min=0, max=2**32 - 1)] = 0,
    model: Annotated[
        Path, typer.Option(parser=places.path, metavar="PATH", help="Folder of the model.")
    ] = paths.LANGUAGE_MODEL,
    tokenizer: Annotated[
        Path, typer.Option(parser=places.path, metavar="PATH", help="The tokenizer it was trained on.")
    ] = paths.TOKENIZER_MODEL,
) -> None:
    """Continue a text with the trained model, up to the end of a document or as many tokens as the model reads."""
    for one in text:
        try:
            one.encode()
        except UnicodeEncodeError:
            raise UserError(f"expected a text in UTF-8, got {one!r:.80}") from None
    # Here, because JAX takes seconds to import and most commands need none.
    from aura.hugging_face import loading
    from aura.training import sampling
    from aura.training.answers import Drawing
    from aura.training.compiled_programs import keep_compiled_of_project

    keep_compiled_of_project()
    loaded = loading.load(model, tokenizer)
    wish = sampling.Wish(tokens, Drawing(temperature, top_p, seed), stop or (), number)
    room = loaded.context - max(len(loaded.reader.ids(one)) for one in text)
    if 0 < room < tokens:
        console.err.print(
            f"note: the model reads {loaded.context:,} tokens at once, so a continuation has {room:,} at most, not "
            f"{tokens:,}"
        )
    parts = sampling.continued(loaded.model, loaded.reader, text, wish)
    if len(text) * number == 1:
        _streamed(text[0], (said for [said] in parts))
        return
    for place, said in enumerate(map("".join, zip(*parts, strict=True))):
        beginning, which = text[place // number], f" · {place % number + 1}" if number > 1 else ""
        console.out.print(Text(f"=== {place // number + 1}{which}\n{beginning}{said}"))


def _streamed(beginning: str, parts: Iterator[str]) -> None:
    first = next(parts)  # before anything is shown: a mistake comes alone
    console.out.print(Text(beginning + first), end="", soft_wrap=True)
    for said in parts:
        console.out.print(Text(said), end="", soft_wrap=True)
    console.out.print()

"""`aura tokenizer`: a finished tokenizer, ours or anyone's, gets names for its slots or another format."""

from pathlib import Path
from typing import Annotated

import typer

from aura.cli import adopting, naming, places
from aura.cli.groups import Commands
from aura.core import console

app = typer.Typer(cls=Commands, no_args_is_help=True, help="Changes of a finished tokenizer that keep every id.")
app.command("adopt")(adopting.adopt)
app.command("leave")(adopting.leave)
app.command("name-token")(naming.name_special)


@app.command("convert")
def convert(
    source: Annotated[
        Path, typer.Argument(parser=places.path, metavar="FOLDER|FILE", help="The tokenizer, ours or anyone's.")
    ],
    output: Annotated[Path, typer.Argument(parser=places.path, metavar="OUTPUT", help="The file to write.")],
    to: Annotated[str, typer.Option("--to", help="sentencepiece, tokenizer.json, tekken or tiktoken.")],
) -> None:
    """Write a tokenizer in another format, if every id stays; otherwise say why not, and write nothing."""
    from aura.tokenizer import conversion

    for line in conversion.convert(source, output, to):
        console.out.print(line, markup=False, highlight=False)

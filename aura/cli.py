"""The `aura` command: what DVC has no command for. The subcommands are in aura/commands/."""

import typer

from aura import console
from aura.commands import cache, lock, source, tpu
from aura.commands.sample import sample

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Tokenizers under DVC.",
)
app.add_typer(source.app, name="source")
app.add_typer(cache.app, name="cache")
app.add_typer(lock.app, name="lock")
app.add_typer(tpu.app, name="tpu")
app.command("sample")(sample)


def main() -> None:
    """Run the command line."""
    console.run(app)

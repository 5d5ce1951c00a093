"""The `aura` command: what DVC has no command for. The subcommands are in aura/commands/."""

import typer

from aura import console
from aura.commands import cache, compare, lock, report, source

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
app.command("compare")(compare.compare)
app.command("parity")(compare.parity)
app.command("report")(report.report)


def main() -> None:
    """Run the command line."""
    console.run(app)

"""The `aura` command: what DVC has no command for. aura/cli/commands.py lists the subcommands."""

from typing import Annotated

import typer

from aura.cli import places, words
from aura.cli.commands import Group
from aura.core import console, dvc_environment

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Builds tokenizers, and the language models trained on them, with DVC.",
)


def _print_version(asked: bool) -> None:
    """Print the version of the installed package and end, if `--version` was given."""
    if asked:
        from importlib import metadata  # 10 ms that the other commands save

        console.out.print(f"aura {metadata.version('aura')}", highlight=False)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[  # noqa: ARG001 - its callback does all
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version, and end.")
    ] = False,
) -> None:
    """Take the options that stand before a subcommand, then go to the project's root."""
    places.enter_project()


def main() -> None:
    """Run the command line; programs of the same environment, such as dvc, are found though it is not activated."""
    dvc_environment.prepare()
    words.take_as_typed()
    console.run(app)

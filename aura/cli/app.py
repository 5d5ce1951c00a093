"""The `aura` command: what DVC has no command for. The subcommands are in aura/cli/."""

from importlib import metadata
from typing import Annotated

import typer

from aura.cli import (
    bits_per_byte,
    cache,
    compare,
    corpus,
    doctor,
    gc,
    lock,
    remote,
    repair,
    report,
    source,
    tpu,
    transfers,
    versions,
    vocabulary,
    why,
)
from aura.cli.naming import export_tokenizer, name_special
from aura.cli.sample import sample
from aura.core import console

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Builds tokenizers, and the language models trained on them, with DVC.",
)


def _print_version(asked: bool) -> None:
    """Print the version of the installed package and end, if `--version` was given."""
    if asked:
        console.out.print(f"aura {metadata.version('aura')}", highlight=False)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version, and end.")
    ] = False,
) -> None:
    """Take the options that stand before a subcommand."""


app.add_typer(source.app, name="source")
app.add_typer(cache.app, name="cache")
app.add_typer(corpus.app, name="corpus")
app.add_typer(lock.app, name="lock")
app.add_typer(remote.app, name="remote")
app.command("push")(transfers.push)
app.command("pull")(transfers.pull)
app.command("publish")(versions.publish)
app.command("versions")(versions.versions)
app.command("fetch")(versions.fetch)
app.command("name-special")(name_special)
app.command("export-tokenizer")(export_tokenizer)
app.command("why")(why.why)
app.command("gc")(gc.gc)
app.command("repair")(repair.repair)
app.command("sample")(sample)
app.add_typer(vocabulary.app, name="vocabulary")
app.command()(doctor.doctor)
app.add_typer(tpu.app, name="tpu")
app.command("compare")(compare.compare)
app.command("parity")(compare.parity)
app.command("bits-per-byte")(bits_per_byte.bits_per_byte)
app.command("report")(report.report)


def main() -> None:
    """Run the command line."""
    console.run(app)

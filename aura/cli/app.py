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


app.add_typer(source.app, name="source", short_help="List, add, remove and scan the sources of the corpus.")
app.add_typer(cache.app, name="cache", short_help="Show or prune the results that stages keep.")
app.add_typer(corpus.app, name="corpus", short_help="Show what select dropped, and what it duplicates.")
app.add_typer(lock.app, name="lock", short_help="Register the merge of dvc.lock, and resolve conflicts.")
app.add_typer(remote.app, name="remote", short_help="Set the bucket where results are shared.")
app.command("push", short_help="Upload results to the remote, verified.")(transfers.push)
app.command("pull", short_help="Download results from the remote, verified.")(transfers.pull)
app.command("publish", short_help="Release a validated tokenizer.")(versions.publish)
app.command("versions", short_help="List the released tokenizers.")(versions.versions)
app.command("fetch", short_help="Get a released tokenizer from anywhere, verified.")(versions.fetch)
app.command("name-special", short_help="Give names to reserved slots, in order.")(name_special)
app.command("export-tokenizer", short_help="Write the files that other programs read.")(export_tokenizer)
app.command("why", short_help="Explain which stages would run, and why.")(why.why)
app.command("gc", short_help="List or remove data that git no longer needs.")(gc.gc)
app.command("repair", short_help="Verify and fix dvc.lock and DVC's cache.")(repair.repair)
app.command("sample", short_help="Continue a text with the trained model.")(sample)
app.add_typer(vocabulary.app, name="vocabulary", short_help="Measure what each vocabulary size is worth.")
app.command("doctor", short_help="Check this machine and project against the guide.")(doctor.doctor)
app.add_typer(tpu.app, name="tpu", short_help="Plan a run on a TPU pod, and run it there.")
app.command("compare", short_help="Measure tokenizers on the same text.")(compare.compare)
app.command("parity", short_help="Compare what each language costs in tokens.")(compare.parity)
app.command("bits-per-byte", short_help="Compare tokenizers by the models trained on them.")(
    bits_per_byte.bits_per_byte
)
app.command("report", short_help="Write the validation report again.")(report.report)


def main() -> None:
    """Run the command line."""
    console.run(app)

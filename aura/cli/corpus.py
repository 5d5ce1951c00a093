"""`aura corpus`: the selected corpus, looked into."""

import shlex
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from aura.cli import places
from aura.cli.groups import Commands
from aura.core import console, paths
from aura.core.errors import UserError
from aura.core.shown_text import on_one_line

app = typer.Typer(cls=Commands, no_args_is_help=True, help="The documents that select dropped from the corpus.")


@app.callback()
def corpus() -> None:
    """Keep `duplicates` a subcommand while it is the only one."""


@app.command("duplicates")
def duplicates(
    document: Annotated[
        str | None, typer.Argument(help="Name of a document, such as part-2.jsonl.gz#1; counts of all when left out.")
    ] = None,
    limit: Annotated[int, typer.Option(help="Show at most so many rows about a document.", min=1)] = 20,
    record: Annotated[
        Path, typer.Option(parser=places.path, metavar="PATH", help="The record that select wrote.")
    ] = paths.DUPLICATES,
) -> None:
    """Show which documents select dropped as duplicates, and which document each of them duplicates."""
    from aura.select import record as records  # PyArrow takes 0.3 s to import

    if document is None:
        counts = records.counts(record)
        if not counts:
            console.out.print("select dropped no duplicates", markup=False)
            return
        table = Table("source", "reason", "duplicates of", "documents")
        for (source, reason, of_source), number in counts.items():
            table.add_row(source, reason, of_source, Text(f"{number:,}", justify="right"))
        console.out.print(table, soft_wrap=False)
        name = next(str(rows.column("doc")[0]) for rows in records.read(record) if len(rows))
        if name == on_one_line(name):  # a shell would not take the shown name of another
            example = f"the first of them: aura corpus duplicates {shlex.quote(name)}"
            console.out.print(example, markup=False, soft_wrap=True)
        return
    rows = list(islice(records.about(record, document), limit + 1))
    if not rows:
        raise UserError(
            f"{record} has no document named {on_one_line(document)}. None of this name was dropped as a duplicate, or "
            "is the one that another duplicates. The column doc of data/extracted/NAME has the names."
        )
    for row in rows[:limit]:
        dropped, of = (
            on_one_line(f"{row[source]}: {row[doc]}") for source, doc in (("source", "doc"), ("of_source", "of_doc"))
        )
        console.out.print(f"{dropped}\n  {row['reason']} of {of}", markup=False)
    if len(rows) > limit:
        console.out.print(f"there are more; see --limit, or read {record}", markup=False)

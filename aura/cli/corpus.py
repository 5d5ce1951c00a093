"""`aura corpus`: the selected corpus, looked into."""

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from aura.core import console, paths
from aura.core.errors import UserError
from aura.core.shown_text import on_one_line

app = typer.Typer(no_args_is_help=True, help="The documents that select dropped from the corpus.")


@app.callback()
def corpus() -> None:
    """Keep `duplicates` a subcommand while it is the only one."""


@app.command("duplicates")
def duplicates(
    document: Annotated[
        str | None, typer.Argument(help="Name of a document, as in the column doc; counts of all when left out.")
    ] = None,
    limit: Annotated[int, typer.Option(help="Show at most so many rows about a document.", min=1)] = 20,
    record: Annotated[Path, typer.Option(help="The record that select wrote.")] = paths.DUPLICATES,
) -> None:
    """Show which documents select dropped as duplicates, and which document each of them duplicates."""
    from aura.select import record as records  # PyArrow takes 0.3 s to import

    if document is None:
        table = Table("source", "reason", "duplicates of", "documents")
        for (source, reason, of_source), number in records.counts(record).items():
            table.add_row(source, reason, of_source, Text(f"{number:,}", justify="right"))
        console.out.print(table, soft_wrap=False)
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

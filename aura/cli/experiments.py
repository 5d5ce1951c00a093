"""`aura experiments`: what was tried, and what each change did."""

from typing import Annotated

import typer
from rich.table import Column, Table
from rich.text import Text

from aura.core import console

WIDEST = 32  # characters of a change that stay on one line in a terminal of 80 columns


def experiments(
    revision: Annotated[
        str | None, typer.Option("--from", help="Newest commit to look at; HEAD when left out.")
    ] = None,
    commits: Annotated[int, typer.Option(help="Commits to look at, back from there.", min=1)] = 1,
) -> None:
    """List the experiments of `dvc exp run`: what each changed in params.yaml, and the numbers that count.

    An experiment stands under the commit that it began at. `dvc exp apply NAME` takes its params and results over.
    """
    from aura.project import experiments as found  # DVC takes a second to import

    rows = list(found.rows(revision, commits))
    best = {title: _best(title, [row.numbers[title] for row in rows]) for title in found.NUMBERS}
    longest = max((len(change) for row in rows for change in row.changes), default=0)
    table = Table("experiment", Column("changed", overflow="fold", min_width=min(longest, WIDEST)))
    for title in found.NUMBERS:
        table.add_column(title, justify="right")
    for row in rows:
        name = Text(("  " if row.is_experiment else "") + row.name + (f" ({row.state})" if row.state else ""))
        cells = [_number(title, value, best[title]) for title, value in row.numbers.items()]
        table.add_row(name, Text("\n".join(row.changes) or "-"), *cells)
    console.out.print(table, soft_wrap=False)
    if not any(row.is_experiment for row in rows):
        begun = "at this commit" if commits == 1 else f"at these {commits:,} commits"
        console.out.print(
            f"no experiment began {begun}. Look further back: --commits {10 * commits}; or try one: "
            "dvc exp run -S train_tokenizer.vocab_size=4000",
            markup=False,
        )


def _best(title: str, values: list[float | None]) -> float | None:
    """The best of two or more different values: most bytes for a token, fewest bits for a byte."""
    known = {value for value in values if value is not None}
    if title == "pieces" or len(known) < 2:
        return None
    return max(known) if title == "bytes per token" else min(known)


def _number(title: str, value: float | None, best: float | None) -> Text:
    shown = "-" if value is None else f"{value:,}" if title == "pieces" else f"{value:.3f}"
    return Text(f"{shown} *" if value is not None and value == best else shown)

"""`aura why`: what `dvc repro` would run, and for which reasons."""

from typing import Annotated

import typer

from aura.core import console


def why(
    stage: Annotated[str | None, typer.Argument(help="A stage (with what it depends on); all when left out.")] = None,
    since: Annotated[str | None, typer.Option(help="Compare with the dvc.lock of this git revision.")] = None,
) -> None:
    """Explain which stages would run, and why: params with old and new values, changed files, libraries."""
    from aura.project.why import why as explain  # DVC takes a second to import

    found = explain(stage, since)
    for name, reasons in found.items():
        console.out.print(name, style="bold", markup=False)
        for reason in reasons:
            console.out.print(f"  {reason}", markup=False)
    if not found:
        console.out.print(
            "nothing would run: everything is as dvc.lock records it"
            if since is None
            else f"nothing differs from {since}",
            markup=False,
        )

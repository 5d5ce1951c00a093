"""`aura why`: what `dvc repro` would run, and for which reasons."""

from typing import Annotated

import typer

from aura.core import console
from aura.core.errors import UserError
from aura.project import frozen, whole_params


def why(
    stage: Annotated[str | None, typer.Argument(help="A stage (with what it depends on); all when left out.")] = None,
    since: Annotated[str | None, typer.Option(help="Compare with the dvc.lock of this git revision.")] = None,
) -> None:
    """Explain which stages would run, and why: params with old and new values, changed files, libraries."""
    from dvc.exceptions import DvcException  # DVC takes a second to import

    from aura.project.why import why as explain

    try:
        found = explain(stage, since)
    except DvcException:
        whole_params.check_own()  # a mistake in params.yaml is told better here
        raise
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
    if names := frozen.stages():
        console.out.print(frozen.note(names), markup=False)
    try:
        whole_params.check_own()  # DVC looks at the keys that stages name, so it says nothing of a misspelt one
    except UserError as error:
        console.err.print(f"warning: {error}")

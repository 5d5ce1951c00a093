"""`aura report`: the validation report as a page."""

from typing import Annotated

import typer

from aura.core import console, paths
from aura.validate import report as pages


def report(
    since: Annotated[str, typer.Option(help="Commit, branch or tag whose metrics are compared with.")] = "HEAD",
) -> None:
    """Write reports/validate/report.html again, from what the validate stage measured (after `dvc pull`, say)."""
    console.out.print(str(pages.write(paths.TOKENIZER_MODEL, paths.VALIDATION, since)), markup=False)

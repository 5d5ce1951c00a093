"""`aura report`: the validation report as a page."""

from pathlib import Path
from typing import Annotated

import typer

from aura.core import console
from aura.validate import report as pages

MODEL, REPORTS = Path("models/spm/spiece.model"), Path("reports/validate")


def report(
    since: Annotated[str, typer.Option(help="Commit, branch or tag whose metrics are compared with.")] = "HEAD",
) -> None:
    """Write reports/validate/report.html again, from what the validate stage measured (after `dvc pull`, say)."""
    console.out.print(str(pages.write(MODEL, REPORTS, since)), markup=False)

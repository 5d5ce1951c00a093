"""`aura repair`: finds and puts right what a power cut, a failing disk or a killed program damaged."""

from typing import Annotated

import typer

from aura.core import console
from aura.project import whole_params


def repair(
    everything: Annotated[
        bool, typer.Option("--all", help="Read also what did not change since it was last verified.")
    ] = False,
) -> None:
    """Verify dvc.lock, DVC's cache and run records, and outputs; remove what is damaged and what was made of it.

    Exit status 1 if something is left to you, such as a mistake in params.yaml. Takes nothing from a network.
    """
    _repair(everything=everything)
    whole_params.check_own()  # `make` then ends here, and DVC has removed no output for a stage that would refuse them


def _repair(*, everything: bool) -> None:
    from aura.sharing.verified import FILE, Verified

    if not everything and Verified(FILE).nothing_new():
        console.out.print("nothing changed since all was verified", markup=False)
        return
    from aura.project.repair import repair as run  # DVC takes a second to import

    report = run(everything=everything)
    for line in (*report.checked, *report.done):
        console.out.print(line, markup=False)
    if report.needed:
        console.fail("\n".join(report.needed))

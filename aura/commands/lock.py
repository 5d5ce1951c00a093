"""`aura lock`: DVC's records of what was run."""

import typer

from aura import console
from aura.dvc_state import repair

app = typer.Typer(no_args_is_help=True, help="DVC's records of what was run.")


@app.command("repair")
def repair_lock() -> None:
    """Mend dvc.lock and .dvc/tmp/rwlock after a kill -9 or a power cut; does nothing where nothing is broken."""
    for line in repair():
        console.out.print(line, markup=False)


@app.callback()
def group() -> None:
    """Keep `repair` a subcommand while it is the only one."""

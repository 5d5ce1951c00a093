"""`aura lock`: DVC's records of what was run."""

from pathlib import Path
from typing import Annotated

import typer

from aura.cli import places
from aura.cli.groups import Commands
from aura.core import console

app = typer.Typer(cls=Commands, no_args_is_help=True, help="DVC's records of what was run: dvc.lock.")

Version = Annotated[
    Path, typer.Argument(parser=places.path, metavar="PATH", help="A version of dvc.lock, as git gives it.")
]


@app.command("repair")
def repair_lock() -> None:
    """Fix dvc.lock and .dvc/tmp/rwlock after a kill -9 or a power cut; does nothing where nothing is broken."""
    from aura.project.dvc_state import repair  # DVC takes a second to import

    for line in repair():
        console.out.print(line, markup=False)


@app.command("resolve")
def resolve_lock() -> None:
    """End a merge conflict in dvc.lock: keep every stage that merges, and say which must be rebuilt."""
    from aura.project import lock_merge

    conflicts = lock_merge.resolve()
    for stage in conflicts:
        console.out.print(f"{stage}: both sides changed it, so it must be rebuilt", markup=False)
    remedy = "dvc repro --pull" if conflicts else "dvc status"
    console.out.print(
        f"dvc.lock, and what stages make, is merged and staged. Finish the merge (git commit), then run: {remedy}",
        markup=False,
    )


@app.command("register")
def register_driver() -> None:
    """Tell this clone's git to merge dvc.lock stage by stage; `make setup` does it."""
    from aura.project import lock_merge

    lock_merge.register()


@app.command("merge", hidden=True)
def merge_lock(base: Version, ours: Version, theirs: Version) -> None:
    """Git's merge driver for dvc.lock: writes the result to OURS; exit status 1 where a stage is in conflict."""
    from aura.project import lock_merge

    conflicts = lock_merge.merge_files(base, ours, theirs)
    if conflicts:
        console.fail(f"dvc.lock: both sides changed {', '.join(conflicts)}. Next: aura lock resolve")

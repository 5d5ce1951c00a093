"""`aura gc`: removes what nothing needs that git keeps.

Git keeps the commits of branches, tags, experiments, stashes, reflogs and worktrees, and of an unfinished rebase, merge
or bisection; also what stands in an index or a worktree. `aura/project/kept.py` finds the outputs of all these.
"""

from typing import Annotated

import typer

from aura.core import console


def gc(
    delete: Annotated[
        bool, typer.Option("--delete", help="Really remove; without it, only say what would go.")
    ] = False,
    cloud: Annotated[bool, typer.Option("--cloud", help="Also in the bucket, for everyone.")] = False,
    older_than: Annotated[
        float, typer.Option(help="Days for which an object or a run's checkpoints must be unchanged.", min=0)
    ] = 14,
) -> None:
    """List data that no branch, tag, experiment, stash, reflog or worktree needs; with --delete, remove it."""
    from aura.project import housekeeping  # DVC and gcsfs take 2 s to import

    with housekeeping.find_deletable(cloud=cloud, older_than=older_than) as found:
        for deletable in found:
            if delete:
                deletable.remove()
            verb = "removed" if delete else "would remove"
            console.out.print(
                f"{verb} {deletable.count:,} {deletable.kind}, {console.size(deletable.bytes)}", markup=False
            )
    if not found:
        console.out.print("nothing to remove", markup=False)
    console.out.print(
        f"kept: what is younger than {older_than:g} days (--older-than); all branches, tags, experiments, stashes, "
        "reflogs, worktrees, the workspace, and the run cache's records",
        markup=False,
    )
    if found and not delete:
        console.out.print("to remove it: the same command with --delete", markup=False)

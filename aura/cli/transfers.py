"""`aura push` and `aura pull`: DVC's, with retries and with every object compared with its hash."""

from typing import TYPE_CHECKING, Annotated

import typer

from aura.cli import places
from aura.core import console

if TYPE_CHECKING:
    from aura.sharing.delivery import Moved

Targets = Annotated[
    list[str] | None,
    typer.Argument(parser=places.path_or_name, metavar="TARGET…", help="Outputs or stages; everything when left out."),
]


def push(
    targets: Targets = None,
    run_cache: Annotated[
        bool,
        typer.Option("--run-cache", help="Also upload all other runs of this machine whose outputs are still here."),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Upload again what the bucket says it holds: fixes damaged objects.")
    ] = False,
) -> None:
    """Upload results to the remote, and check there that each arrived whole."""
    from aura.project import tracking
    from aura.sharing import transfer  # DVC and gcsfs take 2 s to import

    _summarise("push", transfer.push(targets or [], run_cache=run_cache, force=force))
    for note in () if targets else tracking.notes():
        console.err.print(f"note: {note}", markup=False)


def pull(
    targets: Targets = None,
    run_cache: Annotated[
        bool, typer.Option(help="Also the records of what others ran, for `dvc repro --pull`.")
    ] = True,
    force: Annotated[bool, typer.Option("--force", help="Overwrite outputs that were changed by hand.")] = False,
) -> None:
    """Download results from the remote, check that each is whole, and put them into the workspace."""
    from aura.sharing import transfer

    _summarise("pull", transfer.pull(targets or [], run_cache=run_cache, force=force))


def _summarise(verb: str, moved: "Moved") -> None:
    facts = {
        "moved": f"{len(moved.names):,} objects, {console.size(moved.bytes)}",
        "already there": f"{moved.present:,}",
    }
    console.summary(verb, facts, see="dvc data status")

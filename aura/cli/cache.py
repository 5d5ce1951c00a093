"""`aura cache`: the action cache."""

from typing import Annotated

import typer

from aura.cli.groups import Commands
from aura.core import console
from aura.core.errors import UserError
from aura.project import whole_params
from aura.storage import placement
from aura.storage.stored_cache import StoredCache

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    help="The action cache: results that stages keep, so that only changed files are done again.",
)


@app.command("stats")
def cache_stats() -> None:
    """Say where the action cache lies and how much it holds."""
    settings = whole_params.load()
    cache = placement.of(settings.store).cache()
    held = cache.stats()
    limit = "" if isinstance(cache, StoredCache) else f" of at most {console.size(settings.cache.max_bytes)}"
    console.out.print(f"{cache.address}: {held.entries:,} entries, {console.size(held.bytes)}{limit}", markup=False)


@app.command("prune")
def prune_cache(
    max_gb: Annotated[
        float | None, typer.Option(help="Keep at most so many GB; cache.max_gb of params.yaml when left out.", min=0)
    ] = None,
) -> None:
    """Remove the entries that were not used for longest; a later run makes again what it misses.

    In a store, which all its users share: those written first, and only down to a stated --max-gb.
    """
    settings = whole_params.load()
    cache = placement.of(settings.store).cache()
    if max_gb is None and isinstance(cache, StoredCache):
        raise UserError(f"{cache.address} is shared by all who use the store. Say what to keep of it: --max-gb N")
    gone = cache.prune(settings.cache.max_bytes if max_gb is None else max_gb * 1e9)
    console.out.print(f"removed {gone.entries:,} entries, {console.size(gone.bytes)}", markup=False)

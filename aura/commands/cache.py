"""`aura cache`: the action cache."""

from typing import Annotated

import typer

from aura import console, params
from aura.cache import project_cache

app = typer.Typer(no_args_is_help=True, help="What extraction keeps so that only changed files are done again.")


@app.command("stats")
def cache_stats() -> None:
    """Say where the action cache lies and how much it holds."""
    cache, limit = project_cache(), params.load().cache.max_bytes
    held = cache.stats()
    console.out.print(
        f"{cache.folder}: {held.entries:,} entries, {console.size(held.bytes)} of at most {console.size(limit)}",
        markup=False,
    )


@app.command("prune")
def prune_cache(
    max_gb: Annotated[
        float | None, typer.Option(help="Keep at most so many GB; cache.max_gb of params.yaml when left out.", min=0)
    ] = None,
) -> None:
    """Remove the entries that were not used for longest; a later run makes again what it misses."""
    limit = params.load().cache.max_bytes if max_gb is None else max_gb * 1e9
    gone = project_cache().prune(limit)
    console.out.print(f"removed {gone.entries:,} entries, {console.size(gone.bytes)}", markup=False)

"""`aura remote`: where results are shared."""

from typing import Annotated

import typer

from aura.cli import places
from aura.cli.groups import Commands
from aura.core import console

app = typer.Typer(cls=Commands, no_args_is_help=True, help="The bucket behind DVC's remote, where results are shared.")


@app.command("set")
def set_remote(
    url: Annotated[
        str,
        typer.Argument(
            parser=places.path_or_name, metavar="URL", help="gs://BUCKET/PREFIX; a prefix for each project."
        ),
    ],
) -> None:
    """Make a bucket the project's remote (in .dvc/config), then try to write, read and delete there."""
    from aura.sharing import remote  # DVC and gcsfs take 2 s to import

    remote.set_url(url)
    check_remote()
    console.out.print("next: git add .dvc/config && git commit -m 'Share results' && aura push", markup=False)


@app.command("check")
def check_remote() -> None:
    """Try to write, read and delete in the remote, and say in one line what is wrong."""
    from aura.sharing import remote

    with remote.open_repo() as repo:
        store = remote.DvcRemote(repo)
        console.err.print(f"trying to write, read and delete in {store.url}", markup=False)
        store.check()
    console.out.print(f"{store.url}: can be read and written", markup=False)

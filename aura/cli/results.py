"""`aura results`: what was made, where to look, and what to try next; `make` ends with it."""

from pathlib import Path

from aura.cli import places
from aura.core import console
from aura.core.errors import UserError
from aura.project import results as found


def results() -> None:
    """Show what the pipeline made, where to look at it, and what to try next."""
    made = dict(found.made())
    if not made:
        if not places.is_root(Path.cwd()):
            raise UserError("this folder is no project of aura. Go to one; or make one: aura init FOLDER")
        raise UserError("nothing is made yet. Run: dvc repro")
    _list("made", list(made.items()))
    if pages := found.pages():
        _list("look at", [(page, "") for page in pages])
    _list("try next", found.to_try())


def _list(title: str, rows: list[tuple[str, str]]) -> None:
    console.out.print(f"{title}:", style="bold", markup=False)
    width = max(len(name) for name, _ in rows)
    for name, told in rows:
        console.out.print(f"  {name:<{width}}  {told}".rstrip(), markup=False)

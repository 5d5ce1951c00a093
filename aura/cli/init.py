"""`aura init`: a project of one's own."""

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from aura.cli import places
from aura.core import console


def init(
    folder: Annotated[
        Path,
        typer.Argument(parser=places.path, metavar="FOLDER", help="A new or empty folder, or a git repository [.]."),
    ] = Path(),
    update: Annotated[
        bool, typer.Option("--update", help="Take in the aura and the libraries that are installed now.")
    ] = False,
) -> None:
    """Make a project: git, DVC, pipeline, params.yaml, and the built-in sample as its text."""
    from aura.project import new_project, plots_page  # DVC takes a second to import

    folder = places.path(".") if folder == Path() else folder

    if update:
        changed, lacking = new_project.update(folder)
        for line in changed or ["nothing changed since"]:
            console.out.print(line, markup=False)
        for line in lacking:
            console.err.print(f"note: dvc.yaml lacks what this version of aura has: {line}. Add it", markup=False)
        if changed:
            console.out.print("next: dvc repro", markup=False)
        return
    new_project.create(folder)
    plots_page.install(folder)
    console.out.print(f"{folder.resolve().name} is a project of its own. Next:", markup=False)
    for command, meaning in _next(folder):
        console.out.print(f"  {command:<42} {f'# {meaning}' if meaning else ''}".rstrip(), markup=False)


def _next(folder: Path) -> list[tuple[str, str]]:
    """Commands to go on with, and what they do."""
    programs = Path(sys.executable).parent
    found = [] if folder.resolve() == Path.cwd() else [(f"cd {shlex.quote(str(folder))}", "")]
    python = shutil.which("python")
    if python is None or os.path.realpath(Path(python).parent) != os.path.realpath(programs):
        found.append((f"source {shlex.quote(str(programs))}/activate", "dvc runs the python that is first on the PATH"))
    return [
        *found,
        ("dvc repro", "builds all of it from the sample: 3 to 4 minutes"),
        ("git add . && git commit -m 'First build'", "keeps what was made of what"),
        ("aura source add news FOLDER --only", "your own text, in the place of the sample"),
    ]

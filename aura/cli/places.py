"""The project's root, which every command works in, and paths as they were typed in another folder of the project.

`aura` may be called anywhere in a project, as git may: it goes up to the root first. A path on the command line was
typed from the folder that the user is in, so each argument or option for one has the parser `path`, and each for a path
or a name has `path_or_name`.
"""

import os
from pathlib import Path

from aura.core import console

_begun_in: list[Path] = []  # the folder that the user is in; empty in the root itself


def enter_project() -> None:
    """Go up to the root of the project that this folder lies in; stay where there is none, or in the root."""
    _begun_in.clear()
    here = Path.cwd()
    root = next((folder for folder in (here, *here.parents) if is_root(folder)), here)
    if not _is_trusted(root, here):
        console.err.print(f"note: {root} is a project of another account, and is not used. To use it: cd {root}")
        return
    if root != here and not (here / "params.yaml").exists():
        _begun_in.append(here)
        os.chdir(root)


def _is_trusted(root: Path, here: Path) -> bool:
    """Return whether a project above is the user's, or that of this folder's owner: anyone may make one in /tmp."""
    owners = {os.geteuid(), here.stat().st_uid}
    return root == here or all((root / name).stat().st_uid in owners for name in (".dvc", "params.yaml"))


def is_root(folder: Path) -> bool:
    """Return whether it is the root of a project of ours: a project of DVC with a params.yaml."""
    return (folder / ".dvc").is_dir() and (folder / "params.yaml").is_file()


def path(typed: str | Path) -> Path:
    """The path from here of what was typed in the folder that the user is in; a default, a `Path`, stays as it is."""
    if isinstance(typed, Path) or not _begun_in:
        return Path(typed)
    absolute = os.path.normpath(_begun_in[0] / Path(typed).expanduser())
    return Path(os.path.relpath(absolute)) if Path(absolute).is_relative_to(Path.cwd()) else Path(absolute)


def path_or_name(typed: str) -> str:
    """The same of an argument that may be a path, a pattern of paths, an address or the name of something else."""
    if not _begun_in or "://" in typed:
        return typed
    is_path = typed.startswith((".", "/", "~")) or any(mark in typed for mark in "*?[{") or path(typed).exists()
    return str(path(typed)) if is_path else typed

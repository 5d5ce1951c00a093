"""git, run as a program: it knows the user's credentials and settings, which no library does."""

import os
import subprocess
from pathlib import Path

from aura.core.errors import UserError
from aura.core.shown_text import without_secrets


class GitFailed(UserError):
    """git ended with an error, which is the message."""


def git(
    *arguments: str,
    folder: Path | None = None,
    text: str | None = None,
    index: Path | None = None,
    place: Path | None = None,
) -> str:
    """Return the output of `git`, without the last line's end.

    Args:
        arguments: the command and its arguments.
        folder: where to run it; the working directory when left out.
        text: its standard input.
        index: a file to use instead of the repository's index.
        place: the git folder of a worktree, to ask for what belongs to that one; the one of `folder` when left out.

    Raises:
        GitFailed: with git's own words, free of passwords in addresses.
    """
    environment = os.environ | {"GIT_TERMINAL_PROMPT": "0"} | ({"GIT_INDEX_FILE": str(index)} if index else {})
    if place:
        environment |= {"GIT_DIR": str(place), "GIT_WORK_TREE": "."}
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            input=text,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",  # names of files may be any bytes
            check=False,
        )
    except FileNotFoundError as error:
        if error.filename != "git":
            raise
        raise GitFailed("git is not installed, or not on PATH. Install it, then run this again") from None
    if done.returncode:
        said = done.stderr.strip() or f"git {arguments[0]} ended with {done.returncode}"
        raise GitFailed(without_secrets(said))
    return done.stdout.removesuffix("\n")


def has_remote(name: str = "origin") -> bool:
    """Return whether the repository of the working directory has a remote of this name."""
    return name in git("remote").splitlines()

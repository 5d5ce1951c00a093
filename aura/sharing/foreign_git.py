"""git, run against a repository that is not ours: bounded in time, disk and memory, and obeying none of its settings.

Whoever serves a repository chooses how much it sends and how slowly; whoever made a folder with a repository chose its
.git/config, which can name programs to run. So git never runs inside such a folder. It fetches from it as from a
server, into an empty repository, and reads that one. The user's own settings (credentials, proxies) stay in force.
"""

import os
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from aura.core.shown_text import without_secrets
from aura.sharing.git import GitFailed

SECONDS = 600.0  # that one command may take
LARGEST_PACK = 1_000_000_000  # bytes of any file that git writes
MEMORY = 4 << 30  # bytes of address space of git, and of each program that it starts
ANSWER = 64_000_000  # bytes that a command may print: a million tags
PROTOCOLS = "file:git:http:https:ssh"  # others run a program that the address names (ext::), or that lies in PATH
_SAID = 2_000  # characters of an error message; a server may write more
_LIMITED = 'ulimit -f "$0" 2>/dev/null; ulimit -v "$1" 2>/dev/null; shift; exec "$@"'  # macOS has no ulimit -v
_SETTINGS = {
    "core.bigFileThreshold": "1m",  # larger files are not held in memory
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "fetch.recurseSubmodules": "false",
    "fetch.unpackLimit": "1",  # all objects stay in one file, which the limit is for
    "gc.auto": "0",
    "http.lowSpeedLimit": "1000",  # bytes a second, and for how long a server may send less
    "http.lowSpeedTime": "60",
    "maintenance.auto": "false",
    "transfer.bundleURI": "false",
}
# A git hook that starts aura sets these for its own repository.
_OF_ANOTHER_REPOSITORY = {
    f"GIT_{name}" for name in ("DIR", "WORK_TREE", "INDEX_FILE", "OBJECT_DIRECTORY", "COMMON_DIR", "NAMESPACE")
}


def foreign_git(*arguments: str, clone: Path | None = None) -> str:
    """Return the output of `git`, without the last line's end; bytes that are no UTF-8 become lone surrogates.

    Args:
        arguments: the command and its arguments.
        clone: the bare repository to work on.

    Raises:
        GitFailed: with git's own words in English, free of passwords in addresses; or it went beyond a limit.
    """
    settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
    command = ["git", *settings, *([f"--git-dir={clone}"] if clone else []), *arguments]
    limits = [str(LARGEST_PACK // 512), str(MEMORY // 1024)]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        # Files, and no pipes: a program that git leaves behind would keep a pipe open.
        process = subprocess.Popen(
            ["sh", "-c", _LIMITED, *limits, *command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=_environment(),
        )
        try:
            status = process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            raise GitFailed(f"git {arguments[0]} took more than {SECONDS:.0f} s, and was ended") from None
        finally:
            _end(process)
        out.seek(0)
        err.seek(0)
        if status:
            said = err.read(_SAID).decode(errors="replace").strip() or f"git {arguments[0]} ended with {status}"
            raise GitFailed(f"{without_secrets(said)}{_hint(status, said)}")
        printed = out.read(ANSWER + 1)
    if len(printed) > ANSWER:
        raise GitFailed(f"git {arguments[0]} printed more than {ANSWER:,} bytes, which is what is read at most")
    return printed.decode(errors="surrogateescape").removesuffix("\n")


def _environment() -> dict[str, str]:
    mine = {name: value for name, value in os.environ.items() if name not in _OF_ANOTHER_REPOSITORY}
    fixed = {"GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1", "LC_ALL": "C"}
    return {"GIT_ALLOW_PROTOCOL": PROTOCOLS} | mine | fixed


def _hint(status: int, said: str) -> str:
    """Say that a limit ended a program of git's, because git does not say so itself."""
    if status < 0 or "index-pack" in said or "out of memory" in said.lower():
        return (
            f"\n(At most {LARGEST_PACK // 10**6:,} MB of a repository and {MEMORY >> 30} GiB of memory are used. Of "
            "one that you trust and that is larger, make a clone, and give the clone's folder.)"
        )
    return ""


def _end(process: subprocess.Popen[bytes]) -> None:
    """End git, which then ends the programs that it started."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)
    if process.poll() is None:
        process.kill()
        process.wait()

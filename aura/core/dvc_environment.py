"""Environment variables that DVC and gcsfs need before they are imported, and a message for a full disk.

`make setup` puts a copy of this file into the environment, of which every Python runs `prepare` when it starts: plain
`dvc` then works as aura does. So it imports nothing but the standard library, and takes 0.1 ms (5 ms in `dvc`). Every
Python there runs `quiet_interrupts`, too, and before anything else. Values that the user set in the environment stay.

DVC (3.67.1) words a full disk as "No possible cache link types" or "disk I/O error", and where its index is on that
disk, it tries to write there for ever. In `dvc` and `aura`, both become one message.
"""

import errno
import functools
import os
import sys
from typing import Any

SITE_CACHE = "DVC_SITE_CACHE_DIR"
_PROGRAMS = ("dvc", "aura")
_LINK_ERRORS = ("CacheLinkError", "LinkError", "CheckoutError")  # of DVC, which does not keep their cause
_FULL = 13, 10  # SQLITE_FULL and SQLITE_IOERR
_LITTLE = 16_000_000  # bytes; where less is free and a link failed, the disk is full


def quiet_interrupts() -> None:
    """Let Ctrl-C end our programs without a trace while Python starts, which takes 40 ms; then see `aura.core.endings`.

    Other programs keep Python's own KeyboardInterrupt.
    """
    import _signal  # type: ignore[import-not-found]  # `signal` takes 2 ms

    program = sys.argv[0] if sys.argv else ""
    named = sys.orig_argv[sys.orig_argv.index("-m") + 1 :] if program == "-m" and "-m" in sys.orig_argv else [""]
    ours = program.endswith("/bin/aura") or named[0].startswith(("aura.", "stages.")) or named[0] == "aura"
    if (
        ours
        and _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler
        and (program != "-m" or os.path.exists("aura/core/endings.py"))  # noqa: PTH110 - pathlib takes 15 ms
    ):
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)


def prepare() -> None:
    """Turn gcsfs's layout probe off, and keep DVC's index in the user's own cache folder.

    By default DVC (3.67.1) keeps its index where every user of the machine may write, and loads pickles from there: a
    file that somebody else put there runs as code. The probe is explained in `aura.sharing.remote`.
    """
    _find_own_programs()
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    if SITE_CACHE not in os.environ:
        caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 - 5 ms less
        os.environ[SITE_CACHE] = folder = f"{caches}/aura/dvc"
        try:  # noqa: SIM105 - contextlib takes 7 ms to import, in which Ctrl-C would leave a trace
            os.makedirs(folder, mode=0o700, exist_ok=True)  # noqa: PTH103 - as above
        except OSError:  # DVC then says that it cannot write there
            pass
    if any(word.rpartition("/")[2] in _PROGRAMS for word in sys.orig_argv[1:3]):
        _explain_full_disks()


def _find_own_programs() -> None:
    """Let `dvc`, `aura` and stages find the programs of their environment, though it is not activated."""
    own = os.path.dirname(sys.executable)  # noqa: PTH120 - as above
    found = os.environ.get("PATH", os.defpath)
    if any(word.rpartition("/")[2] in _PROGRAMS for word in sys.orig_argv[1:3]) and own not in found.split(os.pathsep):
        os.environ["PATH"] = f"{own}{os.pathsep}{found}"


def is_disk_full(error: BaseException | None) -> bool:
    """Return whether a full disk (or quota) is among the causes of an error; DVC words it as a failure to link."""
    seen = 0
    while error is not None and seen < 20:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error, seen = error.__cause__ or error.__context__, seen + 1
    return False


def disk_full(error: BaseException | None = None) -> str:
    """Return a message about a full disk: how much is free, how much the file needs if known, and what to do."""
    source, target, needed = "", "", 0
    while error is not None and not target:
        source, target = str(getattr(error, "filename", "") or ""), str(getattr(error, "filename2", "") or "")
        for path in getattr(error, "fs_paths", []):
            source, needed = str(path), needed + _size(str(path))
        error = error.__cause__ or error.__context__
    needed = needed or _size(source)
    folder = os.path.dirname(target or source) or "."  # noqa: PTH120 - as above
    while not os.path.isdir(folder):  # noqa: PTH112
        folder = os.path.dirname(folder) or "."  # noqa: PTH120
    told = f", and {needed / 1e6:,.1f} MB are needed for {os.path.relpath(source)}" if needed else ""
    return (
        f"the disk is full: {_free(folder) / 1e6:,.1f} MB are free at {os.path.abspath(folder)}{told}. "  # noqa: PTH100
        "Free some space (see: aura gc), then run the same command again"
    )


def _free(folder: str) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def _size(path: str) -> int:
    """Bytes of a file, or of the files below a folder; 0 where there is none."""
    if os.path.isfile(path):  # noqa: PTH113
        return os.path.getsize(path)  # noqa: PTH202
    return sum(_size(f"{root}/{name}") for root, _, names in os.walk(path) for name in names)


def _explain_full_disks() -> None:
    """Make what logs an error of a full disk say so, once. SQLite then raises `OSError`, which DVC does not retry."""
    import logging

    make = logging.getLogRecordFactory()
    if getattr(make, "explains_full_disks", False):
        return
    told = False

    def record(*arguments: Any, **options: Any) -> logging.LogRecord:  # noqa: ANN401 - as logging has it
        nonlocal told
        made = make(*arguments, **options)
        error = made.exc_info[1] if isinstance(made.exc_info, tuple) else None
        if made.levelno >= logging.ERROR and error is not None and (is_disk_full(error) or _is_unlinked(error, told)):
            made.msg, made.args, made.exc_info = disk_full(error), (), None
            made.levelno = logging.NOTSET if told else made.levelno  # no handler takes it
            told = True
        return made

    record.explains_full_disks = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(record)
    _end_retries()


def _is_unlinked(error: BaseException, told: bool) -> bool:
    return type(error).__name__ in _LINK_ERRORS and (told or _free(".") < _LITTLE)


def _end_retries() -> None:
    """DVC's index takes any error of SQLite for a lock that somebody holds."""
    import sqlite3

    class Connection(sqlite3.Connection):
        def execute(self, *arguments: Any) -> sqlite3.Cursor:  # noqa: ANN401 - as sqlite3 has it
            try:
                return super().execute(*arguments)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF not in _FULL:
                    raise
                full = error.sqlite_errorcode == _FULL[0] or _free(os.environ[SITE_CACHE]) < _LITTLE
                number = errno.ENOSPC if full else errno.EIO
                raise OSError(number, os.strerror(number), os.environ[SITE_CACHE]) from error

    sqlite3.connect = functools.partial(sqlite3.connect, factory=Connection)  # type: ignore[assignment]

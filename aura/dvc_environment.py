"""What DVC and gcsfs read from environment variables, set before either is imported; what the user set stays.

`make setup` puts a copy of this file into the environment, of which every Python runs `prepare` when it starts: plain
`dvc` then works as aura does. So it imports nothing but the standard library, and takes 0.1 ms. Every Python there runs
`quiet_interrupts`, too, and before anything else.
"""

import errno
import os
import sys

SITE_CACHE = "DVC_SITE_CACHE_DIR"


def quiet_interrupts() -> None:
    """Let Ctrl-C end a program of ours without a trace while Python starts, which takes 40 ms; then see `aura.endings`.

    Other programs keep Python's own KeyboardInterrupt.
    """
    import _signal  # type: ignore[import-not-found]  # `signal` takes 2 ms

    program = sys.argv[0] if sys.argv else ""
    named = sys.orig_argv[sys.orig_argv.index("-m") + 1 :] if program == "-m" and "-m" in sys.orig_argv else [""]
    ours = program.endswith("/bin/aura") or named[0].startswith(("aura.", "stages.")) or named[0] == "aura"
    if (
        ours
        and _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler
        and (program != "-m" or os.path.exists("aura/endings.py"))  # noqa: PTH110 - pathlib takes 15 ms
    ):
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)


def prepare() -> None:
    """Turn gcsfs's layout probe off, and keep DVC's index in the user's own cache folder.

    By default DVC (3.67.1) keeps its index where every user of the machine may write, and loads pickles from there: a
    file that somebody else put there runs as code. The probe is explained in `aura.remote`.
    """
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    if SITE_CACHE not in os.environ:
        caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 - 5 ms less
        os.environ[SITE_CACHE] = folder = f"{caches}/aura/dvc"
        try:  # noqa: SIM105 - contextlib takes 7 ms to import, in which Ctrl-C would leave a trace
            os.makedirs(folder, mode=0o700, exist_ok=True)  # noqa: PTH103 - as above
        except OSError:  # DVC then says that it cannot write there
            pass


def is_disk_full(error: BaseException | None) -> bool:
    """Whether a full disk (or quota) is among the causes of an error; DVC words it as a failure to link."""
    seen = 0
    while error is not None and seen < 20:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error, seen = error.__cause__ or error.__context__, seen + 1
    return False

"""What DVC and gcsfs read from environment variables, set before either is imported; what the user set stays.

`make setup` puts a copy of this file into the environment, of which every Python runs `prepare` when it starts: plain
`dvc` then works as aura does. So it imports nothing but the standard library, and takes 0.1 ms.
"""

import contextlib
import errno
import os

SITE_CACHE = "DVC_SITE_CACHE_DIR"


def prepare() -> None:
    """Turn gcsfs's layout probe off, and keep DVC's index in the user's own cache folder.

    By default DVC (3.67.1) keeps its index where every user of the machine may write, and loads pickles from there: a
    file that somebody else put there runs as code. The probe is explained in `aura.sharing.remote`.
    """
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    if SITE_CACHE not in os.environ:
        caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 - 5 ms less
        os.environ[SITE_CACHE] = folder = f"{caches}/aura/dvc"
        with contextlib.suppress(OSError):  # DVC then says that it cannot write there
            os.makedirs(folder, mode=0o700, exist_ok=True)  # noqa: PTH103 - as above


def is_disk_full(error: BaseException | None) -> bool:
    """Return whether a full disk (or quota) is among the causes of an error; DVC words it as a failure to link."""
    seen = 0
    while error is not None and seen < 20:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error, seen = error.__cause__ or error.__context__, seen + 1
    return False

"""A lock on the folder of a run's checkpoints: two runs in one folder would remove each other's checkpoints.

It lasts until it is released or its process ends, however that ends. Some file systems have no locks; there nothing is
held. `bucket_lock.py` locks a folder in a bucket.
"""

import errno
import fcntl
import os
import socket
from contextlib import suppress
from pathlib import Path

from aura.core import files
from aura.core.errors import UserError

NAME = "lock"  # of the file, in the folder of the run


class RunLock:
    """The lock on a folder of this disk, which is made; raises `UserError` if another process holds it."""

    def __init__(self, folder: Path) -> None:
        files.make_folder(folder)
        self._descriptor: int | None = os.open(folder / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, f"process {os.getpid()} of {socket.gethostname()}\n".encode())
        except BlockingIOError:
            holder = os.read(self._descriptor, 200).decode(errors="replace").strip() or "another process"
            self.release()
            raise in_use(str(folder), holder) from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL):  # a file system without locks
                self.release()
                raise

    def __del__(self) -> None:
        self.release()

    def confirm(self) -> None:
        """Do nothing: no other process can take this lock from its holder, as it can in a bucket."""

    def release(self) -> None:
        """Let another process have the folder."""
        descriptor, self._descriptor = getattr(self, "_descriptor", None), None
        if descriptor is not None:
            with suppress(OSError):
                os.close(descriptor)


def in_use(folder: str, holder: str) -> UserError:
    """Return the error about a folder that another run holds."""
    return UserError(
        f"{folder} is in use by {holder}. Two runs in one folder remove each other's checkpoints. "
        "Wait for that run or end it, or give this one its own folder (pretrain.checkpoint_folder)."
    )

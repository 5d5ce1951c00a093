"""Opening what a source names: regular files alone, because a FIFO or a device may never give a byte."""

import errno
import os
import stat
from pathlib import Path

NOT_A_FILE = "not a file: "
_KINDS = {
    stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
    stat.S_IFDIR: "folder",
}
_OF_THE_SYSTEM = ("/proc/", "/sys/", "/dev/")  # what is a file there by its mode may wait for ever, or never end
_IN_MEMORY = "/dev/shm/"  # noqa: S108 - a plain file system, where fast corpora lie


def kind_of(mode: int) -> str:
    """Why a file of this mode must not be opened; empty for a regular one."""
    return "" if stat.S_ISREG(mode) else NOT_A_FILE + _KINDS.get(stat.S_IFMT(mode), "unknown")


def of_the_system(place: str) -> str:
    """Why what a link leads to must not be opened, told by its real path; empty if nothing speaks against it."""
    root = next((root for root in _OF_THE_SYSTEM if place.startswith(root) and not place.startswith(_IN_MEMORY)), "")
    return f"{NOT_A_FILE}{root.rstrip('/')}" if root else ""


def open_regular(place: str | Path) -> int:
    """A descriptor to read a file by, opened without waiting; raises `OSError`, also for other kinds of files."""
    descriptor = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if problem := kind_of(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, problem, str(place))
    return descriptor

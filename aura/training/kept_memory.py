"""Have the C library keep the memory that a step frees, for the next step takes as much again.

On a CPU XLA allocates a program's temporary arrays anew for each call. By default glibc gives large ones back to the
kernel, which then clears every page again: 91 MB and 23,000 page faults in a step of the default run, 22 % of its time.
The trade-off: memory stays at its highest until the process ends.

A thread that allocates before this is in force gets a heap of its own. XLA's threads may share that heap later, and a
heap of a thread still gives memory back. PyArrow starts such a thread when it is imported: half of all runs then had
no gain. So the stages that train call this before all other imports.
"""

import ctypes
import platform
from importlib.util import find_spec

# From malloc.h of glibc, with what mallopt(3) says of each value.
_TRIM_THRESHOLD, _NEVER = -1, -1  # the heap's free end is never given back
_MMAP_MAX, _NONE = -4, 0  # no array is a mapping of its own, which would end when it is freed
_ARENA_MAX, _ONE = -8, 1  # threads share one heap: those of their own hold 64 MB at most


def keep_memory() -> None:
    """Keep freed memory in this process; to be called while it has one thread. A second call changes nothing.

    Later, but before JAX looks for devices, the call may still help. Nothing is done without glibc, nor where JAX can
    have accelerators: arrays are in their memory then.
    """
    if platform.libc_ver()[0] != "glibc" or any(find_spec(plugin) for plugin in ("jax_plugins", "libtpu")):
        return
    library = ctypes.CDLL(None)
    for parameter, value in ((_TRIM_THRESHOLD, _NEVER), (_MMAP_MAX, _NONE), (_ARENA_MAX, _ONE)):
        library.mallopt(parameter, value)

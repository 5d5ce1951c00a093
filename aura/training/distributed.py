"""One run in several processes: how they find each other.

    AURA_COORDINATOR=HOST:PORT AURA_PROCESSES=4 AURA_PROCESS=0   each process is told its place
    AURA_COORDINATOR=auto                                        a TPU pod, where JAX finds out by itself

On a TPU a process gets its number (jax.process_index) from the slice, whatever AURA_PROCESS says. So each writes the
number it got to AURA_PROCESS_FILE, if that is set: the launcher of a pod finds the process that writes results by it.

A process that is lost or stopped is noticed by heartbeats, and the others end within seconds: JAX ends them, no
exception can be caught. Whoever started them (`supervisor.py`, or the launcher of a pod) starts all again.
"""

import os
from functools import partial
from pathlib import Path

import jax
import numpy as np
import numpy.typing as npt

from aura.core import files
from aura.core.errors import UserError

HEARTBEAT = 10  # seconds without a sign of life after which a process counts as lost
MEETING = 300  # seconds for which processes wait for each other at the start


def start() -> None:
    """Join the other processes of this run, if the environment speaks of any; before anything else asks JAX."""
    coordinator = os.environ.get("AURA_COORDINATOR")
    if not coordinator:
        return
    join = partial(jax.distributed.initialize, heartbeat_timeout_seconds=HEARTBEAT, initialization_timeout=MEETING)
    if coordinator == "auto":
        join()
        tell_number()
        return
    try:
        processes, process = int(os.environ["AURA_PROCESSES"]), int(os.environ["AURA_PROCESS"])
    except (KeyError, ValueError):
        raise UserError(
            "AURA_COORDINATOR is set; expected numbers in AURA_PROCESSES and AURA_PROCESS too, got "
            f"{os.environ.get('AURA_PROCESSES')!r} and {os.environ.get('AURA_PROCESS')!r}. Set or unset all three."
        ) from None
    join(coordinator, processes, process)
    tell_number()


def tell_number() -> None:
    """Write which process of the run this is to AURA_PROCESS_FILE, if that is set, as {"process": 0}."""
    if file := os.environ.get("AURA_PROCESS_FILE"):
        files.write_json(Path(file), {"process": jax.process_index()})


def meet(name: str, seconds: int = MEETING) -> None:
    """Wait until every process is here, at most so many seconds; what follows may not bear a late one.

    Compilation takes processes differently long, and the first exchange among CPUs gives up after 30 seconds.
    """
    if jax.process_count() > 1:
        from orbax.checkpoint import multihost

        multihost.get_barrier_sync_fn()(key=name, timeout_ms=1000 * seconds)


def of_the_first(numbers: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """The numbers that the first process gives, in every process."""
    if jax.process_count() == 1:
        return numbers
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.broadcast_one_to_all(numbers))


def is_first() -> bool:
    """Return whether this process writes the outputs of the run."""
    return jax.process_index() == 0

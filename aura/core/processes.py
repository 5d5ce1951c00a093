"""Worker processes of this machine, as an executor that can begin anew after one of them died.

Processes, not threads: reading, cleaning and encoding are Python and hold the interpreter lock. A stage's own program
forks them (10 ms); any other has them spawned (0.5 s each), for a fork hangs if some library's thread holds a lock
then. A dead worker breaks Python's own pool, with every call in it: `restart` puts a new pool in its place, and
`aura/core/ordered.py` finds out which call it was.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any, TypeVar

Result = TypeVar("Result")


class Processes(Executor):
    """So many worker processes."""

    died = (BrokenProcessPool,)  # what a call raises whose worker died
    tries = 1  # of a call, when it raises that
    place = "a process of this machine"

    def __init__(self, workers: int) -> None:
        self.in_flight = 2 * workers
        self._workers = workers
        self._pool = _started(workers)

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> "Future[Result]":  # noqa: ANN401
        """Send a call to a worker."""
        return self._pool.submit(fn, *args, **kwargs)

    def restart(self) -> None:
        """Put new workers in the place of a pool that a dead one broke."""
        if self._pool._broken:
            kill(self._pool)
            self._pool = _started(self._workers)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let workers end when they have done all calls."""
        self._pool.shutdown(wait, cancel_futures=cancel_futures)

    def kill(self) -> None:
        """End the workers now."""
        kill(self._pool)

    def alive(self) -> list[BaseProcess]:
        """The workers."""
        return list((self._pool._processes or {}).values())


def _started(workers: int) -> ProcessPoolExecutor:
    """A pool whose workers have begun."""
    pool = ProcessPoolExecutor(workers, mp_context=get_context(start_method()), initializer=_end_with_parent)
    try:
        # Ctrl-C reaches every process of a terminal. Workers begin with it blocked and stay so, because this process
        # ends them; here it waits until they have begun.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            with _without_main():
                for _ in range(workers):
                    pool.submit(os.getpid)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    except BaseException:
        kill(pool)
        raise
    return pool


def kill(pool: ProcessPoolExecutor) -> None:
    """End workers in the middle of what they do, which a later run does again; Ctrl-C waits until they have ended."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        for worker in list((pool._processes or {}).values()):  # Python 3.14 has kill_workers() for this
            worker.kill()
        pool.shutdown(cancel_futures=True)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start_method() -> str:
    """Forked, where this is a stage's program, which is known to run no thread of Python's at this moment.

    Those of NumPy and Arrow bear a fork. JAX's do not, and a user's program may hold anything.
    """
    program = getattr(sys.modules["__main__"], "__spec__", None)
    ours = program is not None and program.name.startswith(("aura.stages.", "stages.")) and "jax" not in sys.modules
    return "fork" if ours and sys.platform == "linux" and threading.active_count() == 1 else "spawn"


def _end_with_parent() -> None:
    """Let a worker end when its parent does, in whatever way: it would wait for work for ever."""

    def wait() -> None:
        parent = parent_process()
        if parent:
            parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@contextmanager
def _without_main() -> Iterator[None]:
    """Workers that start in here do not import the program's own file, which spawned processes otherwise do first.

    They run functions of this package; and a plain script that calls it outside of
    `if __name__ == "__main__"` would start anew in each of them.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main

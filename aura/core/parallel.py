"""Executors (`concurrent.futures`) over this machine's cores, or over a Dask cluster.

Processes, not threads: reading, cleaning and encoding are Python and hold the interpreter lock. A stage's own program
forks them (10 ms); any other has them spawned (0.5 s each), for a fork hangs if some library's thread holds a lock
then. With one core everything runs in the calling process. A cluster is used where `cluster` in params.yaml, or else
Dask's own variable DASK_SCHEDULER_ADDRESS, names one (`aura/core/dask_cluster.py`). Results never depend on that.
"""

import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context, parent_process
from types import ModuleType
from typing import TypeVar

from aura.core.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")
CLUSTER_VARIABLE = "DASK_SCHEDULER_ADDRESS"


def cores() -> int:
    """Number of cores this process may use (a `taskset` counts, unlike in `os.cpu_count`)."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def require_threads(number: int) -> None:
    """Raise RuntimeError (`can't start new thread`) unless so many threads more can run.

    A library in C++ that gets no thread ends the process with a message of its own.
    """
    ended = threading.Event()
    threads = [threading.Thread(target=ended.wait, daemon=True) for _ in range(number)]
    try:
        for thread in threads:
            thread.start()
    finally:
        ended.set()
        for thread in threads:
            if thread.ident is not None:  # it began
                thread.join()


class SerialExecutor(Executor):
    """Runs each call at once, in the calling process."""

    in_flight = 1

    def submit(self, fn: Callable[..., Result], /, *args: object, **kwargs: object) -> "Future[Result]":
        """Call `fn` now and return its finished future."""
        future: Future[Result] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - the future carries it to the caller, like any executor's
            future.set_exception(error)
        return future


def _address(cluster: str | None) -> str | None:
    return cluster or os.environ.get(CLUSTER_VARIABLE)


@contextmanager
def executor(cluster: str | None = None) -> Iterator[Executor]:
    """An executor over a cluster or this machine's cores; any exception ends this machine's workers at once."""
    if address := _address(cluster):
        from aura.core import dask_cluster  # 0.5 s, and of no use to most

        with dask_cluster.executor(address) as pool:
            yield pool
        return
    workers = cores()
    if workers == 1:
        yield SerialExecutor()
        return
    local = ProcessPoolExecutor(workers, mp_context=get_context(_start_method()), initializer=_end_with_parent)
    try:
        # Ctrl-C reaches every process of a terminal. Workers begin with it blocked and stay so, because this process
        # ends them; here it waits until they have begun.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            with _without_main():
                for _ in range(workers):
                    local.submit(os.getpid)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        yield local
        local.shutdown()
    except BaseException:  # a second Ctrl-C while the first waits for workers left all of them waiting for ever
        _kill(local)
        raise


def _kill(pool: ProcessPoolExecutor) -> None:
    """End workers in the middle of what they do, which a later run does again; Ctrl-C waits until they have ended."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        for worker in list((pool._processes or {}).values()):  # Python 3.14 has kill_workers() for this
            worker.kill()
        pool.shutdown(cancel_futures=True)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_method() -> str:
    """Forked, where this is a stage's program, which is known to run no thread of Python's at this moment.

    Those of NumPy and Arrow bear a fork. JAX's do not, and a user's program may hold anything.
    """
    program = getattr(sys.modules["__main__"], "__spec__", None)
    ours = program is not None and program.name.startswith("stages.") and "jax" not in sys.modules
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


@contextmanager
def executors(small: int, cluster: str | None = None, *, surely: bool = False) -> Iterator[Callable[..., Executor]]:
    """A function that takes the size of some work, and of how many tasks it is if that is known, and says what runs it.

    Work below `small`, in whatever unit, or of one task, runs in this process; the first that is not gets `executor`,
    and all that follows. If there will `surely` be such work, workers that are forked are so at once: they then hold
    little of what this process will.
    """
    with ExitStack() as stack:
        ready: list[Executor] = []
        used = False

        def start() -> None:
            if not ready:
                ready.append(stack.enter_context(executor(cluster)))

        def executor_for(size: int, tasks: int | None = None) -> Executor:
            nonlocal used
            used = used or not (size < small or tasks == 1)
            if not used:
                return SerialExecutor()
            start()
            return ready[0]

        if surely and not _address(cluster) and _start_method() == "fork":
            start()
        yield executor_for


def in_flight(pool: Executor) -> int:
    """Calls that may wait or run at a time: two for each worker, or one where the calling process does the work."""
    return int(getattr(pool, "in_flight", 2 * cores()))


def ordered_map(pool: Executor, fn: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield `fn(item)` in the order of `items`, with a bounded number of calls in flight.

    `Executor.map` submits everything at once and so holds every result that waits to be consumed; here at
    most two calls per core wait, which bounds memory whatever the number of items.
    """
    waiting: deque[Future[Result]] = deque()
    limit = in_flight(pool)
    try:
        for item in items:
            if len(waiting) == limit:
                yield waiting.popleft().result()
            waiting.append(pool.submit(fn, item))
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise UserError(
            "a worker process ended early. Look whether memory ran out (dmesg); with one core there are no workers: "
            "taskset -c 0"
        ) from None

"""Where work runs: this machine's cores, as a `concurrent.futures` executor.

Processes, not threads: reading, cleaning and encoding are Python and hold the interpreter lock. They are
spawned (0.5 s each), because forking a process that holds Arrow's threads can hang it. With one core
everything runs in the calling process. Results never depend on which it was.
"""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """Number of cores this process may use (a `taskset` counts, unlike in `os.cpu_count`)."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class SerialExecutor(Executor):
    """Runs each call at once, in the calling process."""

    def submit(self, fn: Callable[..., Result], /, *args: object, **kwargs: object) -> "Future[Result]":
        """Call `fn` now and return its finished future."""
        future: Future[Result] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - the future carries it to the caller, like any executor's
            future.set_exception(error)
        return future


@contextmanager
def executor(*, serial: bool = False) -> Iterator[Executor]:
    """An executor over this machine's cores, or this process alone; on an error, what has not begun is not begun."""
    workers = 1 if serial else cores()
    if workers == 1:
        yield SerialExecutor()
        return
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    # Ctrl-C reaches every process of a terminal. Workers begin with it ignored; this process ends them.
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    for _ in range(workers):
        pool.submit(os.getpid)
    signal.signal(signal.SIGINT, handler)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def ordered_map(pool: Executor, fn: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield `fn(item)` in the order of `items`, with a bounded number of calls in flight.

    `Executor.map` submits everything at once and so holds every result that waits to be consumed; here at
    most two calls per core wait, which bounds memory whatever the number of items.
    """
    waiting: deque[Future[Result]] = deque()
    limit = 1 if isinstance(pool, SerialExecutor) else 2 * cores()
    for item in items:
        if len(waiting) == limit:
            yield waiting.popleft().result()
        waiting.append(pool.submit(fn, item))
    while waiting:
        yield waiting.popleft().result()

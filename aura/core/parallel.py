"""Executors (`concurrent.futures`) over this machine's cores or over a cluster, and maps over them.

With one core everything runs in the calling process. A cluster is used where `cluster` in params.yaml, or otherwise
Dask's own variable DASK_SCHEDULER_ADDRESS, names one: ray://… is Ray (`aura/core/ray_cluster.py`), any other address
Dask (`aura/core/dask_cluster.py`). Several machines without either are ranks (`aura/core/ranks.py`). Results never
depend on that.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import TypeVar

from aura.core import console, ordered, processes, ranks
from aura.core.ordered import name_of

Item = TypeVar("Item")
Result = TypeVar("Result")
CLUSTER_VARIABLE = "DASK_SCHEDULER_ADDRESS"
LOOKS = (1.0, 30.0)  # seconds between looks for results of other ranks, at first and at most
LOOKED_UP = 16  # results that are looked for at a time: a store takes 30 ms to answer


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
    """The cluster that does the work; none for a rank, which does its part on this machine."""
    return None if ranks.here() else cluster or os.environ.get(CLUSTER_VARIABLE)


def _cluster(address: str) -> AbstractContextManager[Executor]:
    """The executor of the engine that an address names; each takes 0.5 s to import, and is of no use to most."""
    if address.startswith("ray:"):
        from aura.core import ray_cluster

        return ray_cluster.executor(address)
    from aura.core import dask_cluster

    return dask_cluster.executor(address)


@contextmanager
def executor(cluster: str | None = None) -> Iterator[Executor]:
    """An executor over a cluster or this machine's cores; any exception ends this machine's workers at once."""
    if address := _address(cluster):
        with _cluster(address) as pool:
            yield pool
        return
    workers = cores()
    if workers == 1:
        yield SerialExecutor()
        return
    local = processes.Processes(workers)
    try:
        yield local
        local.shutdown()
    except BaseException:  # a second Ctrl-C while the first waits for workers left all of them waiting for ever
        local.kill()
        raise


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

        if surely and not _address(cluster) and processes.start_method() == "fork":
            start()
        yield executor_for


def in_flight(pool: Executor) -> int:
    """Calls that may wait or run at a time: two for each worker, or one where the calling process does the work."""
    return int(getattr(pool, "in_flight", 2 * cores()))


def ordered_map(pool: Executor, fn: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield `fn(item)` in the order of `items`, with a bounded number of calls in flight.

    `Executor.map` submits everything at once and so holds every result that waits to be consumed; here at
    most two calls per core wait, which bounds memory whatever the number of items.

    Raises:
        UserError: the worker of an item died in each of its tries (`aura/core/ordered.py`).
    """
    return ordered.ordered_map(pool, partial(in_flight, pool), fn, items)


def shared_map(
    pool: Executor,
    fn: Callable[[Item], Result],
    items: Sequence[Item],
    find: Callable[[Item], Result | None] | None,
) -> Iterator[Result]:
    """`ordered_map` of calls that keep their results in the action cache, where `find` finds them: ranks share these.

    A rank calls `fn` for its own items and gets the results of the others from `find`; it ends if they are not all
    there and it was not told to wait. Without a `find`, it ends as soon as its own are done: what follows in the stage
    is for one process alone. Where there are no ranks, nothing is looked up.
    """
    if ranks.here() is None:
        return ordered_map(pool, fn, items)
    mine = own(items)
    names = list(map(name_of, mine))
    results: dict[str, Result] = dict(zip(names, ordered_map(pool, fn, mine), strict=True))
    if find is None:
        ranks.done()
    others = [item for item in items if name_of(item) not in results]
    results |= zip(map(name_of, others), found_by_all(others, find), strict=True)
    return iter([results[name_of(item)] for item in items])


def own(items: Sequence[Item]) -> Sequence[Item]:
    """The items that fall to this rank; all of them where there are no ranks."""
    rank = ranks.here()
    if rank is None:
        return items
    mine = [item for item in items if rank.owns(name_of(item))]
    if items:
        console.err.print(f"rank {rank}: does {len(mine):,} of the {len(items):,} tasks that are left")
    return mine


def found_by_all(items: Sequence[Item], find: Callable[[Item], Result | None]) -> list[Result]:
    """The results of items that some rank has made, as `find` gives them; none where there are no ranks.

    Ends this rank if some are not there yet and it was not told to wait.
    """
    rank = ranks.here()
    found: dict[int, Result] = {}
    pause, most = LOOKS
    while rank:
        missing = [place for place in range(len(items)) if place not in found]
        with ThreadPoolExecutor(LOOKED_UP) as threads:
            looked = threads.map(find, [items[place] for place in missing])
            found |= {place: one for place, one in zip(missing, looked, strict=True) if one is not None}
        left = len(items) - len(found)
        if not left:
            break
        if not ranks.waits():
            console.err.print(
                f"rank {rank}: what follows needs {left:,} results of other ranks. When these have ended, run all "
                "ranks again; with --wait, a rank waits here for the others"
            )
            ranks.done(ranks.NOT_YET)
        shared = "; all ranks must share the action cache (docs/engines.md)" if pause == LOOKS[0] else ""
        console.err.print(f"rank {rank}: waits for {left:,} results of other ranks{shared}")
        time.sleep(pause)
        pause = min(2 * pause, most)
    return [found[place] for place in sorted(found)]

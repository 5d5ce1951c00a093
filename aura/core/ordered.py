"""Calls over many items, with their results in order: bounded in flight, and the poisoned one found.

An item has a name: what `str` says of it, and of each part of a tuple or list. A call whose worker dies is poisoned if
its worker dies in each of `TRIES` tries. Calls that were in flight beside it are run again, one at a time, so the one
that ends its worker is known. Two that only together take too much memory both succeed then.
"""

import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, wait
from typing import Any, TypeVar

from aura.core.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")
TRIES = 3
_NAMED = 3  # parts of a list that its name shows
_SHOWN = 300  # characters of a name


def name_of(item: object) -> str:
    """The name of an item, in full: the same in every process and on every machine."""
    if type(item) in (tuple, list):  # and no named tuple, which has a name of its own
        return ", ".join(map(name_of, item))  # type: ignore[call-overload]
    return str(item)


def shown(item: object) -> str:
    """The name of an item, as messages have it."""
    more = ""
    if type(item) is list and len(item) > _NAMED:
        item, more = item[:_NAMED], f" and {len(item) - _NAMED} more"
    name = name_of(item)
    return (name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…") + more


def ordered_map(
    pool: Executor, limit: Callable[[], int], fn: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[Result]:
    """Yield `fn(item)` in the order of `items`, with at most `limit` calls in flight, which may change meanwhile.

    Raises:
        UserError: the worker of an item died in each of its tries.
    """
    waiting: deque[tuple[Any, Future[Result]]] = deque()  # items that cannot be tried again are not held
    died: tuple[type[BaseException], ...] = getattr(pool, "died", ())

    def first() -> Result:
        if isinstance(_fate(waiting[0][1], died), died):
            _run_again(pool, fn, waiting, died)
        return waiting.popleft()[1].result()

    for item in items:
        while len(waiting) >= limit():
            yield first()
        waiting.append((item if died else None, _sent(pool, fn, item, died)))
    while waiting:
        yield first()


def _sent(
    pool: Executor, fn: Callable[[Item], Result], item: Item, died: tuple[type[BaseException], ...]
) -> "Future[Result]":
    """A call under way; a pool that broke since the last one takes none."""
    try:
        return pool.submit(fn, item)
    except died as error:
        future: Future[Result] = Future()
        future.set_exception(error)
        return future


def _fate(future: "Future[Any]", died: tuple[type[BaseException], ...]) -> BaseException | None:
    """The exception that a call ended with, once it has; without a look at it where no worker can die."""
    if not died:
        return None
    wait([future])
    return None if future.cancelled() else future.exception()


def _run_again(
    pool: Any,  # noqa: ANN401 - an executor of ours
    fn: Callable[[Item], Result],
    waiting: "deque[tuple[Any, Future[Result]]]",
    died: tuple[type[BaseException], ...],
) -> None:
    """Run again, each alone, the calls in flight whose workers died."""
    suspects = [place for place, (_, future) in enumerate(waiting) if isinstance(_fate(future, died), died)]
    # A cluster has tried a call several times before it gives up; if it gave up several, some may be innocent.
    tries = max(TRIES - pool.tries, 1 if len(suspects) > 1 else 0)
    for place in suspects:
        item = waiting[place][0]
        for _ in range(tries):
            pool.restart()
            future = _sent(pool, fn, item, died)
            if not isinstance(_fate(future, died), died):
                waiting[place] = item, future
                break
        else:
            raise UserError(_poisoned(pool, fn, item))


def _poisoned(pool: Any, fn: Callable[..., Any], item: object) -> str:  # noqa: ANN401 - as above
    while isinstance(fn, functools.partial):
        fn = fn.func
    return (
        f"{shown(item)}: expected {fn.__module__}.{fn.__qualname__} to end; it ended {pool.place} each time it was "
        "tried. Look whether memory ran out there (dmesg), then give it more, or take this input apart. What other "
        "tasks made is kept: run the same command again."
    )

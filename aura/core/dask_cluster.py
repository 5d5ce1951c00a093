"""A Dask cluster as a `concurrent.futures` executor, for `aura/core/parallel.py`; imported only where one is used.

Assumption: workers see the project's folder, its data and its cache under the same path (a shared file system), and
run the same code and libraries; each call checks it before it works, so the bytes are those of one machine. Start
them with `dask worker ADDRESS --nthreads 1 --nworkers N`: the work is Python and holds the interpreter lock. A worker
that dies has its calls run elsewhere (Dask gives up on a call that took three workers with it).

Dask sends functions as pickles, so whoever reaches a scheduler can run anything on its workers: outside of this
machine only TLS with certificates is accepted, set up in Dask's own configuration (`distributed.comm.tls`).
"""

import asyncio
import concurrent.futures
import functools
import ipaddress
import logging
import os
import platform
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from distributed import Client
from distributed.client import ClosedClientError
from distributed.comm.core import CommClosedError
from distributed.scheduler import KilledWorker

from aura.core.errors import UserError
from aura.core.keys import action_key

Result = TypeVar("Result")
LIBRARIES = ("datasketch", "numpy", "pyarrow", "sentencepiece", "xxhash")
WORKERS_TIMEOUT = 60  # seconds for the first worker to come
WATCHED_EVERY = 1.0  # seconds between looks at whether the scheduler is still there


class ClusterExecutor(Executor):
    """Runs calls on a cluster's workers, in this process's working directory."""

    def __init__(self, client: Any) -> None:  # noqa: ANN401 - distributed has no types
        self._client = client
        self._inner = client.get_executor(pure=False)
        self._folder, self._code = os.getcwd(), _code()  # noqa: PTH109 - sent to the workers as it is
        self.in_flight = 2 * sum(client.nthreads().values())
        self._sent: set[Future[Any]] = set()  # calls whose results are awaited
        self._ended = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> "Future[Result]":  # noqa: ANN401
        """Send a call to the cluster."""
        future: Future[Result] = self._inner.submit(_call, self._folder, self._code, fn, args, kwargs)
        self._sent.add(future)
        future.add_done_callback(self._sent.discard)
        return future

    def _watch(self) -> None:
        """End every call once the client is closed: Dask forgets those that are sent while the scheduler goes away."""
        while not self._ended.wait(WATCHED_EVERY):
            if self._client.status in ("closing", "closed"):
                for future in list(self._sent):
                    with suppress(concurrent.futures.InvalidStateError):  # it ended just now
                        future.set_exception(concurrent.futures.CancelledError())

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002
        """Cancel what has not run."""
        self._ended.set()
        self._inner.shutdown(wait=False)


@contextmanager
def executor(address: str) -> Iterator[Executor]:
    """An executor over the cluster whose scheduler is at `address`.

    Raises:
        UserError: the address is not allowed, nobody answers there, no worker comes, or the scheduler goes away.
    """
    require_safe(address)
    logging.disable()  # what Dask and asyncio log, they raise too
    try:
        client = Client(address, set_as_default=False)
    except (OSError, TypeError, ValueError, RuntimeError) as error:  # as Dask words what ails its TLS settings
        raise UserError(
            f"no Dask scheduler answers at {address} ({' '.join(str(error).split())[:200]}). Check that it runs "
            "and, for tls://, Dask's distributed.comm.tls settings; or set cluster: null in params.yaml."
        ) from None
    try:
        client.wait_for_workers(1, timeout=WORKERS_TIMEOUT)
        pool = ClusterExecutor(client)
        try:
            yield pool
        finally:
            pool.shutdown()
    except (asyncio.CancelledError, concurrent.futures.CancelledError, ClosedClientError, CommClosedError):
        raise UserError(
            f"the Dask scheduler at {address} went away. Start it again, then run the same command: "
            "what was done is kept."
        ) from None
    except KilledWorker as error:
        raise UserError(
            f"Dask gave up on a call that took several workers with it ({error.task}). "
            "Look whether their memory ran out."
        ) from None
    except TimeoutError:
        raise UserError(f"the Dask scheduler at {address} has no workers. Start some: dask worker {address}") from None
    finally:
        client.close(timeout=2)
        logging.disable(logging.NOTSET)


def require_safe(address: str) -> None:
    """Refuse an address that is neither TLS nor on this machine."""
    parts = urlsplit(address)
    if parts.scheme == "tls" or (parts.scheme == "tcp" and _is_loopback(parts.hostname or "")):
        return
    raise UserError(
        f"expected tls://HOST:PORT as the Dask scheduler's address (tcp:// on this machine alone); got {address}. "
        "Whoever reaches a scheduler without TLS can run anything on its workers."
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@functools.cache
def _code() -> str:
    """The hash of this process's aura and of the libraries that decide bytes."""
    folder = next(above for above in Path(__file__).parents if above.name == "aura")
    sources = {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in folder.rglob("*.py")}
    return action_key(sources, {name: metadata.version(name) for name in LIBRARIES}, platform.python_version())


def _call(folder: str, code: str, fn: Callable[..., Result], args: Any, kwargs: Any) -> Result:  # noqa: ANN401
    """Run a call as if in the calling process; runs on a worker."""
    if code != _code():
        raise UserError(
            f"the Dask worker on {platform.node()} runs other code or libraries than this machine. Install the same "
            "commit and lock there (make setup), and start it again."
        )
    try:
        os.chdir(folder)
    except OSError as error:
        raise UserError(
            f"the Dask worker on {platform.node()} does not see {folder} ({error.strerror}). Workers need the "
            "project's folder under the same path: put it on a shared file system."
        ) from None
    return fn(*args, **kwargs)

"""A Dask cluster as a `concurrent.futures` executor, for `aura/core/parallel.py`; imported only where one is used.

Start workers with `dask worker ADDRESS --nthreads 1 --nworkers N`: the work is Python and holds the interpreter lock.
A worker that dies has its calls run elsewhere. Dask gives up on a call that took four workers with it
(`distributed.scheduler.allowed-failures`). `aura/core/cluster_calls.py` says what a worker must have.

Outside of this machine only TLS with certificates is accepted, set up in Dask's own configuration
(`distributed.comm.tls`).
"""

import asyncio
import concurrent.futures
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from typing import Any, TypeVar
from urllib.parse import urlsplit

from distributed import Client
from distributed.client import ClosedClientError
from distributed.comm.core import CommClosedError
from distributed.scheduler import KilledWorker
from distributed.security import Security

from aura.core.cluster_calls import WORKERS_TIMEOUT, Here, is_loopback, relay, waiting_for_workers
from aura.core.errors import UserError
from aura.core.ordered import TRIES, shown

Result = TypeVar("Result")
WATCHED_EVERY = 1.0  # seconds between looks at whether the scheduler is still there


class ClusterExecutor(Executor):
    """Runs calls on a cluster's workers, in this process's working directory."""

    died = (KilledWorker,)  # what a call raises that Dask gave up
    tries = TRIES  # at least, of such a call
    place = "a Dask worker"

    def __init__(self, client: Any) -> None:  # noqa: ANN401 - distributed has no types
        self._client = client
        self._inner = client.get_executor(pure=False)
        self._here = Here("Dask")
        self._threads: int = sum(client.nthreads().values())  # when it began
        self._sent: dict[Future[Any], Any] = {}  # calls whose results are awaited, with their first arguments
        self._ended = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    @property
    def in_flight(self) -> int:
        """Two calls for each thread, also of workers that came later; Dask asks for their number every 2 s."""
        now: int = self._client._scheduler_identity.get("total_threads", 0)
        return 2 * max(self._threads, now)

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> "Future[Result]":  # noqa: ANN401
        """Send a call to the cluster."""
        future: Future[Result] = Future()
        self._sent[future] = args[0] if args else None
        future.add_done_callback(lambda future: self._sent.pop(future, None))
        relay(self._inner.submit(self._here.call, self._here.packed(fn, args, kwargs)), future, lambda error: error)
        return future

    def restart(self) -> None:
        """Do nothing: a cluster replaces its workers itself."""

    def _watch(self) -> None:
        """End every call once the client is closed, for Dask forgets those sent meanwhile; or if no worker comes."""
        last = time.monotonic()
        while not self._ended.wait(WATCHED_EVERY):
            if self._client.status in ("closing", "closed"):
                self._end_calls(concurrent.futures.CancelledError())
                continue
            if not self._sent or self._client._scheduler_identity.get("n_workers", 1):  # Dask asks every 2 s
                last = time.monotonic()
            elif time.monotonic() - last > WORKERS_TIMEOUT:
                self._end_calls(TimeoutError(f" while {shown(list(self._sent.values()))} were under way"))

    def _end_calls(self, error: BaseException) -> None:
        for future in list(self._sent):
            with suppress(concurrent.futures.InvalidStateError):  # it ended just now
                future.set_exception(error)

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
    require_certificates(address)
    logging.disable()  # what Dask and asyncio log, they raise too
    try:
        with waiting_for_workers(address):
            client = Client(address, set_as_default=False)
    except (OSError, TypeError, ValueError, RuntimeError) as error:  # as Dask words what ails its TLS settings
        raise UserError(
            f"no Dask scheduler answers at {address} ({' '.join(str(error).split())[:200]}). Check that it runs "
            "and, for tls://, Dask's distributed.comm.tls settings; or set cluster: null in params.yaml."
        ) from None
    try:
        with waiting_for_workers(address):
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
    except TimeoutError as error:
        under_way = str(error) if "under way" in str(error) else ""
        raise UserError(
            f"the Dask scheduler at {address} has no workers{under_way}. Look whether memory ran out there (dmesg); "
            f"start some: dask worker {address} --nthreads 1"
        ) from None
    finally:
        client.close(timeout=2)
        logging.disable(logging.NOTSET)


def require_certificates(address: str) -> None:
    """Refuse TLS without settings of the client's: Dask's client waits for a minute, and then ends with a trace."""
    if not address.startswith("tls:"):
        return
    try:
        context, ails = Security().get_connection_args("client").get("ssl_context"), "the client has none"
    except (OSError, TypeError, ValueError) as error:  # such as a file that is missing, or holds no certificate
        context, ails = None, " ".join(str(error).split())[:200]
    if context is None:
        raise UserError(
            f"expected certificates for {address} in Dask's configuration here, distributed.comm.tls ({ails}). "
            "Set ca-file, and cert and key of the client (docs/engines.md); or set cluster: null in params.yaml."
        )


def require_safe(address: str) -> None:
    """Refuse an address that is neither TLS nor on this machine."""
    parts = urlsplit(address)
    if parts.scheme == "tls" or (parts.scheme == "tcp" and is_loopback(parts.hostname or "")):
        return
    raise UserError(
        f"expected tls://HOST:PORT as the Dask scheduler's address (tcp:// on this machine alone), or ray://HOST:PORT "
        f"for Ray; got {address}. Whoever reaches a scheduler without TLS can run anything on its workers."
    )

"""A Ray cluster as a `concurrent.futures` executor, for `aura/core/parallel.py`; imported only where one is used.

The address is that of Ray's client server, ray://HOST:10001. A task takes one CPU of Ray. If its worker dies, Ray runs
it again, on another one; after `TRIES` it gives up. `aura/core/cluster_calls.py` says what a worker must have.

Whoever reaches a Ray cluster can run anything on it, and Ray listens on every interface of a machine, whatever address
it is given. So aura requires Ray's mutual TLS (RAY_USE_TLS=1 with its three files), or, where all nodes are on this
machine, Ray's tokens (RAY_AUTH_MODE=token), which cross a network in the clear.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from typing import Any, TypeVar
from urllib.parse import urlsplit

from aura.core.cluster_calls import WORKERS_TIMEOUT, Here, is_loopback, relay, waiting_for_workers
from aura.core.errors import UserError
from aura.core.ordered import TRIES

try:
    import ray
    from ray import exceptions
except ImportError:
    raise UserError(
        "expected Ray for a cluster at ray://, and it is not installed. Run: pip install 'aura[ray]'; or, in the "
        "project's folder: .venv/bin/pip install -e '.[ray]'"
    ) from None

Result = TypeVar("Result")
TLS = ("RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT")


class RayExecutor(Executor):
    """Runs calls as tasks of Ray, in this process's working directory."""

    died = (exceptions.WorkerCrashedError, exceptions.OutOfMemoryError, exceptions.NodeDiedError)
    tries = TRIES  # of a call, when it raises one of these
    place = "a Ray worker"

    def __init__(self) -> None:
        self.in_flight = 2 * max(int(ray.cluster_resources().get("CPU", 0)), 1)
        # An exception of the call itself is no reason to try it again.
        self._remote = ray.remote(num_cpus=1, max_retries=TRIES - 1, retry_exceptions=False)(_call)
        self._here = Here("Ray")
        self._sent: dict[Future[Any], Any] = {}  # calls under way, with Ray's references, whose hash waits for Ray

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> "Future[Result]":  # noqa: ANN401
        """Send a call to the cluster."""
        reference = self._remote.remote(self._here, self._here.packed(fn, args, kwargs))
        future: Future[Result] = Future()
        self._sent[future] = reference
        future.add_done_callback(lambda future: self._sent.pop(future, None))
        relay(reference.future(), future, _raised)
        return future

    def restart(self) -> None:
        """Do nothing: a cluster replaces its workers itself."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002
        """Cancel what has not run."""
        for reference in list(self._sent.values()):
            with suppress(Exception):  # the cluster may be gone
                ray.cancel(reference, force=True)


def _call(here: Here, packed: bytes) -> bytes:
    return here.call(packed)


def _raised(error: BaseException) -> BaseException:
    """The exception that a call raised, which Ray wraps."""
    return error.cause if isinstance(error, exceptions.RayTaskError) else error


@contextmanager
def executor(address: str) -> Iterator[Executor]:
    """An executor over the Ray cluster whose client server is at `address`.

    Raises:
        UserError: the address is not allowed, nobody answers there, no node with a CPU comes, or the cluster goes away.
    """
    require_safe(address)
    logging.disable()  # what Ray logs, it raises too
    try:
        with waiting_for_workers(address):
            ray.init(address, log_to_driver=False, configure_logging=False)
    except (ConnectionError, OSError, RuntimeError, ValueError, exceptions.RayError) as error:
        raise UserError(
            f"no Ray cluster answers at {address} ({' '.join(str(error).split())[-200:]}). Check that it runs, with "
            "the same token, certificates and versions of Ray and Python; or set cluster: null in params.yaml."
        ) from None
    try:
        _require_one_machine(address)
        with waiting_for_workers(address):
            _wait_for_cpus(address)
        pool = RayExecutor()
        try:
            yield pool
        finally:
            pool.shutdown()
    except (ConnectionError, exceptions.RaySystemError) as error:
        raise UserError(
            f"the Ray cluster at {address} went away ({' '.join(str(error).split())[:200]}). Start it again, then run "
            "the same command: what was done is kept."
        ) from None
    finally:
        ray.shutdown()
        logging.disable(logging.NOTSET)


def require_safe(address: str) -> None:
    """Refuse a cluster that is not reached with TLS, nor on this machine with tokens."""
    host = urlsplit(address).hostname or ""
    if _has_tls() or (is_loopback(host) and os.environ.get("RAY_AUTH_MODE") == "token"):
        return
    raise UserError(
        f"expected RAY_USE_TLS=1 and {', '.join(TLS)} here and on every node of the Ray cluster at {address}; or, on "
        "this machine alone (ray://127.0.0.1:10001), RAY_AUTH_MODE=token here and there. Otherwise whoever reaches the "
        "cluster can run anything on it."
    )


def _has_tls() -> bool:
    return os.environ.get("RAY_USE_TLS") in ("1", "true") and all(os.environ.get(name) for name in TLS)


def _wait_for_cpus(address: str) -> None:
    """Return once the cluster has a CPU: otherwise its tasks would wait for ever."""
    began = time.monotonic()
    while not ray.cluster_resources().get("CPU"):
        if time.monotonic() - began > WORKERS_TIMEOUT:
            raise UserError(
                f"the Ray cluster at {address} has no CPU for tasks. Start a node with some: ray start "
                "--address=HOST:PORT; or set cluster: null in params.yaml."
            )
        time.sleep(1)


def _require_one_machine(address: str) -> None:
    """Refuse a cluster without TLS that has several machines, although this one reaches it by a loopback address."""
    machines = sorted({node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]})
    if len(machines) > 1 and not _has_tls():
        raise UserError(
            f"expected all nodes of the Ray cluster at {address} on this machine, or RAY_USE_TLS=1; got nodes on "
            f"{', '.join(machines[:3])} without TLS."
        )

"""Calls on the workers of a cluster, of any kind: each checks that it runs where the bytes are those of one machine.

Assumption: workers see the project's folder, its data and its cache under the same path (a shared file system), and
run the same code and libraries. Engines send functions as pickles, so whoever reaches one can run anything on its
workers: each engine's module says which addresses it accepts.
"""

import functools
import ipaddress
import os
import pickle
import platform
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import zstandard

from aura.core import console
from aura.core.errors import UserError
from aura.core.keys import action_key
from aura.core.libraries import DECISIVE

Result = TypeVar("Result")
WORKERS_TIMEOUT = 60  # seconds for the first worker to come, or for one to come back
QUIET = 2.0  # seconds that a cluster is waited for without a word


@contextmanager
def waiting_for_workers(address: str) -> Iterator[None]:
    """Say so if what waits for a cluster takes long."""
    told = threading.Timer(QUIET, console.err.print, [f"waiting for workers at {address}"], {"markup": False})
    told.daemon = True
    told.start()
    try:
        yield
    finally:
        told.cancel()


@functools.cache
def code() -> str:
    """The hash of this process's aura and of the libraries that decide bytes."""
    folder = next(above for above in Path(__file__).parents if above.name == "aura")
    sources = {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in folder.rglob("*.py")}
    return action_key(sources, {name: _version(name) for name in DECISIVE}, platform.python_version())


def _version(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


@dataclass(frozen=True)
class Here:
    """The calling process, as a worker must find it: its working directory and its code."""

    engine: str  # as messages call it: "Dask"
    folder: str = field(default_factory=os.getcwd)
    code: str = field(default_factory=code)

    def packed(self, fn: Callable[..., Result], args: Any, kwargs: Any) -> bytes:  # noqa: ANN401
        """A call, small: names of files take a quarter of their size."""
        return zstandard.compress(pickle.dumps((fn, args, kwargs), protocol=5))

    def call(self, packed: bytes) -> bytes:
        """Run a packed call as if in the calling process, and pack its result; runs on a worker."""
        if self.code != code():
            raise UserError(
                f"the {self.engine} worker on {platform.node()} runs other code or libraries than this machine. "
                "Install the same commit and lock there (make setup), and start it again."
            )
        try:
            os.chdir(self.folder)
        except OSError as error:
            raise UserError(
                f"the {self.engine} worker on {platform.node()} does not see {self.folder} ({error.strerror}). Workers "
                "need the project's folder under the same path: put it on a shared file system."
            ) from None
        fn, args, kwargs = unpacked(packed)
        return zstandard.compress(pickle.dumps(fn(*args, **kwargs), protocol=5))


def unpacked(packed: bytes) -> Any:  # noqa: ANN401 - whatever was packed
    """The content of a packed call, or of its packed result: from this cluster's own workers alone."""
    return pickle.loads(zstandard.decompress(packed))  # noqa: S301 - the engine unpickles, too


def relay(inner: "Future[bytes]", outer: "Future[Any]", worded: Callable[[BaseException], BaseException]) -> None:
    """Let a future have what another one got, unpacked."""

    def done(inner: "Future[bytes]") -> None:
        with suppress(InvalidStateError):  # the engine went away meanwhile, and `outer` has its end
            try:
                result = unpacked(inner.result())
            except CancelledError:
                outer.set_exception(CancelledError())
            except BaseException as error:  # noqa: BLE001 - also of unpacking: a callback's own would be lost for ever
                outer.set_exception(worded(error))
            else:
                outer.set_result(result)

    inner.add_done_callback(done)


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, under a name or address that no other reaches."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

"""A call on a cluster ends as the engine's did, whatever that was."""

from concurrent.futures import CancelledError, Future
from typing import Any

import pytest
import zstandard

from aura.core.cluster_calls import Here, relay


def relayed(inner: "Future[bytes]") -> "Future[Any]":
    outer: Future[Any] = Future()
    relay(inner, outer, lambda error: error)
    return outer


def test_a_result_is_unpacked():
    here, inner = Here("Dask"), Future[bytes]()
    outer = relayed(inner)
    inner.set_result(here.call(here.packed(divmod, (7, 2), {})))
    assert outer.result(timeout=0) == (3, 1)


def test_an_exception_is_passed_on():
    inner = Future[bytes]()
    outer = relayed(inner)
    inner.set_exception(KeyError("a"))
    with pytest.raises(KeyError):
        outer.result(timeout=0)


def test_a_cancelled_call_is_told():
    inner = Future[bytes]()
    outer = relayed(inner)
    inner.cancel()
    with pytest.raises(CancelledError):
        outer.result(timeout=0)


def test_a_result_that_cannot_be_unpacked_ends_the_call():
    inner = Future[bytes]()
    outer = relayed(inner)
    inner.set_result(b"cut short")
    with pytest.raises(zstandard.ZstdError):
        outer.result(timeout=0)

"""Calls into tokenizers and tiktoken, which panic on some crafted files.

A panic reaches Python as an exception that `except Exception` does not catch, and writes its own lines to the standard
error. Here it becomes one `UserError`, and is silent while a file is loaded.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from aura.core.errors import UserError


@contextmanager
def guarded(name: str) -> Iterator[None]:
    """Turn whatever a library raises, panics too, into a `UserError` that calls the file `name`."""
    try:
        yield
    except (UserError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001 - a panic is no Exception
        told = " ".join(str(error).split())[:300]
        raise UserError(f"{name}: the library that reads this file failed ({told}). Use a file that is whole") from None


_SILENCE = threading.Lock()


@contextmanager
def silent() -> Iterator[None]:
    """Write nothing to the standard error of this process for a moment; other threads' lines are lost, too.

    One thread at a time does so, as the second would keep what the first has put there.
    """
    with _SILENCE:
        yield from _silenced()


def _silenced() -> Iterator[None]:
    try:
        kept = os.dup(2)
    except OSError:  # a program without a standard error
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)

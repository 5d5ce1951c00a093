"""Report of a failed save: one message, though several threads of Orbax and tensorstore fail with it."""

import asyncio
import errno
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import TypeVarTuple, Unpack

from aura.core.errors import UserError
from aura.storage import store

FAILURES = (OSError, ValueError, RuntimeError)  # what Orbax raises for a failed write: tensorstore's are ValueErrors
# How tensorstore says the error of the system: Failed to open: "/a/b": No space left on device [os_error_code='28']
SYSTEM = re.compile(r"os_error_code='([0-9]+)'")
PLACE = re.compile(r'"(/[^"]+)"')
Given = TypeVarTuple("Given")


@contextmanager
def told(folder: str, step: int | None) -> Iterator[None]:
    """Turn a failure of saving the checkpoint of `step` to the folder of a run into one `UserError`."""
    try:
        if "://" in folder:  # the errors of a bucket are of its own kinds
            with store.explained(folder):
                yield
        else:
            yield
    except UserError:
        raise
    except FAILURES as error:
        raise UserError(
            f"{folder}: the checkpoint of step {step} could not be written ({brief(error)}). "
            f"{_remedy(error)}, then run the same command again: it goes on from the last whole one."
        ) from error


def told_once() -> None:
    """Let no thread of Orbax or tensorstore print the errors that `told` words.

    Orbax logs each error with its traceback before it raises it.
    """
    logging.getLogger("absl").setLevel(logging.CRITICAL + 1)
    if not isinstance(asyncio.get_event_loop_policy(), _Loops):
        asyncio.set_event_loop_policy(_Loops())


class _Loop(asyncio.SelectorEventLoop):
    """An event loop to which a late thread may report.

    After a failed write Orbax closes its loop while tensorstore still has other writes under way. Each of them then
    reports to the closed loop, and tensorstore prints a traceback for each.
    """

    def call_soon_threadsafe(
        self, callback: Callable[[Unpack[Given]], object], *args: *Given, context: Context | None = None
    ) -> asyncio.Handle:
        """Call a function in the loop's thread; if the loop is closed, do nothing."""
        try:
            return super().call_soon_threadsafe(callback, *args, context=context)
        except RuntimeError:
            if not self.is_closed():
                raise
            handle = asyncio.Handle(callback, args, self, context)
            handle.cancel()
            return handle


class _Loops(asyncio.DefaultEventLoopPolicy):
    """Makes such loops."""

    def new_event_loop(self) -> _Loop:
        """A new one."""
        return _Loop()


def _remedy(error: Exception) -> str:
    """Return the remedy for a failed save. A full disk needs another one than a second run that writes here."""
    number = _number(error)
    if number in (errno.ENOSPC, errno.EDQUOT):
        return "Make room"
    if number == errno.EIO:
        return "Look at the disk's log (dmesg)"
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "Check the owner and the permissions of the folder"
    if type(error).__name__ == "StepAlreadyExistsError" or number in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOENT):
        return (
            "Another run writes to this folder, or something removed a part of it: two runs of the same settings need "
            "two folders (pretrain.checkpoint_folder). Wait for the other run to end, or give this one its own folder"
        )
    return "Make room or fix the folder"


def _number(error: Exception) -> int | None:
    """The system's number of an error, also where tensorstore words it."""
    if isinstance(error, OSError):
        return error.errno
    found = SYSTEM.search(str(error))
    return int(found[1]) if found else None


def brief(error: Exception) -> str:
    """The file and the system's words, or else the first line of the error."""
    number, text = _number(error), str(error).strip()
    places = PLACE.findall(text)
    if number and not isinstance(error, OSError) and places:
        return f"{places[-1].removesuffix('.__lock')}: {os.strerror(number)}"
    return text.splitlines()[0][:300] if text else type(error).__name__

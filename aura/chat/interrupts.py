"""Ctrl-C in a chat: it ends an answer, or drops a line that is being typed; the chat goes on.

A second one in a row ends the program as Ctrl-C ends any other of ours. So does the first one in a pipe, where nobody
sits before the answers.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self


class Interrupts:
    """Takes SIGINT as long as it is open.

    Attributes:
        asked: whether Ctrl-C was pressed in the answer under way, or while the last line was typed.
        ending: whether a second one followed, which ends the program.
    """

    def __init__(self) -> None:
        self.asked = self.ending = False
        self._answering = False
        self._before: Any = None

    def __enter__(self) -> Self:
        self._before = signal.getsignal(signal.SIGINT)
        if self._before is not signal.SIG_IGN:  # as a shell has it for what runs behind it
            signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if signal.getsignal(signal.SIGINT) == self._interrupt:
            signal.signal(signal.SIGINT, self._before)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Let the first Ctrl-C in here only set `asked`, for an answer to end at its next token."""
        self.asked, self._answering = False, True
        try:
            yield
        finally:
            self.asked = self._answering = False

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        before = self._before if callable(self._before) else signal.default_int_handler
        if self.asked:
            self.ending = True
            before(number, frame)
        self.asked = True
        if not self._answering:
            signal.default_int_handler(number, frame)

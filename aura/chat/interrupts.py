"""Ctrl-C in a chat: it ends an answer, and drops a line that is being typed; the chat goes on.

A second Ctrl-C ends the program as it ends any other. So does one in a pipe, where nobody sits before the answers.
"""

import signal
from types import FrameType, TracebackType
from typing import Any, Self


class Interrupts:
    """Takes SIGINT as long as it is open.

    Attributes:
        asked: whether Ctrl-C was pressed in the answer under way.
    """

    def __init__(self) -> None:
        self.asked = False
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
        signal.signal(signal.SIGINT, self._before)

    def answering(self, begins: bool) -> None:
        """Tell whether an answer is under way."""
        self._answering, self.asked = begins, self.asked and not begins

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._answering and not self.asked:
            self.asked = True
        else:
            signal.default_int_handler(number, frame)

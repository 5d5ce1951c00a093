"""SIGTERM, which a preemption sends half a minute before the machine is taken away: save, then end.

Between two steps the run saves and ends with status TERMINATED. At any other time nothing is lost by ending at once,
and a watching thread does so: Python itself notices no signal while XLA compiles. In a run of several processes JAX
passes the notice on, and all save after the same step.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import NoReturn

import jax
from jax.experimental import multihost_utils

from aura.core import console

TERMINATED = 128 + signal.SIGTERM  # the exit status, as a shell gives it
GRACE = 25.0  # seconds for a step and its checkpoint; of the 30 that a preemption gives


class Termination:
    """Listens for SIGTERM while a run lasts; a context.

    In a thread other than the main one, where Python allows no handler, SIGTERM keeps its usual effect.

    Arguments:
        release: what to call before ending at once; it must return within seconds.
    """

    def __init__(self, release: Callable[[], None] = lambda: None) -> None:
        self._release = release
        self._listens = jax.process_count() == 1 and threading.current_thread() is threading.main_thread()
        self._asked, self._ended, self._can_save = threading.Event(), threading.Event(), False

    def __enter__(self) -> "Termination":
        if self._listens:
            self._read, self._write = os.pipe()
            os.set_blocking(self._write, False)
            self._before = signal.signal(signal.SIGTERM, lambda *_: None), signal.set_wakeup_fd(self._write)
            threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._listens:
            handler, descriptor = self._before
            signal.set_wakeup_fd(descriptor)
            signal.signal(signal.SIGTERM, handler)
            os.close(self._write)  # ends the thread

    @contextmanager
    def steps(self) -> Iterator[None]:
        """The time between the first and the last step, in which SIGTERM waits for a checkpoint."""
        self._can_save = True
        try:
            yield
        finally:
            self._can_save = False

    @property
    def asked(self) -> bool:
        """Return whether SIGTERM has arrived, in a run of one process."""
        return self._asked.is_set()

    def due(self, step: int) -> bool:
        """Return whether to save after `step` and end. Of several processes, all are told so after the same step."""
        return self.asked or (jax.process_count() > 1 and bool(multihost_utils.reached_preemption_sync_point(step)))

    def end(self, message: str) -> NoReturn:
        """End the run, which has saved."""
        self._ended.set()
        if jax.process_index() == 0:
            console.err.print(f"ended by SIGTERM: {message}", markup=False)
        sys.exit(TERMINATED)

    def _watch(self) -> None:
        with os.fdopen(self._read, "rb", buffering=0) as signals:
            while number := signals.read(1):
                if number[0] == signal.SIGTERM and not self._asked.is_set():
                    self._asked.set()
                    threading.Thread(target=self._give_up_in_time, daemon=True).start()

    def _give_up_in_time(self) -> None:
        if self._can_save and self._ended.wait(GRACE):
            return
        why = (
            f"no step and its checkpoint were done within {GRACE:.0f} s" if self._can_save else "no step was under way"
        )
        console.err.print(
            f"ended by SIGTERM: {why}. Run the same command again: it goes on from the last checkpoint.", markup=False
        )
        self._release()
        os._exit(TERMINATED)

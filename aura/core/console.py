"""Output for the user: progress on long work, one short summary per stage, errors without tracebacks.

Progress bars are drawn only in a terminal; in a log, a plain line appears at most every ten seconds.
"""

import datetime
import gc
import io
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from aura.core import endings
from aura.core.errors import UserError
from aura.core.shown_text import escaped, without_secrets

T = TypeVar("T")
LOG_INTERVAL = 10.0  # seconds between two lines of progress where there is no terminal


class Terminal(Console):
    """A console that obeys nothing in the text it prints: no mark-up, no emoji codes, no control characters.

    A `str` is a message, from which secrets in addresses are left out, too. A `Text` stays as it is but for characters
    that are `escaped`; its styles are ours.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(highlight=False, soft_wrap=True, markup=False, emoji=False, stderr=stderr)

    def print(self, *objects: Any, **options: Any) -> None:  # noqa: ANN401 - as Rich has it
        """Print, as `Console.print`."""
        shown = (without_secrets(thing) if isinstance(thing, str) else thing for thing in objects)
        super().print(*shown, **(options | {"markup": False, "emoji": False}))

    def _write_buffer(self) -> None:
        """Write what waits; all that is printed passes here. A stream that takes nothing is `endings.lost`."""
        try:
            super()._write_buffer()
        except OSError as error:
            self._buffer.clear()
            endings.lost(self.file, error)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Render; all that is printed passes here, cells of tables and lines of progress, too."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(escaped(segment.text), segment.style)


out = Terminal()
err = Terminal(stderr=True)
_redirecting = threading.Lock()
_quiet: list[bool] = []  # the argument of each `on_stderr` under way


@contextmanager
def on_stderr(*, quiet: bool = False) -> Iterator[None]:
    """Print on standard error all that is printed in here, or nothing: a caller's standard output is its own.

    Threads share the console. While several are in here, it prints what one of them wants printed.
    """
    with _redirecting:
        _quiet.append(quiet)
        _redirect()
    try:
        yield
    finally:
        with _redirecting:
            _quiet.remove(quiet)
            _redirect()


def _redirect() -> None:
    out.stderr = bool(_quiet)
    out.quiet = err.quiet = bool(_quiet) and all(_quiet)


def track(
    items: Iterable[T], description: str, total: int | None, told: Callable[[T, float], str] | None = None
) -> Iterator[T]:
    """Yield `items`, showing how many of `total` (where it is known) are done: a bar in a terminal, lines elsewhere.

    Arguments:
        items: what the work gives, one after the other.
        description: the name of the work.
        total: the number of items, if it is known.
        told: gives what is to be shown of the newest item, from the item and the items per second so far.
    """
    if not err.is_terminal:
        yield from _track_in_log(items, description, total, told)
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )  # of no use to a log

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    if told is None:
        with Progress(*columns, console=err, transient=True) as progress:
            yield from progress.track(items, total=total, description=description)
        return
    began = time.monotonic()
    with Progress(*columns, TextColumn("{task.fields[told]}", markup=False), console=err, transient=True) as progress:
        task = progress.add_task(description, total=total, told="")
        for done, item in enumerate(items, start=1):
            yield item
            progress.update(task, completed=done, told=told(item, done / (time.monotonic() - began)))


def _track_in_log(
    items: Iterable[T], description: str, total: int | None, told: Callable[[T, float], str] | None
) -> Iterator[T]:
    of_total = "" if total is None else f" of {total:,}"
    began = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        if time.monotonic() - last > LOG_INTERVAL:
            last = time.monotonic()
            left = "" if total is None else f", {_duration((last - began) / done * (total - done))} left"
            more = f", {told(item, done / (last - began))}" if told else ""
            err.print(f"{description}: {done:,}{of_total}{more}{left}", markup=False)


def _duration(seconds: float) -> str:
    """A time to wait, in hours, minutes and seconds: `0:02:10`."""
    return str(datetime.timedelta(seconds=round(seconds)))


def summary(stage: str, facts: dict[str, str], see: str) -> None:
    """Print a stage's closing lines: its facts (with units), and where to look."""
    seconds = time.monotonic() - _STARTED
    facts = facts | {"time": f"{seconds:.1f} s"}
    line = " · ".join(f"{name} {value}" for name, value in facts.items())
    try:
        out.print(Text.assemble((stage, "bold"), "  ", line))
        out.print(f"  see {see}", markup=False)
    except endings.OutputLost as error:  # the outputs are whole
        if not error.silent:
            err.print(f"note: {error}")


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a small table on standard error, beside the error message it explains."""
    from rich.table import Table  # 5 ms

    drawn = Table(*columns, title=title, title_justify="left")
    for row in rows:
        drawn.add_row(*(Text(escaped(cell)) for cell in row))
    err.print(drawn, soft_wrap=False)


def size(number: float) -> str:
    """A number of bytes in decimal units: `16.2 MB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def run(main: Callable[[], None]) -> None:
    """Run a program's `main`; a user's mistake or a fault of the machine ends it with one message and exit status 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # work must not be lost to a terminal that knows only ASCII
    warnings.simplefilter("ignore")  # libraries' warnings say nothing that a user of aura could act on
    gc.freeze()  # what is there stays: no search for garbage need go through it
    gc.enable()
    try:
        try:
            with endings.interruptible():
                main()
            gc.freeze()  # nor the one at the end
        finally:
            endings.flush()
    except UserError as error:
        fail(str(error))
    except KeyboardInterrupt:
        endings.interrupted()
    except endings.OutputLost as error:
        if error.silent:
            sys.exit(endings.NOT_READ)
        endings.end(str(error))
    except (OSError, MemoryError, ImportError, RuntimeError) as error:
        words = endings.worded(error)
        if words is None:
            raise
        endings.end(words)


def fail(message: str, status: int = 1) -> None:
    """Print an error on standard error and end the program."""
    err.print(Text.assemble(("error:", "bold red"), " ", without_secrets(message)))
    sys.exit(status)


_STARTED = time.monotonic()

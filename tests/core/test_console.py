import errno
import os
import signal
from collections.abc import Callable

import pytest
import typer

from aura.core import console, endings
from aura.core.errors import UserError


def test_a_log_says_how_far_the_work_is_and_how_long_it_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(console, "LOG_INTERVAL", -1.0)
    clock = iter(range(0, 1000, 30))
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    assert list(console.track("abc", "reading", total=3)) == ["a", "b", "c"]
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(", ")[0] for line in lines] == ["reading: 1 of 3", "reading: 2 of 3", "reading: 3 of 3"]
    assert lines[0].endswith("0:02:00 left")  # a step is 60 seconds of this clock
    assert lines[2].endswith("0:00:00 left")


def test_without_a_total_a_log_says_what_is_done(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(console, "LOG_INTERVAL", -1.0)
    assert list(console.track("ab", "reading", total=None)) == ["a", "b"]
    assert capsys.readouterr().err.splitlines() == ["reading: 1", "reading: 2"]


def test_progress_tells_the_newest_item_and_the_pace(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(console, "LOG_INTERVAL", -1.0)
    clock = iter(range(0, 1000, 30))
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    told = console.track("ab", "reading", 2, told=lambda item, pace: f"[{item}] {60 * pace:.0f} a minute")
    assert list(told) == ["a", "b"]
    assert [line.split(", ")[1] for line in capsys.readouterr().err.splitlines()] == [
        "[a] 1 a minute",
        "[b] 1 a minute",
    ]


@pytest.mark.parametrize(
    "error",
    [
        *(OSError(number, os.strerror(number), "data/tokens") for number in (errno.EIO, errno.ENOSPC, errno.EMFILE)),
        *(OSError(number, os.strerror(number), "data/tokens") for number in (errno.ENFILE, errno.ENAMETOOLONG)),
        *(OSError(number, os.strerror(number)) for number in (errno.ENOMEM, errno.EAGAIN)),
        MemoryError(),
    ],
)
def test_a_fault_of_the_machine_is_one_message(error: Exception, capsys: pytest.CaptureFixture[str]):
    def main() -> None:
        raise error

    with pytest.raises(SystemExit, match="1"):
        console.run(main)
    assert capsys.readouterr().err.startswith("error: ")


def _typers_command(work: Callable[[], None]) -> Callable[[], None]:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(work)
    return app


@pytest.mark.parametrize("wrapped", [lambda work: work, _typers_command])
@pytest.mark.parametrize("turned_into", [None, ValueError, UserError, SystemExit])
def test_ctrl_c_is_one_line_whatever_a_library_turns_it_into(
    wrapped: Callable[[Callable[[], None]], Callable[[], None]],
    turned_into: type[BaseException] | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    def work() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            if turned_into is None:
                raise
            raise turned_into("words of a library") from error

    monkeypatch.setattr("sys.argv", ["aura"])
    for name in ("said", "raised"):
        monkeypatch.setitem(endings._state, name, False)
    before = signal.signal(signal.SIGINT, endings._leave)
    try:
        with pytest.raises(SystemExit) as ended:
            console.run(wrapped(work))
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.value.code == 130
    assert capsys.readouterr().err == "error: interrupted. Run the same command again to go on.\n"


def test_threads_that_print_on_standard_error_leave_the_console_as_it_was():
    first, second = console.on_stderr(quiet=True), console.on_stderr(quiet=False)
    first.__enter__()
    second.__enter__()
    assert (console.out.stderr, console.out.quiet, console.err.quiet) == (True, False, False)
    first.__exit__(None, None, None)
    assert console.out.stderr
    second.__exit__(None, None, None)
    assert (console.out.stderr, console.out.quiet, console.err.quiet) == (False, False, False)

"""`aura chat` as people use it: in a terminal with Ctrl-C and Ctrl-D, and through a pipe."""

import os
import pty
import re
import subprocess
import sys
import time
from multiprocessing.connection import wait
from pathlib import Path

import pytest

from tests.export.test_export import exported
from tests.mini_tokens import MiniTokens

pytestmark = pytest.mark.slow
# Makes the terminal on standard input the program's own, so that Ctrl-C reaches it.
TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
CHAT = [sys.executable, "-m", "aura", "chat"]


@pytest.fixture(scope="module")
def folder(made: MiniTokens, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("chat")
    exported(made, place)
    return place


class Terminal:
    """A program in a terminal of its own."""

    def __init__(self, *arguments: object) -> None:
        self._ours, theirs = pty.openpty()
        command = [sys.executable, "-c", TAKE_TERMINAL, *CHAT, *map(str, arguments)]
        self.program = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
        os.close(theirs)
        self.shown = ""

    def expect(self, pattern: str, seconds: float = 60) -> None:
        """Wait until a new line of the terminal has this."""
        until = time.monotonic() + seconds
        while not re.search(pattern, self.shown, re.DOTALL):
            assert time.monotonic() < until, f"expected {pattern}, got {self.shown!r}"
            self._read()
        self.shown = ""

    def interrupt(self) -> None:
        """Press Ctrl-C as a person does, after a look at the prompt.

        Python's `input` loses a signal that comes between its prompt and its wait for a key: it ends with the next key.
        """
        time.sleep(0.5)
        self.press("\x03")

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self.program.kill()
        self.program.wait()
        os.close(self._ours)

    def end(self) -> int:
        while self.program.poll() is None:
            self._read()
        while self._read():
            pass
        return self.program.returncode

    def _read(self) -> bool:
        ready = wait([self._ours], 0.1)
        try:
            more = os.read(self._ours, 4096) if ready else b""
        except OSError:  # the other side is closed
            return False
        self.shown += more.decode(errors="replace")
        return bool(more)


def test_ctrl_c_ends_an_answer_and_ctrl_d_the_chat(folder: Path):
    with Terminal("--model", folder / "hf", "--temperature", 0, "--tokens", 1_000_000) as terminal:
        terminal.expect(r"Ctrl-D the chat\..*> ")
        terminal.press("Hello\n")
        terminal.expect("> ")
        terminal.press("half a line")
        terminal.expect("half a line")
        terminal.interrupt()
        terminal.expect(r"Ctrl-D the chat\..*> ")
        terminal.press("And?\n")
        terminal.expect("> ")
        terminal.press("\x04")
        assert terminal.end() == 0
        assert "Traceback" not in terminal.shown


def test_two_interrupts_at_the_prompt_end_the_program_without_a_traceback(folder: Path):
    with Terminal("--model", folder / "hf") as terminal:
        terminal.expect("> ")
        terminal.interrupt()
        terminal.expect("> ")
        terminal.interrupt()
        assert terminal.end() == 130
        assert "interrupted" in terminal.shown
        assert "Traceback" not in terminal.shown


def run(*arguments: object, typed: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CHAT, *map(str, arguments)], input=typed, capture_output=True, text=True, check=False, timeout=300
    )


def test_a_pipe_gets_answers_alone_and_the_same_each_time(folder: Path):
    given = ("--model", folder / "hf", "--seed", 3, "--tokens", 8, "--top-p", 0.9, "--system", "Be brief.")
    first, second = (run(*given, typed="Hello\nAnd?\n") for _ in range(2))
    assert (first.returncode, second.returncode) == (0, 0)
    assert first.stdout == second.stdout != ""
    assert "Ctrl-" not in first.stderr + first.stdout


def test_a_reader_that_leaves_ends_the_chat_silently(folder: Path):
    program = f"{' '.join(CHAT)} --model {folder / 'hf'} | head -c 1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; yes hello | {program}"], capture_output=True, text=True, check=False,
        timeout=300,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert "error" not in done.stderr


def test_without_a_model_the_message_says_what_to_run(folder: Path):
    done = run("--model", folder / "chat")
    assert done.returncode == 1
    assert done.stderr.startswith("error:")
    assert "Run: dvc repro adapt" in done.stderr

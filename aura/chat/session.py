"""One chat from its first line to its last: questions in, answers out as they are drawn.

Answers alone go to standard output, so a pipe gets them and nothing else; notes go to standard error. A model says what
others wrote: characters that a terminal would obey are spelt out.
"""

import sys
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from io import TextIOWrapper

import numpy as np
import numpy.typing as npt

from aura.chat.dialogue import Dialogue
from aura.chat.interrupts import Interrupts
from aura.core import console, endings
from aura.core.errors import UserError
from aura.core.shown_text import escaped
from aura.training.answers import Answerer

PROMPT = "> "
LONGEST = 1_000_000  # characters of a line in a pipe; no model reads as many
_HELP = "Ctrl-C ends an answer, Ctrl-D the chat."


class Session:
    """A chat.

    Arguments:
        answerer: draws the answers.
        dialogue: the chat so far.
        interactive: whether a person types; then Ctrl-C ends an answer and not the program.
    """

    def __init__(self, answerer: Answerer, dialogue: Dialogue, *, interactive: bool) -> None:
        self._answerer, self._dialogue, self._interactive = answerer, dialogue, interactive
        self._interrupts = Interrupts()

    def run(self) -> None:
        """Answer each line of standard input until it ends; empty lines are passed over.

        Raises `UserError` if the tokenizer is not one for chats, the system prompt does not fit, or, where nobody
        types, a line does not fit.
        """
        self._dialogue.prompt("")
        with self._interrupts if self._interactive else nullcontext():
            for number, question in enumerate(_typed(self._interrupts) if self._interactive else _piped(), start=1):
                if question.strip():
                    self._take(number, question.strip())

    def _take(self, number: int, question: str) -> None:
        try:
            prompt = self._dialogue.prompt(question)
        except UserError as error:
            if not self._interactive:
                raise UserError(f"line {number} of standard input: {error}") from None
            console.err.print(f"note: {error}")
            return
        if prompt.dropped:
            turns = "turn does" if prompt.dropped == 1 else f"{prompt.dropped} turns do"
            console.err.print(f"note: the oldest {turns} not fit into the model's context any more, and is left out.")
        self._dialogue.add(question, self._answered(prompt.ids))

    def _answered(self, ids: npt.NDArray[np.int32]) -> str:
        """Write an answer as it is drawn, and return it."""
        tokenizer, said, ended = self._dialogue.tokenizer, "", False
        decoder = tokenizer.incremental_decoder()
        with self._interrupts.deferred():
            for token in self._answerer.answer(ids, self._dialogue.tokens):
                ended = self._interrupts.asked or tokenizer.is_special(token)
                if ended:
                    break
                text = decoder.decode(token)
                said += text
                _write(text)
        rest = decoder.decode([], final=True)  # of a character that the answer did not complete
        said += rest
        _write(f"{rest}\n")
        if not ended:
            console.err.print("note: the answer is cut: it has as many tokens as --tokens or the model's context allow")
        return said


def _typed(interrupts: Interrupts) -> Iterator[str]:
    """Yield the lines that a person types, until Ctrl-D, or Ctrl-C twice."""
    with suppress(ImportError):
        import readline  # noqa: F401 - lines can be edited, and earlier ones called back
    console.err.print(_HELP)
    while True:
        try:
            line = input(PROMPT)
        except EOFError:
            _write("\n")
            return
        except KeyboardInterrupt:
            _write("\n")
            if interrupts.ending:
                raise
            console.err.print(_HELP)
        else:
            interrupts.asked = False
            yield line


def _piped() -> Iterator[str]:
    """Yield the lines of standard input as they come; bytes that are no UTF-8 become U+FFFD.

    Raises `UserError` for a line of more than `LONGEST` characters, so that no input fills the memory.
    """
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")
    number = 0
    while sys.stdin and (line := sys.stdin.readline(LONGEST + 1)):
        number += 1
        if len(line) > LONGEST:
            raise UserError(f"line {number} of standard input: expected at most {LONGEST:,} characters, got more")
        yield line.removesuffix("\n")


def _write(text: str) -> None:
    """Write to standard output at once; an output that takes nothing more ends the chat."""
    try:
        sys.stdout.write(escaped(text))
        sys.stdout.flush()
    except OSError as error:
        endings.lost(sys.stdout, error)

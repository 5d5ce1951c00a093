"""A chat so far, and as much of it as the model can read.

White space around a message is left out, and an empty system prompt is none, as in the conversations of training.

A model reads no more tokens than a sequence of its training had. Where the chat is longer, its oldest turns are left
out; the system prompt stays. Nothing is summarised: the user is told how many turns the model no longer sees.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from aura.core.errors import UserError
from aura.tokenizer.chat_encoding import encode_prompt
from aura.tokenizer.opening import AnyTokenizer


@dataclass(frozen=True)
class Said:
    """A message."""

    role: str
    content: str


@dataclass(frozen=True, eq=False)
class Prompt:
    """The ids that the model reads, and the number of turns that were dropped for them to fit."""

    ids: npt.NDArray[np.int32]
    dropped: int


@dataclass
class Dialogue:
    """The turns of a chat.

    Arguments:
        tokenizer: with the special tokens of chats; otherwise the first prompt is a `UserError`.
        context: tokens that a prompt and its answer have together, at most.
        tokens: of an answer, at most; room for them is kept, but no more than half of the context.
        system: the system prompt, if there is one.
    """

    tokenizer: AnyTokenizer
    context: int
    tokens: int
    system: str | None = None
    turns: list[tuple[str, str]] = field(default_factory=list)  # questions and answers, the oldest first

    def prompt(self, question: str) -> Prompt:
        """The ids of the chat and of a new question; turns that do not fit are dropped for good.

        Raises `UserError` if the question does not fit, even alone, or is no text; then no turn is dropped.
        """
        room, dropped = min(self.tokens, self.context // 2), 0
        whole = len(self._ids(question, len(self.turns)))  # first, for a long question to be encoded once
        if whole >= self.context:
            others = len(self._ids("", len(self.turns)))
            alone = whole - others
            raise UserError(
                f"this message has {alone:,} tokens, and what stands around it {others:,}; the model reads "
                f"{self.context - 1:,} at most. Write a shorter one{' or a shorter --system' if self.system else ''}."
            )
        while len(ids := self._ids(question, dropped)) > self.context - room and dropped < len(self.turns):
            dropped += 1
        del self.turns[:dropped]
        return Prompt(ids, dropped)

    def add(self, question: str, answer: str) -> None:
        """Remember a turn."""
        self.turns.append((question, answer))

    def _ids(self, question: str, dropped: int) -> npt.NDArray[np.int32]:
        system = _text(self.system or "", "--system")
        messages = [Said("system", system)] if system else []
        for asked, answered in self.turns[dropped:]:
            messages += [Said("user", asked), Said("assistant", answered)]
        return encode_prompt(self.tokenizer, [*messages, Said("user", _text(question, "this message"))])


def _text(given: str, where: str) -> str:
    """A message as it is encoded; raises `UserError` for bytes of a terminal or a command line that are no UTF-8."""
    try:
        given.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{where}: expected UTF-8, got something else at character {error.start + 1}") from None
    return given.strip()

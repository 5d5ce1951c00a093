"""A chat so far, and as much of it as the model can read.

A model reads no more tokens than a sequence of its training had. Where the chat is longer, its oldest turns are left
out; the system prompt stays. Nothing is summarised: the user is told how many turns the model no longer sees.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from aura.core.errors import UserError
from aura.tokenizer.chat_encoding import encode_prompt
from aura.tokenizer.tokenizer import Tokenizer


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

    tokenizer: Tokenizer
    context: int
    tokens: int
    system: str | None = None
    turns: list[tuple[str, str]] = field(default_factory=list)  # questions and answers, the oldest first

    def prompt(self, question: str) -> Prompt:
        """The ids of the chat and of a new question; turns that do not fit are dropped for good.

        Raises `UserError` if the question does not fit, even alone.
        """
        room, before = min(self.tokens, self.context // 2), len(self.turns)
        while len(ids := self._ids(question)) > self.context - room and self.turns:
            del self.turns[0]
        if len(ids) >= self.context:
            alone = len(ids) - len(self._ids(""))
            others = len(ids) - alone
            raise UserError(
                f"this message has {alone:,} tokens, and what stands around it {others:,}; the model reads "
                f"{self.context - 1:,} at most. Write a shorter one{' or a shorter --system' if self.system else ''}."
            )
        return Prompt(ids, before - len(self.turns))

    def add(self, question: str, answer: str) -> None:
        """Remember a turn."""
        self.turns.append((question, answer))

    def _ids(self, question: str) -> npt.NDArray[np.int32]:
        messages = [] if self.system is None else [Said("system", self.system)]
        for asked, answered in self.turns:
            messages += [Said("user", asked), Said("assistant", answered)]
        return encode_prompt(self.tokenizer, [*messages, Said("user", question)])

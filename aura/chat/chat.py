"""A chat with the model of a folder, from loading to the last answer."""

import sys
from dataclasses import dataclass
from pathlib import Path

from aura.chat.dialogue import Dialogue
from aura.chat.session import Session
from aura.core import console
from aura.core.errors import UserError
from aura.hugging_face import loading
from aura.training.answers import Answerer, Drawing
from aura.training.compiled_programs import keep_compiled_of_project


@dataclass(frozen=True)
class Request:
    """A wish to chat.

    Attributes:
        model: models/chat, models/adapter, models/lm, or a folder like them.
        tokenizer: a spiece.model, for a folder that has none.
        system: what the model is told before the first question.
        tokens: of an answer, at most.
        drawing: how tokens are drawn.
    """

    model: Path
    tokenizer: Path
    system: str | None
    tokens: int
    drawing: Drawing


def talk(request: Request) -> None:
    """Answer each line of standard input, of a person or of a pipe; `UserError` if there is no such model."""
    if sys.stdout is None:
        raise UserError("standard output is closed, so no answer can be written. Write it somewhere else.")
    loaded = loading.load(request.model, request.tokenizer)
    if not loaded.adapted:
        console.err.print(f"note: {request.model} was not adapted to conversations. To adapt it: {loading.MADE_BY}")
    keep_compiled_of_project()
    ends = [token for token in range(loaded.tokenizer.vocab_size) if loaded.tokenizer.is_special(token)]
    answerer = Answerer(loaded.model, loaded.context, request.drawing, ends)
    dialogue = Dialogue(loaded.tokenizer, loaded.context, request.tokens, request.system)
    Session(answerer, dialogue, interactive=sys.stdin is not None and sys.stdin.isatty()).run()

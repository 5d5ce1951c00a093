"""Held-out prompts, their reference answers and what the adapted model answers, as text to read."""

import numpy as np
import numpy.typing as npt

from aura.adapt.exchanges import Exchanges
from aura.tokenizer.opening import AnyTokenizer

SHOWN = 8  # prompts


def text(
    tokenizer: AnyTokenizer,
    exchanges: Exchanges,
    numbers: npt.NDArray[np.int64],
    answers: list[npt.NDArray[np.int32]],
) -> str:
    """Return the first SHOWN of the prompts of these numbers with their references and `answers`."""
    prompts, lengths = exchanges.prompts(numbers)
    parts = []
    for row, reference in enumerate(exchanges.answers(numbers[:SHOWN])):
        prompt = prompts[row, prompts.shape[1] - lengths[row] :]
        asked, expected, got = (tokenizer.decode(ids) for ids in (prompt[1:], reference, answers[row]))
        parts.append(f"=== {asked}\n--- the reference\n{expected}\n--- answered by the model\n{got}\n")
    return "\n".join(parts)

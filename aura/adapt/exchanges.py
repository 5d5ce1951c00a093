"""Prompts and reference answers out of packed conversations, for a model that answers by itself.

Of each conversation in a window the last answer is asked for, with all before it as the prompt. A prompt has room for
`seq_len` - `seq_len` // 2 tokens and an answer for `seq_len` // 2, so that both fit into what the model was trained
on. Longer prompts and answers are left out and counted: a cut prompt asks another question.

Prompts of a batch end at the same place, so that all answers begin together: what is before a prompt is padding.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from aura.adapt.packing import Packed, Places, drawn
from aura.tokens.conversation_shards import Conversations
from aura.training.batch_layout import Batch

_EPOCHS = 3 * 2**60  # part of the key of random numbers, beside the seed
SHOWN = "\nThis is a right answer:\n", "\nSay it in your own words.\n"  # before and after an answer that a teacher sees


@dataclass(frozen=True)
class Hint:
    """Ids that show a reference answer in a prompt: `before` the answer, and `after` it, both within the question."""

    before: npt.NDArray[np.int32]
    after: npt.NDArray[np.int32]


class Exchanges:
    """Prompts with their reference answers.

    Arguments:
        conversations: the encoded conversations.
        packed: windows of them.
        seq_len: inputs of a window.

    Attributes:
        prompt_tokens: room for a prompt.
        answer_tokens: room for an answer.
        left_out: conversations in windows whose last prompt or answer is longer.
    """

    def __init__(self, conversations: Conversations, packed: Packed, seq_len: int) -> None:
        self._conversations = conversations
        self.answer_tokens = seq_len // 2
        self.prompt_tokens = seq_len - self.answer_tokens
        bounds = [(begin, self._answer(begin, end), end) for begin, end in np.sort(packed.pieces, axis=0).tolist()]
        self._bounds = np.array([each for each in bounds if self._fits(*each)], np.int64).reshape(-1, 3)
        self.left_out = len(bounds) - len(self._bounds)

    def __len__(self) -> int:
        return len(self._bounds)

    def _answer(self, begin: int, end: int) -> int:
        """The place where the last answer begins; `end` is where it ends."""
        marks = self._conversations.learnt[begin:end]
        others = np.flatnonzero(~marks)
        return begin + int(others[-1]) + 1 if len(others) else begin

    def _fits(self, begin: int, answer: int, end: int) -> bool:
        return 0 < answer - begin <= self.prompt_tokens and end - answer <= self.answer_tokens

    def spread(self, count: int) -> Places:
        """Numbers of up to `count` exchanges, spread evenly, always the same."""
        count = min(count, len(self))
        return np.arange(count, dtype=np.int64) * len(self) // max(count, 1)

    def prompts(self, numbers: npt.NDArray[np.integer[Any]]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Prompts of these numbers, (rows, prompt_tokens), each at the end of its row, and the length of each."""
        ids = self._conversations.ids
        return right_aligned([ids[begin:answer] for begin, answer, _ in self._of(numbers)], self.prompt_tokens)

    def answers(self, numbers: npt.NDArray[np.integer[Any]]) -> list[npt.NDArray[np.int32]]:
        """Reference answers of these numbers, each with the <eos> that ends it."""
        return [np.asarray(self._conversations.ids[answer:end]) for _, answer, end in self._of(numbers)]

    def hinted(
        self, numbers: npt.NDArray[np.integer[Any]], hint: Hint
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Prompts that show the reference answer, as `prompts`, in rows of `hinted_tokens`.

        The reference stands in the last question: the role of the answer, the last id of a prompt, follows it.
        """
        ids, shown = self._conversations.ids, []
        for begin, answer, end in self._of(numbers):
            parts = ids[begin : answer - 1], hint.before, ids[answer : end - 1], hint.after, ids[answer - 1 : answer]
            shown.append(np.concatenate(parts))
        return right_aligned(shown, self.hinted_tokens(hint))

    def hinted_tokens(self, hint: Hint) -> int:
        """Room for a prompt that shows the reference answer."""
        return self.prompt_tokens + len(hint.before) + self.answer_tokens + len(hint.after)

    def _of(self, numbers: npt.NDArray[np.integer[Any]]) -> list[tuple[int, int, int]]:
        return [(begin, answer, end) for begin, answer, end in self._bounds[numbers].tolist()]


class ExchangeBatches:
    """Batches of exchanges: a function of the step alone, as `PackedBatches`.

    Arguments:
        exchanges: at least one.
        hint: how the reference answer is shown to the teacher.
        batch_size: exchanges per step, over all hosts.
        seed: decides their order.
    """

    def __init__(self, exchanges: Exchanges, hint: Hint, batch_size: int, seed: int) -> None:
        self._exchanges, self._hint, self._batch_size, self._seed = exchanges, hint, batch_size, seed

    def batch(self, step: int, rows: slice = slice(None)) -> Batch:
        """Rows of the exchanges of `step`.

        `prompts` (rows, prompt_tokens) int32 and `prompt_lengths` (rows,) int32, as `Exchanges.prompts`; `hinted` and
        `hinted_lengths` with the reference answer shown.
        """
        samples = range(step * self._batch_size, (step + 1) * self._batch_size)[rows]
        numbers = drawn(len(self._exchanges), samples, self._seed, _EPOCHS)
        prompts, prompt_lengths = self._exchanges.prompts(numbers)
        hinted, hinted_lengths = self._exchanges.hinted(numbers, self._hint)
        return {
            "prompts": prompts,
            "prompt_lengths": prompt_lengths,
            "hinted": hinted,
            "hinted_lengths": hinted_lengths,
        }


def right_aligned(texts: list[npt.NDArray[np.int32]], room: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Texts in rows of `room` ids, each at the end of its row behind zeros, and the length of each."""
    rows, lengths = np.zeros((len(texts), room), np.int32), np.array([len(text) for text in texts], np.int32)
    for row, text in zip(rows, texts, strict=True):
        row[room - len(text) :] = text
    return rows, lengths

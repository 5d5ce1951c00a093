"""Prompts and reference answers out of packed conversations, for a model that answers by itself.

Of each conversation in a window the last answer is asked for, with all before it as the prompt. `Room` says how long
both may be. Longer ones are left out and counted: a cut prompt asks another question.

Places of prompts and answers take 24 bytes for each conversation in a window: 0.24 GB for 10^7.

Prompts of a batch end at the same place, so that all answers begin together: what is before a prompt is padding.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from aura.adapt.packing import Packed, Places, blocks, drawn
from aura.tokens.conversation_shards import Conversations
from aura.training.batch_layout import Batch

_EPOCHS = 3 * 2**60  # part of the key of random numbers, beside the seed
HINT = "\nA right answer: ", "\n"  # before and after an answer that a teacher sees; short, as it takes room of windows


@dataclass(frozen=True)
class Hint:
    """Ids that show a reference answer in a prompt: `before` the answer, and `after` it, both within the question."""

    before: npt.NDArray[np.int32]
    after: npt.NDArray[np.int32]


@dataclass(frozen=True)
class Room:
    """The most tokens of a prompt, of an answer, and of a prompt with its answer."""

    prompt: int
    answer: int
    both: int

    @classmethod
    def half(cls, seq_len: int) -> "Room":
        """A half of `seq_len` for each, so that both fit into what the model was trained on."""
        return cls(seq_len - seq_len // 2, seq_len // 2, seq_len)

    @classmethod
    def hinted(cls, seq_len: int, hint: Hint) -> "Room":
        """A quarter of `seq_len` for an answer; a prompt, the hint, the reference and an answer fit into `seq_len`."""
        answer = seq_len // 4
        both = max(0, seq_len - answer - len(hint.before) - len(hint.after))
        return cls(both, answer, both)


class Exchanges:
    """Prompts with their reference answers.

    Arguments:
        conversations: the encoded conversations.
        packed: windows of them.
        room: how long they may be.

    Attributes:
        room: the same.
        left_out: conversations in windows whose last prompt or answer is longer.
    """

    def __init__(self, conversations: Conversations, packed: Packed, room: Room) -> None:
        self._conversations, self._packed, self.room = conversations, packed, room
        begins, ends = np.sort(packed.pieces, axis=0).T
        answers = _last_answers(conversations.learnt, begins, ends)
        prompts = answers - begins
        fit = (prompts > 0) & (prompts <= room.prompt) & (ends - answers <= room.answer) & (ends - begins <= room.both)
        self._bounds = np.stack([begins[fit], answers[fit], ends[fit]], axis=1)
        self.left_out = int(len(fit) - fit.sum())

    def __len__(self) -> int:
        return len(self._bounds)

    def spread(self, count: int) -> Places:
        """Numbers of up to `count` exchanges, spread evenly, always the same."""
        count = min(count, len(self))
        return np.arange(count, dtype=np.int64) * len(self) // max(count, 1)

    def prompts(self, numbers: npt.NDArray[np.integer[Any]]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Prompts of these numbers, (rows, room.prompt), each at the end of its row, and the length of each."""
        ids = self._conversations.ids
        return right_aligned([ids[begin:answer] for begin, answer, _ in self._of(numbers)], self.room.prompt)

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

    def conversations_of(self, numbers: npt.NDArray[np.integer[Any]]) -> list[int]:
        """Numbers of the conversations that these exchanges are from."""
        return [self._packed.conversation_at(begin) for begin, _, _ in self._of(numbers)]

    def hinted_tokens(self, hint: Hint) -> int:
        """Room for a prompt that shows the reference answer."""
        return self.room.both + len(hint.before) + len(hint.after)

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

        `prompts` (rows, room.prompt) int32 and `prompt_lengths` (rows,) int32, as `Exchanges.prompts`; `hinted` and
        `hinted_lengths` with the reference answer shown.
        """
        numbers = self._drawn(step, rows)
        prompts, prompt_lengths = self._exchanges.prompts(numbers)
        hinted, hinted_lengths = self._exchanges.hinted(numbers, self._hint)
        return {
            "prompts": prompts,
            "prompt_lengths": prompt_lengths,
            "hinted": hinted,
            "hinted_lengths": hinted_lengths,
        }

    def describe(self, step: int) -> str:
        """Describe for a reader which conversations a step asks for their last answer."""
        numbers = self._exchanges.conversations_of(self._drawn(step, slice(None)))
        return f"own answers to conversations {' '.join(f'{number:,}' for number in numbers)}"

    def _drawn(self, step: int, rows: slice) -> Places:
        samples = range(step * self._batch_size, (step + 1) * self._batch_size)[rows]
        return drawn(len(self._exchanges), samples, self._seed, _EPOCHS)


def _last_answers(learnt: npt.NDArray[np.bool_], begins: Places, ends: Places) -> Places:
    """The place where the last answer of each piece begins; pieces are in order, and each ends with an answer."""
    answers = np.empty(len(begins), np.int64)
    for first, last in blocks(np.append(begins, ends[-1:])):
        origin = int(begins[first])
        marks = np.asarray(learnt[origin : ends[last - 1]])
        not_learnt = np.maximum.accumulate(np.where(marks, -1, np.arange(len(marks))))  # the last place up to each
        answers[first:last] = origin + np.maximum(
            not_learnt[ends[first:last] - 1 - origin] + 1, begins[first:last] - origin
        )
    return answers


def right_aligned(texts: list[npt.NDArray[np.int32]], room: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Texts in rows of `room` ids, each at the end of its row behind zeros, and the length of each."""
    rows, lengths = np.zeros((len(texts), room), np.int32), np.array([len(text) for text in texts], np.int32)
    for row, text in zip(rows, texts, strict=True):
        row[room - len(text) :] = text
    return rows, lengths

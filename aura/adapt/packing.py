"""Conversations packed into windows, and batches of these windows by the number of a step.

A window has `seq_len` + 1 tokens and holds whole conversations alone, each a segment of its own. A conversation that is
longer ends with its last answer that fits; what follows is counted and left out. One whose first answer does not end
within a window is dropped and counted: a prompt cut from the left would lose its instruction, and an answer cut from
the right its <eos>. `pretrain.seq_len` is the remedy.

Windows are packed once, the longest conversation first, each into the fullest window that has room (best-fit
decreasing; Ding et al. 2024, arXiv:2404.10830). Only their order changes between epochs. Packing takes 3 µs and 110
bytes of memory per conversation, 24 bytes of which stay: 10^7 of them take 30 s and 1.1 GB. Ids stay where they lie,
and a batch reads its own.
"""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from aura.core.errors import UserError
from aura.core.terms import EMOTIONS
from aura.tokens.conversation_shards import Conversations
from aura.training.batch_layout import Batch
from aura.training.permutation import ROUNDS, Permutation

BLOCK = 2**22  # tokens whose marks are looked at once, or those of one conversation
_TIES, _EPOCHS = 2**62, 2**61  # parts of the keys of random numbers, beside the seed

Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PackingCounts:
    """Conversations and tokens that got into windows, and those that did not, by reason.

    `conversations` is the sum of `whole`, `cut`, `too_long` and `without_answer`.
    """

    conversations: int
    whole: int  # with every answer
    cut: int  # with their first answers; later ones end beyond a window
    too_long: int  # dropped: the first answer ends beyond a window
    without_answer: int  # dropped: nothing in them is learnt
    windows: int
    tokens: int  # in windows
    learnt_tokens: int  # in windows
    learnt_tokens_left_out: int  # of the conversations that are cut or too long
    filled: float  # share of the windows' places that hold a token


class Packed:
    """Windows of conversations.

    Attributes:
        counts: what got into windows and what did not.
        pieces: (number, 2) int64, begin and end in the flat ids of each conversation in a window, by window.
    """

    def __init__(
        self, conversations: Conversations, seq_len: int, counts: PackingCounts, pieces: Places, starts: Places
    ) -> None:
        self._conversations, self._seq_len, self._starts = conversations, seq_len, starts
        self.counts, self.pieces = counts, pieces

    def __len__(self) -> int:
        return len(self._starts) - 1

    def windows(self, numbers: npt.NDArray[np.integer[Any]], *, affect: bool = False) -> Batch:
        """The windows of these numbers.

        `tokens` (rows, seq_len + 1) int32; `segments`, as large, is 0 in places without a token and 1, 2, … in those
        of each conversation; `learnt`, as large, bool; if asked for, `affect` (rows, seq_len, 8) float32.
        """
        shape = (len(numbers), self._seq_len + 1)
        batch: Batch = {
            "tokens": np.zeros(shape, np.int32),
            "segments": np.zeros(shape, np.int32),
            "learnt": np.zeros(shape, np.bool_),
        }
        of_all = self._conversations
        if affect:
            batch["affect"] = np.zeros((len(numbers), self._seq_len, len(EMOTIONS)), np.float32)
        for row, number in enumerate(numbers.tolist()):
            place = 0
            for segment, (begin, end) in enumerate(self._of_window(number), start=1):
                inside = slice(place, place + end - begin)
                batch["tokens"][row, inside] = of_all.ids[begin:end]
                batch["learnt"][row, inside] = of_all.learnt[begin:end]
                batch["segments"][row, inside] = segment
                if affect:
                    batch["affect"][row, inside] = of_all.affect[self.conversation_at(begin)]
                place = inside.stop
        return batch

    def conversation_at(self, begin: int) -> int:
        """Return the number of the conversation that begins at a place of the flat ids."""
        return int(np.searchsorted(self._conversations.offsets, begin, side="right")) - 1

    def described(self, number: int) -> str:
        """The conversations of a window, by their numbers from 0."""
        return " ".join(f"{self.conversation_at(begin):,}" for begin, _ in self._of_window(number))

    def _of_window(self, number: int) -> list[tuple[int, int]]:
        return [(begin, end) for begin, end in self.pieces[self._starts[number] : self._starts[number + 1]].tolist()]


def pack(conversations: Conversations, seq_len: int, seed: int, part: str = "training") -> Packed:
    """Pack conversations into windows of `seq_len` inputs and their targets; the seed decides between equal lengths.

    `part` names the conversations in messages.

    Raises:
        UserError: none of them has an answer that ends within a window.
    """
    begins, room = conversations.offsets[:-1], seq_len + 1
    ends, learnt, left_out = _cut(conversations, room)
    kept = np.flatnonzero(ends)
    lengths = ends[kept] - begins[kept]
    dropped = ends == 0
    if not len(kept):
        raise UserError(
            f"expected a conversation of the {part} part whose first answer ends within {room:,} tokens, got none of "
            f"{len(begins):,} ({int((dropped & (left_out > 0)).sum()):,} too long, the rest without an answer). "
            "Raise pretrain.seq_len, or add conversations."
        )
    ties = np.random.Philox(key=np.array([seed, _TIES], np.uint64)).random_raw(len(kept))
    order = np.lexsort((ties, -lengths))
    window_of = _best_fit(lengths[order], room)
    by_window = order[np.argsort(window_of, kind="stable")]
    starts = np.concatenate([[0], np.cumsum(np.bincount(window_of))]).astype(np.int64)
    pieces = np.stack([begins[kept], ends[kept]], axis=1)[by_window]
    counts = PackingCounts(
        conversations=len(begins),
        whole=int((~dropped & (left_out == 0)).sum()),
        cut=int((~dropped & (left_out > 0)).sum()),
        too_long=int((dropped & (left_out > 0)).sum()),
        without_answer=int((dropped & (left_out == 0)).sum()),
        windows=len(starts) - 1,
        tokens=int(lengths.sum()),
        learnt_tokens=int(learnt.sum()),
        learnt_tokens_left_out=int(left_out.sum()),
        filled=float(lengths.sum() / ((len(starts) - 1) * room)),
    )
    return Packed(conversations, seq_len, counts, pieces, starts)


def _cut(conversations: Conversations, room: int) -> tuple[Places, Places, Places]:
    """Of each conversation: the end of its last answer within `room` tokens (0: none), learnt tokens before and after.

    A first token is no target, so it counts as not learnt.
    """
    offsets = conversations.offsets
    ends, learnt, left_out = (np.zeros(len(conversations), np.int64) for _ in range(3))
    for first, last in blocks(offsets):
        origin = int(offsets[first])
        marks = np.array(conversations.learnt[origin : offsets[last]])
        begins, limits = offsets[first:last] - origin, offsets[first + 1 : last + 1] - origin
        marks[begins[begins < limits]] = False
        answers_end = np.flatnonzero(marks & ~np.append(marks[1:], False)) + 1
        place = np.searchsorted(answers_end, np.minimum(limits, begins + room), side="right")
        cuts = np.concatenate([[0], answers_end])[place]
        cuts = np.where(cuts > begins, cuts, begins)
        before = np.concatenate([[0], np.cumsum(marks)])
        ends[first:last] = np.where(cuts > begins, cuts + origin, 0)
        learnt[first:last] = before[cuts] - before[begins]
        left_out[first:last] = before[limits] - before[cuts]
    return ends, learnt, left_out


def blocks(offsets: Places) -> Iterator[tuple[int, int]]:
    """Ranges of conversations of up to BLOCK tokens, or of one."""
    first, count = 0, len(offsets) - 1
    while first < count:
        last = int(np.searchsorted(offsets, offsets[first] + BLOCK, side="right")) - 1
        last = min(max(last, first + 1), count)
        yield first, last
        first = last


def _best_fit(lengths: Places, room: int) -> Places:
    """The window of each piece; each goes into the open window with the least room that holds it."""
    window_of = np.empty(len(lengths), np.int64)
    shortest, windows = int(lengths.min()), 0
    rooms, by_room = list[int](), defaultdict[int, list[int]](list)  # sorted; windows that have so much room
    for place, length in enumerate(lengths.tolist()):
        found = bisect_left(rooms, length)
        if found == len(rooms):
            window, left, windows = windows, room - length, windows + 1
        else:
            before = rooms[found]
            window, left = by_room[before].pop(), before - length
            if not by_room[before]:
                del rooms[found]
        if left >= shortest:
            if not by_room[left]:
                insort(rooms, left)
            by_room[left].append(window)
        window_of[place] = window
    return window_of


class PackedBatches:
    """Batches of windows: a function of the step alone, so a resumed run needs no state of an iterator.

    Arguments:
        packed: the windows.
        batch_size: windows per step, over all hosts.
        seed: decides the order of the windows, another one in each epoch.
        affect: give each token the affect vector of its conversation, too.
    """

    def __init__(self, packed: Packed, batch_size: int, seed: int, *, affect: bool = False) -> None:
        self._packed, self._batch_size, self._seed, self._affect = packed, batch_size, seed, affect

    def batch(self, step: int, rows: slice = slice(None)) -> Batch:
        """Rows of the batch of `step` (from 0), as `Packed.windows` has them.

        The global batch is the same however its rows are shared out among hosts. A batch may hold the end of one epoch
        and the beginning of the next.
        """
        return self._packed.windows(self._drawn(step, rows), affect=self._affect)

    def describe(self, step: int, most: int = 8) -> str:
        """Describe for a reader which conversations the batch of a step holds."""
        numbers = self._drawn(step, slice(None)).tolist()
        told = [f"conversations {self._packed.described(number)}" for number in numbers[:most]]
        return "; ".join(told) + (f"; and {len(numbers) - most} more windows" if len(numbers) > most else "")

    def _drawn(self, step: int, rows: slice) -> Places:
        samples = range(step * self._batch_size, (step + 1) * self._batch_size)[rows]
        return drawn(len(self._packed), samples, self._seed, _EPOCHS)


def drawn(count: int, samples: range, seed: int, purpose: int) -> Places:
    """Draw the numbers from 0 to `count` in one order per epoch, `samples` counted on through the epochs.

    Arguments:
        count: above 0.
        samples: places in the unending sequence of epochs.
        seed: below 2^32.
        purpose: tells orders with one seed apart, a multiple of 2^40.
    """
    orders: dict[int, Permutation] = {}
    numbers = np.empty(len(samples), np.int64)
    for row, sample in enumerate(samples):
        epoch, place = divmod(sample, count)
        if epoch not in orders:
            keys = np.random.Philox(key=np.array([seed, purpose + epoch], np.uint64))
            orders[epoch] = Permutation(count, keys.random_raw(ROUNDS))
        numbers[row] = orders[epoch][place]
    return numbers

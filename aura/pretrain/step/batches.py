"""Batches by number: `batch(step)` is a function of the step alone, so resuming needs no iterator's state.

Each epoch of a source visits every window once, in an order drawn from (seed, epoch) (`permutation.order`). It costs
16 bytes per window while an epoch lasts, 1.6 GB for 10^8 windows, and nothing above that number.

Sources are mixed in blocks of samples: in each block a source has its share of the places, in a drawn order. So
the mixture is exact in every block, and where a sample comes from is known without counting from the beginning.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from aura.core.errors import UserError
from aura.pretrain.step.passing import batch_of
from aura.tokens.streams import AffectStream, TokenStream
from aura.training import permutation
from aura.training.batch_layout import Batch
from aura.training.evaluation import require_window

BLOCK = 4096  # samples in which every source has its share, to within one; more where there are many sources


@dataclass(frozen=True)
class Source:
    """Training data of one source, or of all sources as one.

    Attributes:
        name: for messages.
        tokens: its training tokens.
        weight: how often it is seen, against its share.
        affect: of the same tokens.
        documents: gives the names of the documents in which the tokens from one place to another of `tokens` lie.
    """

    name: str
    tokens: TokenStream
    weight: float = 1.0
    affect: AffectStream | None = None
    documents: Callable[[int, int], list[str]] | None = None


class Batches:
    """Training batches over sources.

    Arguments:
        sources: the training tokens; how often one is seen is its weight times its share of the windows.
        batch_size: windows per step, over all hosts.
        seq_len: targets per window.
        seed: decides the order of windows.
        skip: pairs of numbers of batches, from 1, both ends in, ascending: no step takes these, but later ones.

    Raises:
        UserError: there is not one window, or none with a weight above 0.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        batch_size: int,
        seq_len: int,
        seed: int,
        skip: Sequence[tuple[int, int]] = (),
    ) -> None:
        require_window(sum(len(source.tokens) for source in sources), seq_len, "training")
        self.sources = [source for source in sources if source.tokens.number_of_windows(seq_len) and source.weight]
        if not self.sources:
            raise UserError(
                "expected a source with tokens for one sequence and a weight above 0, got none. "
                "Raise a weight in pretrain.source_weights, or lower pretrain.seq_len."
            )
        windows = [source.tokens.number_of_windows(seq_len) for source in self.sources]
        self._windows = np.array(windows, np.int64)
        shares = [number * source.weight for number, source in zip(windows, self.sources, strict=True)]
        self._block_size = _block_size(len(windows))
        self._places = _shares(shares, self._block_size)
        self._block = lru_cache(maxsize=2)(partial(_block, seed, self._places))  # a batch touches two at most, or many
        self._orders: dict[int, dict[int, permutation.Order]] = {}  # of each source: by epoch, the newest two
        self._batch_size, self._seq_len, self._seed, self._skip = batch_size, seq_len, seed, skip
        # Of tokens in a store, the next step's are read while this one is computed.
        self._reader = ThreadPoolExecutor(1) if any(source.tokens.is_remote for source in self.sources) else None
        self._ahead: dict[tuple[int, int, int], Future[Batch]] = {}

    @property
    def windows_per_epoch(self) -> int:
        """Windows of all sources."""
        return int(self._windows.sum())

    def batch(self, step: int, rows: slice = slice(None)) -> Batch:
        """Rows of the batch of `step` (from 0): `tokens`, of the shape (rows, seq_len + 1), int32.

        If asked for, also `affect`, of the shape (rows, seq_len, 8), float32.

        The global batch is the same however its rows are shared out among hosts. A batch may hold the end of one
        epoch and the beginning of the next.
        """
        if self._reader is None:
            return self._read(step, rows)
        coming = self._ahead.pop((step, rows.start, rows.stop), None)
        batch = coming.result() if coming else self._read(step, rows)
        self._ahead[step + 1, rows.start, rows.stop] = self._reader.submit(self._read, step + 1, rows)
        return batch

    def _read(self, step: int, rows: slice) -> Batch:
        sources, windows = self._draw(step, rows)
        batch: Batch = {"tokens": np.empty((len(sources), self._seq_len + 1), np.int32)}
        if self.sources[0].affect is not None:
            batch["affect"] = np.empty((len(sources), self._seq_len, 8), np.float32)
        for number in np.unique(sources).tolist():
            source, places = self.sources[number], np.flatnonzero(sources == number)
            batch["tokens"][places] = source.tokens.windows(windows[places], self._seq_len)
            if source.affect is not None:
                for place in places.tolist():
                    batch["affect"][place] = source.affect.window(int(windows[place]), self._seq_len)
        return batch

    def describe(self, step: int, most: int = 8) -> str:
        """Describe for a reader where the batch of a step (from 0) comes from: its number, tokens and documents."""
        drawn = list(zip(*(part.tolist() for part in self._draw(step, slice(None))), strict=True))
        told = [self._told(self.sources[number], window) for number, window in drawn[:most]]
        more = f"; and {len(drawn) - most} more windows" if len(drawn) > most else ""
        return f"batch {self._number(step) + 1}: {'; '.join(told)}{more}"

    def _told(self, source: Source, window: int, most: int = 3) -> str:
        """A window: its place in the training stream of its source, and its documents if they can be read."""
        start, stop = window * self._seq_len, (window + 1) * self._seq_len
        told = f"{source.name} tokens {start:,} to {stop:,}"
        try:
            documents = source.documents(start, stop) if source.documents else []
        except (UserError, OSError):  # the message that they are for matters more
            documents = []
        more = f" and {len(documents) - most} more" if len(documents) > most else ""
        return f"{told} ({', '.join(documents[:most])}{more})" if documents else told

    def _number(self, step: int) -> int:
        """The number of the batch that a step takes, both from 0."""
        return batch_of(step + 1, self._skip) - 1

    def _draw(self, step: int, rows: slice) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Of each row: its source, and its window."""
        number = self._number(step)
        samples = np.arange(number * self._batch_size, (number + 1) * self._batch_size)[rows]
        sources, ranks = np.empty(len(samples), np.int64), np.empty(len(samples), np.int64)
        blocks, places = np.divmod(samples, self._block_size)
        for block in np.unique(blocks).tolist():
            inside = blocks == block
            of_block, rank = self._block(block)
            sources[inside] = of_block[places[inside]]
            ranks[inside] = block * self._places[sources[inside]] + rank[places[inside]]
        epochs, positions = np.divmod(ranks, self._windows[sources])
        windows = [
            self._order(source, epoch)[position]
            for source, epoch, position in zip(sources.tolist(), epochs.tolist(), positions.tolist(), strict=True)
        ]
        return sources, np.array(windows, np.int64)

    def _order(self, source: int, epoch: int) -> permutation.Order:
        """The order of a source's windows in an epoch; two epochs are kept, for a batch may lie in both."""
        kept = self._orders.get(source, {})
        if epoch not in kept:
            order = permutation.order(self._seed, source, epoch, int(self._windows[source]))
            newest = dict(sorted({**kept, epoch: order}.items())[-2:])
            kept = newest if epoch in newest else {epoch: order}  # a step asked for again, from before
            self._orders[source] = kept
        return kept[epoch]


def _block_size(sources: int) -> int:
    """Samples of a block: BLOCK, doubled until there is a place for each source."""
    size = BLOCK
    while size < sources:
        size *= 2
    return size


def _shares(sizes: Sequence[float], block: int) -> npt.NDArray[np.int64]:
    """Places of each source in a block: in proportion, none without a place, `block` in all."""
    total = float(np.cumsum(sizes)[-1])  # one after the other; `sum` rounds otherwise since Python 3.12
    ideal = np.array(sizes) / total * block
    places = np.maximum(1, np.floor(ideal)).astype(np.int64)
    while (missing := block - places.sum()) != 0:
        places[np.argmax(ideal - places) if missing > 0 else np.argmax(places)] += np.sign(missing)
    return places


def _block(seed: int, places: npt.NDArray[np.int64], block: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Of each place in a block: its source, and how many places of that source come before it."""
    size, keys_of = int(places.sum()), np.random.Philox(key=np.array([seed, 2**63 + block], np.uint64))
    sources = np.repeat(np.arange(len(places)), places)[np.argsort(keys_of.random_raw(size), kind="stable")]
    ranks = np.empty(size, np.int64)
    ranks[np.argsort(sources, kind="stable")] = np.arange(size) - np.repeat(np.cumsum(places) - places, places)
    return sources, ranks

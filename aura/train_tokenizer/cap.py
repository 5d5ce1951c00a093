"""The most segments that a tokenizer learns from: the trainer takes 830 bytes and 16 µs for each.

Above `max_segments`, the rarest go: all that occur less often than the smallest number that leaves few enough.
docs/notes.md has what that costs.
"""

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from aura.core.errors import UserError

Histogram = npt.NDArray[np.int64]  # rows of a count and of how many segments have it


@dataclass(frozen=True)
class Cap:
    """What training goes without.

    Attributes:
        min_count: occurrences of a segment that is learnt from, at least.
        segments: distinct ones that occur less often.
        occurrences: of these.
    """

    min_count: int
    segments: int
    occurrences: int

    def record(self) -> dict[str, int]:
        """The same for spiece_config.json."""
        return asdict(self)

    def __str__(self) -> str:
        """The same as a sentence."""
        return (
            f"max_segments: training leaves out {self.segments:,} distinct parts of words that occur less than "
            f"{self.min_count:,} times, {self.occurrences:,} occurrences in all"
        )


def histogram(segments: pa.Table) -> Histogram:
    """The histogram of the counts in a table of them."""
    return np.stack(np.unique(segments["count"].to_numpy(), return_counts=True), axis=1).astype(np.int64)


def added(histograms: list[Histogram]) -> Histogram:
    """One histogram of several."""
    values, place = np.unique(np.concatenate([one[:, 0] for one in histograms]), return_inverse=True)
    sums = np.zeros(len(values), np.int64)
    np.add.at(sums, place, np.concatenate([one[:, 1] for one in histograms]))
    return np.stack([values, sums], axis=1)


def fitting(histogram: Histogram, most: int) -> Cap | None:
    """The cap of the smallest `min_count` that leaves at most `most` segments; None if they all fit."""
    counts, segments = histogram[np.argsort(histogram[:, 0])].T
    kept = np.cumsum(segments[::-1])[::-1]  # that occur so often or more
    if not len(kept) or kept[0] <= most:
        return None
    first = int(np.searchsorted(-kept, -most))
    if first == len(kept):
        raise UserError(
            f"train_tokenizer.max_segments is {most:,}, but {kept[-1]:,} distinct parts of words occur most often, "
            f"{counts[-1]:,} times each. Set it to at least {kept[-1]}."
        )
    rare, times = segments[:first], counts[:first]
    return Cap(int(times[-1]) + 1, int(rare.sum()), int((rare * times).sum()))


def rows_within(segments: pa.Table, cap: Cap | None) -> pa.Table:
    """The rows that are learnt from."""
    return segments.filter(pc.field("count") >= cap.min_count) if cap else segments

"""The outcome of all rules for each document: in which split it is, the counts, and the hash of each split.

The hash of a split is the SHA-256 of its documents' hashes in order. Ranges of hashes are sorted apart, and read in
order, 16 bytes a document; so a range's hashes are all that is held.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
import xxhash

from aura.core.terms import SPLITS
from aura.corpus.corpus import first_in_training, hash_halves, is_held_out
from aura.select import duplicates, parts
from aura.select.candidates import Mask, Work, column, documents
from aura.select.choices import Limits, standing, under_caps, within_share

TRAIN, HELD_OUT = (SPLITS.index(split) + 1 for split in ("train", "held_out"))  # 0: dropped


@dataclass(frozen=True)
class Outcome:
    """The number of documents that a shard got, and of them that each split did, by the rules."""

    documents: int
    masks: list[str]  # a hash for each split of which documents it holds
    splits: dict[str, dict[str, int]]  # documents and bytes


def settle(
    group: tuple[int, Sequence[int], Limits | None],
    *,
    work: Work,
    rules: Mapping[str, Sequence[str]],
    held_out: float,
) -> tuple[list[Outcome], Counter[str]]:
    """Decide each document of a group; returns the outcome of each shard, and the documents dropped by rule.

    Arguments:
        group: its number, the documents of each of its shards, and the limits of its source if that has caps.
        rules: the rules on duplicates under each reason, in order.
    """
    number, counts, limits = group
    table, dropped = documents(work, number), Counter[str]()
    hashes = column(table, "text_hash")
    keep, so_far = np.ones(len(table), dtype=bool), list[str]()
    for reason, some in rules.items():
        so_far += some
        dropped[reason] = int(keep.sum())
        keep = standing(work, number, so_far)
        dropped[reason] -= int(keep.sum())
    if limits is not None:
        inside = keep & within_share(hashes, limits.share)
        dropped["beyond its share"] = int(keep.sum() - inside.sum())
        keep = inside & under_caps(table, number, limits)
        dropped["over a cap"] = int(inside.sum() - keep.sum())
    split = np.where(is_held_out(hashes, held_out), HELD_OUT, TRAIN).astype(np.uint8)
    split[~keep] = 0
    split.tofile(work.file("splits", number))
    _write_hashes(work, number, *(half[keep] for half in hash_halves(hashes)))
    sizes = table.column("size").to_numpy()
    ends = pairwise(accumulate(counts, initial=0))
    return [_outcome(split[start:end], sizes[start:end]) for start, end in ends], dropped


def _outcome(split: np.ndarray, sizes: np.ndarray) -> Outcome:
    masks = {name: split == number for name, number in zip(SPLITS, (TRAIN, HELD_OUT), strict=True)}
    digests = [xxhash.xxh3_128_hexdigest(np.packbits(mask).tobytes()) for mask in masks.values()]
    counts = {name: {"documents": int(mask.sum()), "bytes": int(sizes[mask].sum())} for name, mask in masks.items()}
    return Outcome(len(split), digests, counts)


def masks(work: Work, group: int, start: int, count: int) -> dict[str, Mask]:
    """Mark the documents that go into each split, of `count` documents of a group from row `start` on."""
    split = np.fromfile(work.file("splits", group), dtype=np.uint8, count=count, offset=start)
    return {name: split == number for name, number in zip(SPLITS, (TRAIN, HELD_OUT), strict=True)}


def _write_hashes(work: Work, group: int, high: parts.Numbers, low: parts.Numbers) -> None:
    order = _sorted(high, low)
    table = np.stack([high[order], low[order]], axis=1)
    parts.write(work.file("kept", group), table, table[:, duplicates.HIGH], parts.bounds(work.ranges))


def _sorted(high: parts.Numbers, low: parts.Numbers) -> np.ndarray:
    """The order of hashes; the second halves are looked at only where the first ones are equal somewhere."""
    order = np.argsort(high)
    alike = (high[order[1:]] == high[order[:-1]]).any()
    return np.lexsort((low, high)) if alike else order


def sort_hashes(number: int, *, work: Work) -> None:
    """Write the hashes of all kept documents in one range, in order."""
    table = parts.gathered(work.files("kept", len(work.ranks)), number, 2)
    order = _sorted(table[:, duplicates.HIGH], table[:, duplicates.LOW])
    parts.write(work.file("sorted", number), table[order, :2], table[order, duplicates.HIGH], parts.bounds(1))


def hashes(work: Work, held_out: float) -> dict[str, str]:
    """Compute the value of `corpus_hash` for each split, out of the sorted ranges."""
    digests, border = {split: hashlib.sha256() for split in SPLITS}, first_in_training(held_out)
    for number in range(work.ranges):
        table = parts.read(work.file("sorted", number), 0)
        cut = int(np.searchsorted(table[:, duplicates.HIGH], border))
        digests["held_out"].update(table[:cut].astype(">u8").tobytes())
        digests["train"].update(table[cut:].astype(">u8").tobytes())
    return {split: digest.hexdigest() for split, digest in digests.items()}

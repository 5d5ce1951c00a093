"""Signatures of documents (MinHash, Broder 1997): 128 numbers that estimate how many runs of five words two share.

An estimate is within 0.09 of the Jaccard similarity (two standard errors). `datasketch` defines the numbers. They are
kept in the action cache per extracted shard; a selection lays them out once more per group, 512 bytes a document,
because pairs of documents look up theirs.
"""

import threading
from collections.abc import Sequence
from functools import cache as once
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import xxhash

from aura.core import unicode
from aura.core.keys import action_key
from aura.corpus.corpus import batches
from aura.select import duplicates
from aura.select.candidates import Group, Shard, Work, together
from aura.select.choices import standing
from aura.select.parts import Numbers
from aura.storage.cache import Cache
from aura.storage.placement import at_once

PERMUTATIONS, WORDS, SEED = 128, 5, 1
_BLOCK = 512  # runs of words that are permuted at once
_SPACE = ord(" ")
_READ_BYTES = 16_000_000  # of shards whose signatures are read at once, which may be 20 times as large
_OF_THREAD = threading.local()
Signatures = npt.NDArray[np.uint32]


def key(shard: Shard, code: str) -> str:
    """The key of a shard's signatures."""
    return action_key("signatures", code, shard.digest)


def keep(shards: Sequence[Shard], *, cache: Cache, code: str) -> None:
    """Sign the documents of some shards at once, and keep the signatures in the cache."""
    at_once(lambda shard: len(_sign(shard, cache, code)), shards, len(shards))


def _sign(shard: Shard, cache: Cache, code: str) -> bytes:
    with shard.file.opened() as opened:
        some = batches(pq.ParquetFile(opened), ["text"])
        data = b"".join(signature(text).tobytes() for batch in some for text in batch.column("text").to_pylist())
    cache.put(key(shard, code), {}, {"signatures": data})
    return data


def signature(text: str) -> Signatures:
    """The signature of a text: of `datasketch`'s MinHash, in a fourth of its time, and in blocks."""
    joined = " ".join(unicode.lower(text).split()).encode()
    spaces = np.flatnonzero(np.frombuffer(joined, dtype=np.uint8) == _SPACE)
    number = max(len(spaces) + 2 - WORDS, 1)  # a text of fewer words is one run
    starts = [0, *(spaces[: number - 1] + 1).tolist()]
    ends = [*spaces[WORDS - 1 :].tolist(), len(joined)]
    runs = [joined[start:end] for start, end in zip(starts, ends, strict=True)]
    mixed, (factors, terms) = _mixed(np.fromiter(map(xxhash.xxh32_intdigest, runs), np.uint32, number)), permutations()
    found = np.full(PERMUTATIONS, 2**32 - 1, dtype=np.uint32)
    for block in range(0, number, _BLOCK):
        some = mixed[block : block + _BLOCK]
        permuted = np.multiply(factors[:, None], some, out=_room()[:, : len(some)])
        permuted += terms[:, None]
        np.minimum(found, permuted.min(axis=1), out=found)
    return found


@once
def permutations() -> npt.NDArray[np.uint32]:
    """The factors and terms that `datasketch` permutes hashes by; its import takes longer than 3,000 signatures."""
    chance = np.random.RandomState(SEED)
    factors = chance.randint(0, 1 << 31, PERMUTATIONS, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    return np.stack([factors, chance.randint(0, 1 << 32, PERMUTATIONS, dtype=np.uint32)])


def _room() -> Signatures:
    """Memory of a thread for a block, used again: fresh memory takes longer than the work in it."""
    if not hasattr(_OF_THREAD, "room"):
        _OF_THREAD.room = np.empty((PERMUTATIONS, _BLOCK), dtype=np.uint32)
    room: Signatures = _OF_THREAD.room
    return room


def _mixed(hashes: Signatures) -> Signatures:
    """The hashes after the last step of MurmurHash3, with which `datasketch` spreads them."""
    hashes = (hashes ^ (hashes >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    hashes = (hashes ^ (hashes >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return hashes ^ (hashes >> np.uint32(16))


def lay_out(group: Group, *, work: Work, rules: list[str]) -> None:
    """Write a group's signatures, and their hashes for `duplicates.decide`, of the documents that `rules` left in."""
    path = work.file("signatures", group.number)
    with path.open("wb") as file:
        for some in together(group.shards, _READ_BYTES):
            file.writelines(at_once(partial(_signed, work=work), some, len(some)))
    table, rows = of_group(path), np.flatnonzero(standing(work, group.number, rules))
    digests = b"".join(xxhash.xxh3_128_digest(table[row].tobytes()) for row in rows.tolist())
    halves = np.frombuffer(digests, dtype=">u8").astype(np.uint64).reshape(-1, 2)
    duplicates.write_keys(work, "alike", group.number, halves[:, 0], halves[:, 1], rows.astype(np.uint64))


def _signed(shard: Shard, *, work: Work) -> bytes:
    """The signatures of a shard, made anew if the cache lost them."""
    entry = work.cache.get(key(shard, work.code))
    data = entry.read("signatures") if entry else None
    return _sign(shard, work.cache, work.code) if data is None else data


def of_group(path: Path) -> Signatures:
    """The signatures of a group, mapped."""
    if path.stat().st_size == 0:
        return np.zeros((0, PERMUTATIONS), dtype=np.uint32)
    return np.memmap(path, dtype=np.uint32, mode="r").reshape(-1, PERMUTATIONS)


def of_documents(work: Work, groups: Numbers, rows: Numbers) -> Signatures:
    """The signatures of documents of several groups."""
    found = np.empty((len(rows), PERMUTATIONS), dtype=np.uint32)
    for group in np.unique(groups).tolist():
        mine = np.flatnonzero(groups == group)
        found[mine] = of_group(work.file("signatures", group))[rows[mine].astype(np.int64)]
    return found


def alike(equal: npt.NDArray[np.bool_], similarity: float) -> npt.NDArray[np.bool_]:
    """Mark the pairs that are nearly the same; `equal` marks their equal numbers: (pairs, PERMUTATIONS)."""
    close = np.count_nonzero(equal, axis=1) / PERMUTATIONS >= similarity
    share = [equal[close, band].all(axis=1) for band in bands(similarity)]  # and not its hash alone
    close[close] = np.any(share, axis=0)
    return np.asarray(close)


@once
def bands(similarity: float) -> list[slice]:
    """The parts of a signature of which two documents must share one to be compared, as `datasketch` cuts them.

    Of all numbers of bands and sizes, those with the smallest error: the chance that two documents share a band, added
    up over the similarities below `similarity`, and the chance that they share none, over those above.
    """
    cuts = [(band, size) for band in range(1, PERMUTATIONS + 1) for size in range(1, PERMUTATIONS // band + 1)]
    number, size = np.array(cuts).T[:, :, None]
    nodes, weights = np.polynomial.legendre.leggauss(PERMUTATIONS)  # exact for these polynomials
    below, above = similarity * (nodes + 1) / 2, similarity + (1 - similarity) * (nodes + 1) / 2
    shared, missed = 1 - (1 - below**size) ** number, (1 - above**size) ** number
    error = similarity * (shared @ weights) + (1 - similarity) * (missed @ weights)
    many, long = cuts[int(np.argmin(error))]
    if many < 2:  # from 0.985 on; then one number may differ, and two halves miss no pair
        many, long = 2, PERMUTATIONS // 2
    return [slice(start, start + long) for start in range(0, many * long, long)]

"""Signatures of documents (MinHash, Broder 1997): 128 numbers that estimate how many runs of five words two share.

An estimate is within 0.09 of the Jaccard similarity (two standard errors). `datasketch` defines the numbers. They are
kept in the action cache per extracted shard; a selection lays them out once more per group, 512 bytes a document,
because pairs of documents look up theirs.
"""

from functools import cache as once
from itertools import accumulate
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import xxhash

from aura.core.keys import action_key
from aura.select import duplicates
from aura.select.candidates import Group, Shard, Work
from aura.select.choices import standing
from aura.select.parts import Numbers
from aura.storage.cache import Cache

PERMUTATIONS, WORDS, SEED = 128, 5, 1
_BLOCK = 256  # runs of words that are permuted at once
Signatures = npt.NDArray[np.uint32]


def key(shard: Shard, code: str) -> str:
    """The key of a shard's signatures."""
    return action_key("signatures", code, shard.digest)


def keep(shard: Shard, *, cache: Cache, code: str) -> None:
    """Sign a shard's documents and keep the signatures in the cache."""
    _sign(shard, cache, code)


def _sign(shard: Shard, cache: Cache, code: str) -> bytes:
    with shard.file.opened() as opened:
        batches = pq.ParquetFile(opened).iter_batches(batch_size=256, columns=["text"])
        data = b"".join(signature(text).tobytes() for batch in batches for text in batch.column("text").to_pylist())
    cache.put(key(shard, code), {}, {"signatures": data})
    return data


def signature(text: str) -> Signatures:
    """The signature of a text: of `datasketch`'s MinHash, in a third of its time, and in blocks."""
    joined = " ".join(text.lower().split()).encode()
    lengths = list(map(len, joined.split(b" ")))
    ends = list(accumulate(lengths, lambda end, length: end + 1 + length))
    starts = [0, *(end + 1 for end in ends)]
    # A text of fewer words is one run.
    hashes = [
        xxhash.xxh32_intdigest(joined[start:end])
        for start, end in zip(starts, ends[WORDS - 1 :] or ends[-1:], strict=False)
    ]
    mixed, (factors, terms) = _mixed(np.array(hashes, dtype=np.uint32)), _permutations()
    found = np.full(PERMUTATIONS, 2**32 - 1, dtype=np.uint32)
    for block in range(0, len(mixed), _BLOCK):
        some = mixed[block : block + _BLOCK, None]
        permuted = np.multiply(some, factors, out=_room()[: len(some)])
        permuted += terms
        np.minimum(found, permuted.min(axis=0), out=found)
    return found


@once
def _permutations() -> npt.NDArray[np.uint32]:
    from datasketch import MinHash

    return np.asarray(MinHash(PERMUTATIONS, SEED, scheme="affine32").permutations)


@once
def _room() -> Signatures:
    """Memory for a block, used again: fresh memory takes longer than the work in it. A process signs in one thread."""
    return np.empty((_BLOCK, PERMUTATIONS), dtype=np.uint32)


def _mixed(hashes: Signatures) -> Signatures:
    """The hashes after the last step of MurmurHash3, with which `datasketch` spreads them."""
    hashes = (hashes ^ (hashes >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    hashes = (hashes ^ (hashes >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return hashes ^ (hashes >> np.uint32(16))


def lay_out(group: Group, *, work: Work, rules: list[str]) -> None:
    """Write a group's signatures, and their hashes for `duplicates.decide`, of the documents that `rules` left in."""
    path = work.file("signatures", group.number)
    with path.open("wb") as file:
        for shard in group.shards:
            entry = work.cache.get(key(shard, work.code))
            data = entry.read("signatures") if entry else None
            file.write(_sign(shard, work.cache, work.code) if data is None else data)
    table, rows = of_group(path), np.flatnonzero(standing(work, group.number, rules))
    digests = b"".join(xxhash.xxh3_128_digest(table[row].tobytes()) for row in rows.tolist())
    halves = np.frombuffer(digests, dtype=">u8").astype(np.uint64).reshape(-1, 2)
    duplicates.write_keys(work, "alike", group.number, halves[:, 0], halves[:, 1], rows.astype(np.uint64))


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
    """The parts of a signature of which two documents must share one to be compared, as `datasketch` cuts them."""
    from datasketch import MinHashLSH

    try:
        index = MinHashLSH(threshold=similarity, num_perm=PERMUTATIONS)
    except ValueError:  # from 0.985 on it refuses; then one number may differ, and two halves miss no pair
        return [slice(0, PERMUTATIONS // 2), slice(PERMUTATIONS // 2, PERMUTATIONS)]
    return [slice(*ends) for ends in index.hashranges]

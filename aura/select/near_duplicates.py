"""Near duplicates: documents that share most of their runs of five words, found by MinHash (Broder 1997).

A signature of 128 numbers per document estimates the Jaccard similarity of two documents' word runs within 0.09
(two standard errors); locality-sensitive hashing finds the pairs worth comparing. `datasketch` does both. Signatures
cost 1 ms a document and are kept in the action cache per extracted shard; the comparison takes 3 kB of memory and
0.2 ms per document. Of documents that are alike, the first by source and name stays.
"""

from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import xxhash

from aura.core import parallel
from aura.core.keys import action_key
from aura.select.candidates import Mask, ShardColumns, column, kept, sources
from aura.storage import placement
from aura.storage.cache import Cache

PERMUTATIONS, WORDS, SEED = 128, 5, 1
SMALL = 2_000_000  # bytes of Parquet; signatures of less take no longer than starting workers
Signatures = npt.NDArray[np.uint32]


def without_near_duplicates(shards: list[ShardColumns], similarity: float, cache: Cache, code: str) -> Mask:
    """Mark the documents that are not nearly the same as an earlier one, by source and name, among those still in."""
    from datasketch import MinHash, MinHashLSH

    signatures = np.concatenate(_signatures(shards, cache, code))
    names, docs, keep = sources(shards), column(shards, "doc").to_pylist(), kept(shards)
    index = MinHashLSH(threshold=similarity, num_perm=PERMUTATIONS)
    for row in sorted(np.flatnonzero(keep), key=lambda row: (names[row], docs[row])):
        mine = signatures[row]
        candidates = index.query(signature := MinHash(PERMUTATIONS, SEED, hashvalues=mine, scheme="affine32"))
        if any(np.mean(signatures[other] == mine) >= similarity for other in candidates):
            keep[row] = False
        else:
            index.insert(int(row), signature)
    return keep


def _signatures(shards: list[ShardColumns], cache: Cache, code: str) -> list[Signatures]:
    missing = [shard for shard in shards if cache.get(_key(code, shard.digest)) is None]
    with parallel.executors(SMALL) as executor_for:
        pool = executor_for(sum(shard.file.size for shard in missing))
        work = partial(_sign_shard, cache=cache, code=code)
        for _ in parallel.ordered_map(pool, work, [(shard.file, shard.digest) for shard in missing]):
            pass
        return [_known(shard, cache, code) for shard in shards]


def _key(code: str, digest: str) -> str:
    return action_key("signatures", code, digest)


def _known(shard: ShardColumns, cache: Cache, code: str) -> Signatures:
    entry = cache.get(_key(code, shard.digest))
    data = entry.read("signatures") if entry else None
    if data is None:
        data = _sign_shard((shard.file, shard.digest), cache=cache, code=code)
    return np.frombuffer(data, dtype=np.uint32).reshape(-1, PERMUTATIONS)


def _sign_shard(shard: tuple[placement.ShardFile, str], *, cache: Cache, code: str) -> bytes:
    """The signatures of a shard's documents, kept in the cache; runs in a worker process."""
    file, digest = shard
    with file.opened() as opened:
        batches = pq.ParquetFile(opened).iter_batches(batch_size=256, columns=["text"])
        data = b"".join(_signature(text).tobytes() for batch in batches for text in batch.column("text").to_pylist())
    cache.put(_key(code, digest), {}, {"signatures": data})
    return data


def _signature(text: str) -> Signatures:
    from datasketch import MinHash

    words = text.lower().split()
    runs = {" ".join(words[start : start + WORDS]) for start in range(max(1, len(words) - WORDS + 1))}
    signature = MinHash(PERMUTATIONS, SEED, hashfunc=xxhash.xxh32_intdigest, scheme="affine32")
    signature.update_batch([run.encode() for run in runs])
    return np.asarray(signature.hashvalues, dtype=np.uint32)

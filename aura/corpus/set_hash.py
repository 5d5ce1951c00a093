"""The corpus hash: SHA-256 over all text hashes in order, equal for equal sets of documents, however they lie in files.

A task reads the hashes of some shards, a 200th of their bytes, and writes them in order. The calling process then
merges those files, range of hashes by range. It holds one range: 16 bytes for each of a million documents, or of a
1024th of them all. It also holds where each range begins in each file, 8 kB a file. The files take 16 bytes a document.
"""

import hashlib
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from aura.core import parallel
from aura.core.errors import UserError
from aura.corpus.corpus import hash_halves, shards
from aura.storage.placement import ShardFile, at_once

SMALL = 256_000_000  # bytes of Parquet; to verify and read less takes no longer than starting workers
GROUP_SHARDS, GROUP_BYTES = 64, 512_000_000  # that a task reads, at most
GROUPS = 4096  # about; of so many, each has more shards and bytes
RANGES = 1024  # that a file of hashes can be read by
RANGE_HASHES = 1 << 20  # hashes that are merged at a time, or those of one range
Hashes = npt.NDArray[np.uint64]  # (documents, 2): both halves of each
Cuts = npt.NDArray[np.int64]  # rows of a file at which ranges begin, and their number


def corpus_hash(
    folder: Path, scratch: Path | None = None, cluster: str | None = None, found: Sequence[ShardFile] | None = None
) -> str:
    """The hash of the documents in `folder`.

    Arguments:
        scratch: a folder for the files, which all workers must see; without it, one in TMPDIR, and no cluster.
        cluster: the address of a cluster; without it, this machine's cores do the work.
        found: the shards of the folder; those that this run has compared are not compared again.
    """
    groups = list(_groups(shards(folder) if found is None else found))
    size = sum(shard.size for group in groups for shard in group)
    with (
        tempfile.TemporaryDirectory(dir=scratch, prefix="hashes-") as work,
        parallel.executors(SMALL, cluster if scratch else None) as executor_for,
    ):
        files = [Path(work, str(number)) for number in range(len(groups))]
        pool = executor_for(size, len(groups))
        cuts = list(parallel.ordered_map(pool, _write_sorted, zip(groups, files, strict=True)))
        return _merged(files, np.stack(cuts))


def _groups(found: Sequence[ShardFile]) -> Iterator[list[ShardFile]]:
    most_shards = max(GROUP_SHARDS, -(-len(found) // GROUPS))
    most_bytes = max(GROUP_BYTES, sum(shard.size for shard in found) // GROUPS)
    group: list[ShardFile] = []
    size = 0
    for shard in found:
        if group and (len(group) == most_shards or size + shard.size > most_bytes):
            yield group
            group, size = [], 0
        group.append(shard)
        size += shard.size
    yield group


def _write_sorted(task: tuple[Sequence[ShardFile], Path]) -> Cuts:
    """Write the hashes of some shards in order; returns where each range begins."""
    group, path = task
    hashes = _sorted(np.concatenate(at_once(_hashes, group)))
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")  # a task may run twice
    hashes.tofile(partial)
    partial.replace(path)
    bounds = np.arange(1, RANGES, dtype=np.uint64) << np.uint64(64 - 10)
    return np.concatenate([[0], np.searchsorted(hashes[:, 0], bounds), [len(hashes)]])


def _hashes(shard: ShardFile) -> Hashes:
    with shard.skimmed() as file:
        column = pq.read_table(file, columns=["text_hash"]).column("text_hash").combine_chunks()
    return np.stack(hash_halves(column), axis=1)


def _merged(files: Sequence[Path], cuts: npt.NDArray[np.int64]) -> str:
    """The SHA-256 of the hashes of all files in order; `cuts` are those of each file."""
    digest, first = hashlib.sha256(), 0
    counts = np.diff(cuts).sum(axis=0)
    while first < RANGES:
        end = first + 1
        while end < RANGES and counts[first : end + 1].sum() <= RANGE_HASHES:
            end += 1
        found = [_read(file, *rows) for file, rows in zip(files, cuts[:, [first, end]].tolist(), strict=True)]
        digest.update(_sorted(np.concatenate(found)).astype(">u8").tobytes())
        first = end
    return digest.hexdigest()


def _read(file: Path, start: int, end: int) -> Hashes:
    found = np.fromfile(file, np.uint64, 2 * (end - start), offset=16 * start).reshape(-1, 2)
    if len(found) != end - start:
        raise UserError(f"{file}: expected {end - start:,} hashes, got {len(found):,}. Run the same command again.")
    return found


def _sorted(hashes: Hashes) -> Hashes:
    """Hashes in order; the second halves are looked at only where first ones are equal."""
    order = np.argsort(hashes[:, 0])
    alike = (hashes[order[1:], 0] == hashes[order[:-1], 0]).any()
    return np.asarray(hashes[np.lexsort((hashes[:, 1], hashes[:, 0])) if alike else order])

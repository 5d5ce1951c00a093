"""From packs to Parquet shards: those that the action cache knows are recalled, the others put together.

A shard's key names the files in it, or the blocks of large ones, in order; documents pass from pack to shard on
disk, and a shard is written one row group at a time.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import xxhash

from aura.cache import Cache, action_key
from aura.ingestion import accounts, packs
from aura.ingestion.packs import Pack
from aura.ingestion.shards import ShardWriter
from aura.placement import Kept, Place


@dataclass(frozen=True)
class Shard:
    """A shard to write: its number, its key in the cache, and the keys of the packs with rows of it."""

    number: int
    key: str
    holders: list[str]

    def path(self, folder: Path) -> Path:
        """Its file."""
        return folder / f"{self.number:04d}.parquet"


def planned(namespace: str, stored: Iterable[Pack]) -> list[Shard]:
    """Every shard that gets documents."""
    digests: dict[int, Any] = {}
    holders: dict[int, list[str]] = {}
    for pack in stored:
        files, hashes, rows = (pack.accounts[name].to_pylist() for name in ("file", "digest", "rows"))
        for file, digest, entries in zip(files, hashes, rows, strict=True):
            for shard, _ in entries:
                digests.setdefault(shard, xxhash.xxh3_128()).update(f"{file}\0{digest}\0".encode())
        for shard in accounts.shards(pack.accounts):
            holders.setdefault(shard, []).append(pack.key)
    return [
        Shard(number, action_key("shard", namespace, number, digests[number].hexdigest()), holders[number])
        for number in sorted(digests)
    ]


def recall(shard: Shard, *, cache: Cache, folder: Path, place: Place) -> Kept | None:
    """Put a shard that was made before where it belongs; None if the cache does not know it, undamaged."""
    return place.recall(cache, shard.key, {"parquet": shard.path(folder)})


def write(shard: Shard, *, cache: Cache, folder: Path, place: Place) -> Kept | None:
    """Write one shard and keep it; None if the cache no longer has a pack with rows of it. Runs in a worker process."""
    writer = ShardWriter(shard.path(folder))
    whole = True
    for holder in shard.holders:
        table = packs.documents(cache, holder, shard.number)
        if table is None:
            whole = False  # and the others are looked at too, so that all that is lost is missed next
        else:
            writer.add(table)
    writer.close()
    pa.default_memory_pool().release_unused()  # else each worker grows with the shards it has written
    return place.keep(cache, shard.key, {}, {"parquet": shard.path(folder)}) if whole else None

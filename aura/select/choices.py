"""The rules of selection: each says which documents may stay, by hashes, so that it holds still when the corpus grows.

A source's `share` says how much of it stays, not how often it repeats: a corpus is a set of documents, and what
counts in a mixture is the proportion, which smaller shares of the other sources give as well. Shares and caps keep
the documents with the lowest hashes, so a lower one keeps a part of what a higher one does.
"""

import re

import numpy as np
import pyarrow as pa
import xxhash

from aura.corpus.corpus import hash_halves
from aura.select.candidates import Mask, ShardColumns, column, kept, sources
from aura.select.options import Caps

NUMBER = re.compile(r"#\d+$")  # of a document in a file of many


def first_of_each_hash(shards: list[ShardColumns]) -> Mask:
    """Of documents with one text, the first by source and name stays, whatever shards they lie in."""
    high, low = hash_halves(column(shards, "text_hash"))
    order = np.lexsort((low, high))
    same_as_previous = np.concatenate([[False], (np.diff(high[order]) == 0) & (np.diff(low[order]) == 0)])
    group = np.cumsum(~same_as_previous)
    several = np.isin(group, group[same_as_previous])
    rows = order[several]
    names, docs = sources(shards)[rows], column(shards, "doc").take(pa.array(rows)).to_pylist()
    members: dict[int, list[tuple[str, str, int]]] = {}
    for number, *member in zip(group[several].tolist(), names, docs, rows.tolist(), strict=True):
        members.setdefault(number, []).append(tuple(member))
    keep = np.ones(len(order), dtype=bool)
    for same in members.values():
        keep[[row for _, _, row in sorted(same)[1:]]] = False
    return keep


def within_share(shards: list[ShardColumns], source: str, share: float) -> Mask:
    """Of `source`, the documents whose hash lies below `share` of the range; all of other sources."""
    # Not the half that decides the split, or a share would choose held-out documents first.
    rank = hash_halves(column(shards, "text_hash"))[1]
    return np.asarray((sources(shards) != source) | (rank / 2.0**64 < share), dtype=bool)


def under_caps(shards: list[ShardColumns], source: str, caps: Caps) -> Mask:
    """The documents of `source` with the lowest hashes that fit under its caps; all of other sources."""
    mine = np.asarray(sources(shards) == source, dtype=bool)
    keep = kept(shards) & mine
    rank = hash_halves(column(shards, "text_hash"))[1]  # see within_share
    if caps.max_files is not None:
        files = [NUMBER.sub("", doc) for doc in column(shards, "doc").to_pylist()]
        hashes = np.array([xxhash.xxh3_64_intdigest(file.encode()) for file in files], dtype=np.uint64)
        keep &= np.isin(hashes, np.unique(hashes[keep])[: caps.max_files])
    order = np.flatnonzero(keep)
    order = order[np.argsort(rank[order], kind="stable")][: caps.max_documents]
    if caps.max_bytes is not None:
        sizes = column(shards, "size").to_numpy()[order]
        order = order[np.cumsum(sizes) <= caps.max_bytes]
    allowed = ~mine
    allowed[order] = True
    return allowed

"""Segment counts of a corpus, shard by shard: on all cores, and only of the shards that changed.

Counts add up, so each corpus shard is counted on its own and kept in the action cache under the shard's SHA-256 and
what decides where words are cut; tokenizers of other sizes or types, and a corpus with one changed document, find
nearly all of it there. Words stay within their shard, and only their segments, which are far fewer, are added up:
so memory is bounded by the largest shard and the distinct segments, whatever the size of the corpus.
"""

import sys
from collections.abc import Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pyarrow as pa

from aura.core import parallel
from aura.core.keys import action_key, code_key
from aura.corpus import corpus
from aura.storage.cache import Cache
from aura.storage.placement import ShardFile, at_once
from aura.tokenizer.arguments import checked_texts
from aura.train_tokenizer import counts, segments
from aura.train_tokenizer.counts import Account, Counts
from aura.train_tokenizer.segments import Splitting

SMALL = 4_000_000  # bytes of compressed shards; counting less takes no longer than starting workers
_PENDING = 2_000_000  # rows that wait to be added up
_LIBRARIES = ("numpy", "pyarrow")


def count_texts(texts: Iterable[str], splitting: Splitting) -> Counts:
    """The segment counts of some texts."""
    return _segmented(counts.count_words(checked_texts(texts)), splitting)


def count_corpus(folder: Path, splitting: Splitting, cache: Cache) -> Counts:
    """The segment counts of a corpus folder's documents: those of `count_texts`, in whatever shards they lie."""
    code = code_key((counts, segments, corpus, sys.modules[__name__]), _LIBRARIES)
    shards = corpus.shards(folder)
    recalled = at_once(lambda shard: _find(_key(shard, splitting, code), cache), shards)
    found = dict(zip(shards, recalled, strict=True))
    missing = [shard for shard in shards if found[shard] is None]
    with parallel.executors(SMALL) as executor_for:
        pool = executor_for(sum(shard.size for shard in missing), len(missing))
        made = parallel.ordered_map(pool, partial(_count, splitting=splitting, code=code, cache=cache), missing)
        return _total(next(made) if known is None else known for known in found.values())


def _segmented(words: Counts, splitting: Splitting) -> Counts:
    return Counts(segments.segments(words.table, splitting), words.account)


def _total(parts: Iterable[Counts]) -> Counts:
    """The sum of counts; rows wait until there are enough, because adding looks at all that was added before."""
    account, tables, pending = Account(), [], 0
    for part in parts:
        account += part.account
        tables.append(part.table)
        pending += len(part.table)
        if pending > max(_PENDING, len(tables[0])):
            tables, pending = [counts.added(tables)], 0
    return Counts(counts.added(tables), account)


def _key(shard: ShardFile, splitting: Splitting, code: str) -> str:
    return action_key("segments", code, asdict(splitting), shard.sha256())


def _count(shard: ShardFile, *, splitting: Splitting, code: str, cache: Cache) -> Counts:
    """Count one shard and keep the result; runs in a worker process."""
    result = _segmented(counts.count_arrays(corpus.read_column(shard, "text")), splitting)
    written = pa.BufferOutputStream()
    with pa.ipc.new_stream(written, counts.SCHEMA, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_table(result.table)
    cache.put(_key(shard, splitting, code), asdict(result.account), {"table": written.getvalue().to_pybytes()})
    return result


def _find(key: str, cache: Cache) -> Counts | None:
    entry = cache.get(key)
    table = entry.read("table") if entry else None
    if entry is None or table is None:
        return None
    return Counts(pa.ipc.open_stream(table).read_all(), Account(**entry.record))

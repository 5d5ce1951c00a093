"""Word counts of a corpus, shard by shard: on all cores, and only of the shards that changed.

Counts add up, so each corpus shard is counted on its own and kept in the action cache under the shard's SHA-256;
tokenizers of other sizes or types, and a corpus with one changed document, find nearly all of it there. The price
is 0.4 bytes of cache per byte of text, and adding up: 1.7 s for 108 MB in 16 shards, against 7.4 s of counting.
"""

import json
import sys
from collections import Counter
from functools import partial
from pathlib import Path

from aura import parallel
from aura.cache import Cache, action_key, code_key
from aura.files import sha256_file
from aura.ingestion import corpus
from aura.tokenizer import counts
from aura.tokenizer.counts import WordCounts, count_words

SMALL = 4_000_000  # bytes of compressed shards; counting less takes no longer than starting workers


def count_corpus(folder: Path, cache: Cache) -> WordCounts:
    """The word counts of a corpus folder's documents: those of `count_words`, in whatever shards they lie."""
    code = code_key((counts, corpus, sys.modules[__name__]), ("pyarrow",))
    shards = corpus.shards(folder)
    found = {shard: _find(_key(shard, code), cache) for shard in shards}
    missing = [shard for shard in shards if found[shard] is None]
    total = WordCounts()
    with parallel.executors(SMALL) as executor_for:
        pool = executor_for(sum(shard.stat().st_size for shard in missing))
        made = parallel.ordered_map(pool, partial(_count, code=code, cache=cache), missing)
        for known in found.values():
            total.add(next(made) if known is None else known)
    return total


def _key(shard: Path, code: str) -> str:
    return action_key("counts", code, sha256_file(shard))


def _count(shard: Path, *, code: str, cache: Cache) -> WordCounts:
    """Count one shard and keep the result; runs in a worker process."""
    key, result = _key(shard, code), count_words(corpus.read_shard(shard))
    account = [result.documents, result.bytes, result.cut_words, result.left_out]
    cache.put(key, account, {"words": json.dumps(result.words, ensure_ascii=False).encode()})
    return result


def _find(key: str, cache: Cache) -> WordCounts | None:
    entry = cache.get(key)
    words = entry.read("words") if entry else None
    if entry is None or words is None:
        return None
    documents, size, cut_words, left_out = entry.record
    return WordCounts(Counter(json.loads(words)), documents, size, cut_words, left_out)

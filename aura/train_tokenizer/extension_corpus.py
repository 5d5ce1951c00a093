"""An extension learnt from one corpus split, whose sources are new text, and old text if some are named so."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aura.core.errors import UserError
from aura.corpus import corpus
from aura.storage.cache import Cache
from aura.storage.placement import ShardFile
from aura.train_tokenizer import corpus_counts
from aura.train_tokenizer.extension import Extension, Rules, extended
from aura.train_tokenizer.segments import Splitting

MOST = 1_000_000  # distinct parts of words to learn from


def extended_by_corpus(
    base_file: Path,
    folder: Path,
    pieces: int,
    cache: Cache,
    *,
    splitting: Splitting,
    rules: Rules | None = None,
    old_sources: Sequence[str] = (),
    most: int | None = MOST,
    cluster: str | None = None,
    shards: Sequence[ShardFile] | None = None,
) -> Extension:
    """Extend a tokenizer by pieces of a corpus split.

    Arguments:
        base_file: the tokenizer to extend.
        folder: the split; all its documents are new text, those of `old_sources` are also to keep their ids.
        pieces: how many.
        cache: holds the counts of each shard.
        splitting: where words are cut; no piece lies across a cut.
        rules: which pieces may be new.
        old_sources: names of sources; one that the split does not have is a `UserError`.
        most: distinct segments to learn from, the rarest left out; some 1.8 kB of memory each (measured).
        cluster: address of a cluster that counts.
        shards: those of the folder, if they were listed before.
    """
    shards = corpus.shards(folder) if shards is None else shards
    counts = corpus_counts.count_corpus(folder, splitting, cache, most, cluster, shards)
    old = None
    if old_sources:
        found = _of_sources(shards, old_sources)
        old = corpus_counts.count_arrays(found, splitting)
        if not old.account.documents:
            raise UserError(f"no document of {folder} is of the sources {', '.join(old_sources)}, which hold old text")
    return extended(base_file, counts, pieces, rules, old)


def _of_sources(shards: Iterable[ShardFile], sources: Sequence[str]) -> Iterator[pa.Array]:
    """The texts of some sources, a few megabytes at a time."""
    names = pa.array([*sources], pa.string())
    for shard in shards:
        with shard.opened() as file:
            for batch in corpus.batches(pq.ParquetFile(file), ["text", "source"]):
                chosen = pc.is_in(batch.column("source").cast(pa.string()), value_set=names)
                yield batch.column("text").filter(chosen).cast(pa.large_string())

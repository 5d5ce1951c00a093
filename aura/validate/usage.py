"""The use of each piece in the whole corpus: held-out documents and training documents.

A piece that no held-out document uses may just be rare. Of 32,000 pieces that learnt from 16 MB, 0.3 MB of held-out
text leaves 84 % unused and 3 MB leave 50 %, though all but 0.04 % occur in the training text. Text of the whole corpus
says which pieces the model will never see, whatever share is held out. The price is that validation reads training
text, too: at most `most` bytes of Parquet, some 40 MB of text, from the shards whose names have the smallest hashes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import xxhash

from aura.core import console, parallel
from aura.corpus import corpus
from aura.storage.placement import ShardFile
from aura.tokenizer.model_file import Kind
from aura.tokenizer.opening import AnyTokenizer
from aura.validate.held_out import BATCH, loaded

ENOUGH = 100  # tokens of text per learnt piece: with fewer, pieces that are unused in a part of a corpus may be rare
RARE = 100  # occurrences, below which a piece is hard to learn (Gowda & May 2020, 2020.findings-emnlp.352)
SMALL = 1_000_000  # bytes of Parquet, below which starting processes costs more than it saves
PARTS = 16  # shards that a sample is of at least, where there are so many

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Usage:
    """The occurrences of learnt pieces in the text that was looked at.

    Attributes:
        pieces: ids of the learnt pieces.
        counts: occurrences of each.
        whole: whether that was all text of the corpus.
    """

    pieces: Counts
    counts: Counts
    whole: bool

    @property
    def unused(self) -> list[int]:
        """The ids of learnt pieces that occur nowhere in the text."""
        return [int(token) for token in self.pieces[self.counts == 0]]

    @property
    def unused_share(self) -> float:
        """Unused learnt pieces / learnt pieces."""
        return len(self.unused) / max(len(self.pieces), 1)

    @property
    def rare_share(self) -> float:
        """Learnt pieces that occur fewer than RARE times / learnt pieces."""
        return int((self.counts < RARE).sum()) / max(len(self.pieces), 1)

    @property
    def tokens_per_piece(self) -> float:
        """Mean occurrences of a learnt piece."""
        return int(self.counts.sum()) / max(len(self.pieces), 1)

    @property
    def is_enough(self) -> bool:
        """Return whether unused pieces may be judged: the text is the whole corpus, or long for this vocabulary."""
        return self.whole or self.tokens_per_piece >= ENOUGH


def usage(
    model: Path,
    tokenizer: AnyTokenizer,
    held_out: Counts,
    share: float,
    training: Path | None,
    most: float,
    cluster: str | None = None,
) -> Usage:
    """Count the learnt pieces of the tokenizer in `model` over the corpus.

    Arguments:
        model: the file that other processes load.
        tokenizer: the one in `model`.
        held_out: occurrences of each id in held-out text.
        share: of the held-out documents, that was counted.
        training: the folder of the training documents; None where they are not at hand.
        most: bytes of the training documents' Parquet files that are read.
        cluster: the address of a cluster; without it, this machine's cores do the work.
    """
    total, whole = held_out.copy(), False
    if training is not None:
        shards = corpus.shards(training)
        parts = sample(shards, most)
        whole = share == 1 and parts == [(shard, 1.0) for shard in shards]
        work = partial(count_pieces, model, tokenizer.sha256)
        with parallel.executors(SMALL, cluster) as executor_for:
            pool = executor_for(int(sum(part * shard.size for shard, part in parts)), len(parts))
            done = parallel.ordered_map(pool, work, parts)
            for ids, counts in console.track(done, "looking for pieces in use", len(parts)):
                total[ids] += counts
    pieces = np.flatnonzero([kind is Kind.LEARNT for kind in tokenizer.kinds])
    return Usage(pieces, total[pieces], whole)


def sample(shards: Sequence[ShardFile], most: float) -> list[tuple[ShardFile, float]]:
    """Return the shards to read, each with the share of its rows: 1 for all, if they have at most `most` bytes."""
    if sum(shard.size for shard in shards) <= most:
        return [(shard, 1.0) for shard in shards]
    limit, size = max(most / len(shards), most / PARTS), 0.0
    chosen = []
    for shard in sorted(shards, key=lambda shard: xxhash.xxh3_64_intdigest(shard.path.name.encode())):
        if size >= most:
            break
        chosen.append((shard, min(1.0, limit / shard.size)))
        size += min(limit, shard.size)
    return chosen


def count_pieces(model: Path, sha256: str, part: tuple[ShardFile, float]) -> tuple[Counts, Counts]:
    """The ids that occur in the first rows of a shard, as many as that share of them, with their counts."""
    shard, share = part
    tokenizer, read = loaded(model, sha256), 0
    counts = np.zeros(tokenizer.vocab_size, np.int64)
    with shard.opened() if share == 1 else shard.skimmed() as opened:
        file = pq.ParquetFile(opened)
        rows = math.ceil(share * file.metadata.num_rows)
        for batch in corpus.batches(file, ["text"], min(BATCH, max(rows, 1))):
            encoded = tokenizer.encode_batch(batch.column("text").to_pylist())
            counts += np.bincount(np.concatenate(encoded), minlength=len(counts))
            read += len(batch)
            if read >= rows:
                break
    used = np.flatnonzero(counts)
    return used, counts[used]

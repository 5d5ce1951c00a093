"""Encoding one corpus file into one token shard: the work of a task, in this process or another.

Documents are read, encoded, checked and written in blocks, so memory holds two blocks a thread, and not the shard.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aura.core import parallel
from aura.corpus import corpus
from aura.corpus.shards import GROUP_DOCUMENTS
from aura.encode import kept_units
from aura.encode.encoding_check import EncodingCheck
from aura.encode.options import Encode
from aura.storage.cache import Cache
from aura.storage.placement import Kept, ShardFile, ShardPlace
from aura.tokenizer import unit_table
from aura.tokenizer.opening import AnyTokenizer
from aura.tokens import token_shards
from aura.tokens.mapped_ids import Ids
from aura.tokens.shard_writer import TokenShardWriter


@dataclass(frozen=True)
class Task:
    """A corpus file, and the token shard that it becomes."""

    file: ShardFile
    path: str  # of the corpus file, in the manifest
    key: str  # of the token shard, in the action cache
    targets: dict[str, Path]
    threads: int = 1  # they change the speed and nothing else
    keeps_units: bool = False  # whether the table of units is kept for the next run, as it is after this task

    def __str__(self) -> str:
        return self.path


class _Threads(ThreadPoolExecutor):
    """Threads for which two blocks each are read ahead."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.in_flight = 2 * number


def encode_shard(
    task: Task,
    *,
    load: Callable[[], AnyTokenizer],
    layout: Encode,
    output: Path,
    cache: Cache,
    place: ShardPlace,
) -> Kept:
    """Write the token shard of one corpus file below `output`, and keep it; the record is its entry.

    `load` gives the tokenizer.
    """
    tokenizer = load()
    check = EncodingCheck(tokenizer, layout)
    encode = partial(_encoded, path=task.path, tokenizer=tokenizer, layout=layout, check=check)
    name, dtype = task.path.removesuffix(".parquet"), token_shards.id_dtype(tokenizer.vocab_size)
    documents = 0
    with TokenShardWriter(output, name, dtype) as writer:
        with _Threads(task.threads) if task.threads > 1 else parallel.SerialExecutor() as pool:
            for ids, index in parallel.ordered_map(pool, encode, blocks(task.file)):
                check.marks(task.path, ids, index["tokens"].to_numpy(), documents)
                writer.add(ids, index)
                documents += len(index)
        entry = writer.finish()
    if task.keeps_units:
        kept_units.keep(tokenizer, cache)
    return place.keep(cache, task.key, asdict(entry), task.targets)


def blocks(shard: ShardFile) -> Iterator[pa.Table]:
    """The documents of a corpus file, in blocks of whole row groups, or of parts of large ones; at least one block."""
    waiting = [corpus.SCHEMA.empty_table()]
    with shard.opened() as opened:
        for batch in corpus.batches(pq.ParquetFile(opened), rows=GROUP_DOCUMENTS):
            waiting.append(pa.Table.from_batches([batch]).cast(corpus.SCHEMA))
            if sum(table.nbytes for table in waiting) >= unit_table.BLOCK_CHARS[1]:
                yield pa.concat_tables(waiting).combine_chunks()
                waiting = []
    if waiting:
        yield pa.concat_tables(waiting).combine_chunks()


def texts_of(documents: pa.Table) -> pa.LargeStringArray:
    """The texts of a block, as one array."""
    [texts] = documents["text"].chunks or [pa.array([], pa.large_string())]
    return texts


def _encoded(
    documents: pa.Table, path: str, tokenizer: AnyTokenizer, layout: Encode, check: EncodingCheck
) -> tuple[Ids, pa.Table]:
    """The ids of a block's documents, with <bos> and <eos>, and a row of the shard's index for each."""
    texts = texts_of(documents)
    if tokenizer.table is None:
        encoded = tokenizer.encode_batch(texts.to_pylist())
        flat, counts = (
            np.concatenate([np.empty(0, np.int32), *encoded]),
            np.array([len(ids) for ids in encoded], np.int64),
        )
    else:
        flat, counts = tokenizer.table.encode_block(texts)
    check.block(path, documents, flat, counts)
    tokens = counts + layout.add_bos + layout.add_eos
    ends = np.cumsum(tokens)
    ids = np.empty(tokens.sum(), token_shards.id_dtype(tokenizer.vocab_size))
    is_text = np.ones(len(ids), np.bool_)
    for places, token, wanted in (
        (ends - tokens, tokenizer.bos_id, layout.add_bos),
        (ends - 1, tokenizer.eos_id, layout.add_eos),
    ):
        if wanted and token is not None:
            ids[places], is_text[places] = token, False
    ids[is_text] = flat
    columns = {"tokens": tokens, "bytes": pc.cast(pc.binary_length(texts), pa.int64())}
    return ids, pa.table(columns | {name: documents[name] for name in ("doc", "source", "affect")})

"""Encoding: the corpus through a validated tokenizer into token shards.

Three things must fit before any work: the corpus is the one its manifest describes, the tokenizer learnt from
it (unless it is frozen), and this very tokenizer passed its gates. One corpus file becomes one shard, in a task of its
own (`shard_encoding.py`). Where there is one file, or little text, threads share the blocks of a file. Otherwise files
go to processes, here or on a cluster, and each process learns on from one snapshot of the tokenizer's table of units.
The action cache keeps shards, so that with one tokenizer only corpus files that changed are encoded again.
"""

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from aura.core import checksums, console, files, parallel
from aura.core.errors import UserError
from aura.core.keys import action_key, code_key
from aura.core.processes import Processes
from aura.corpus import corpus
from aura.encode import corpus_checks, encoding_check, kept_units, shard_encoding, shared_tokenizer
from aura.encode.options import Encode
from aura.encode.shard_encoding import Task, encode_shard
from aura.encode.shared_tokenizer import handed_over
from aura.storage.cache import Cache
from aura.storage.placement import THIS_DISK, Kept, ShardFile, ShardPlace, write_lists
from aura.tokenizer import adopted, adopted_record, byte_pairs, foreign, model_file, opening, symbols, unit_table, units
from aura.tokenizer import tokenizer as tokenizer_module
from aura.tokenizer.opening import AnyTokenizer
from aura.tokens import shard_writer, token_shards

LIBRARIES = ("numpy", "pyarrow", "sentencepiece", "tiktoken", "tokenizers")
SMALL = 4_000_000  # bytes of Parquet; encoding less takes no longer than starting workers
LEARNT_ROWS = 256  # documents of a file that the table learns from before there are processes


def encode_corpus(
    corpus_folder: Path,
    tokenizer_folder: Path,
    passed: Path,
    output: Path,
    layout: Encode,
    cache: Cache,
    place: ShardPlace = THIS_DISK,
    *,
    cluster: str | None = None,
    frozen: bool = False,
) -> list[token_shards.ShardEntry]:
    """Write the token shards of `corpus_folder` to `output`, all or none, and return what each holds.

    Arguments:
        corpus_folder: what `select` wrote.
        tokenizer_folder: what `train_tokenizer` wrote.
        passed: the file `validate` writes when every gate holds.
        place: whether shards go into `output` or a store.
        cluster: the address of a cluster; without it, this machine's cores do the work.
        frozen: whether the tokenizer is kept on purpose while the corpus changes, as an adopted one always is.

    Raises:
        UserError: a corpus file is missing, extra or altered; the tokenizer did not pass its gates or, unless it is
            frozen or adopted, learnt from another corpus.
    """
    manifest, shards = corpus_checks.read_corpus(corpus_folder)
    model = tokenizer_folder / "spiece.model"
    opening.require(model)
    tokenizer = opening.load(model)
    waived = corpus_checks.require_passed(passed, tokenizer.sha256)
    if adopted_record.is_adopted(tokenizer_folder):
        corpus_checks.require_extended_by(tokenizer_folder, manifest["hash"]["train"], frozen=frozen)
    elif not frozen:
        corpus_checks.require_same_corpus(tokenizer_folder / "spiece_config.json", manifest["hash"]["train"])
    return _encode(tokenizer, manifest["files"], shards, output, layout, cache, place, cluster, waived)


def encode_with(
    tokenizer: AnyTokenizer,
    corpus_folder: Path,
    output: Path,
    layout: Encode,
    cache: Cache,
    place: ShardPlace = THIS_DISK,
    cluster: str | None = None,
) -> list[token_shards.ShardEntry]:
    """`encode_corpus` with whatever tokenizer: it may have learnt from other text, and passed no gates."""
    manifest, shards = corpus_checks.read_corpus(corpus_folder)
    return _encode(tokenizer, manifest["files"], shards, output, layout, cache, place, cluster)


def _encode(
    tokenizer: AnyTokenizer,
    listed: list[dict[str, Any]],
    shards: dict[str, ShardFile],
    output: Path,
    layout: Encode,
    cache: Cache,
    place: ShardPlace,
    cluster: str | None,
    waived_gates: Sequence[str] = (),
) -> list[token_shards.ShardEntry]:
    """Write the token shards of the files that a manifest lists; `shards` has them by their paths."""
    _require_marks(tokenizer, layout)
    namespace = action_key("tokens", tokenizer.encoding_sha256, layout.model_dump(), code_key(TRANSFORMS, LIBRARIES))
    with files.replaced_folder(output) as folder:
        digests = [_required(shards[file["path"]], file["sha256"]) for file in listed]
        paths = [file["path"] for file in listed]
        tasks = [
            Task(shards[path], path, action_key(namespace, path, digest), _targets(folder, path))
            for path, digest in zip(paths, digests, strict=True)
        ]
        recalled = place.recall_all(cache, [(task.key, task.targets) for task in tasks])
        missing = [task for task, known in zip(tasks, recalled, strict=True) if known is None]
        encode = partial(encode_shard, layout=layout, output=folder, cache=cache, place=place)
        made = iter(_encode_missing(missing, tokenizer, folder, cache, cluster, encode) if missing else [])
        kept = [known or next(made) for known in recalled]
        write_lists(kept)
        entries = [token_shards.ShardEntry(**known.record) for known in kept]
        token_shards.write_manifest(
            folder, tokenizer.encoding_sha256, tokenizer.vocab_size, layout.model_dump(), entries, waived_gates
        )
    return entries


def _require_marks(tokenizer: AnyTokenizer, layout: Encode) -> None:
    """Refuse to put marks around documents that the tokenizer does not have."""
    for option, role, token in (
        ("add_bos", "bos", tokenizer.bos_id if layout.add_bos else 0),
        ("add_eos", "eos", tokenizer.eos_id if layout.add_eos else 0),
    ):
        if token is None:
            raise UserError(
                f"encode.{option}: true: expected a tokenizer with the role {role}, got one without. Set "
                f"encode.{option}: false, or name its token in train_tokenizer.roles: {{{role}: TOKEN}}"
            )


def _encode_missing(
    missing: list[Task],
    tokenizer: AnyTokenizer,
    folder: Path,
    cache: Cache,
    cluster: str | None,
    encode: Callable[..., Kept],
) -> list[Kept]:
    """Encode shards, in order: one after the other on all threads, or several at a time in other processes."""
    size = sum(task.file.size for task in missing)
    if tokenizer.table is None:
        console.err.print(
            "note: this tokenizer has no exact table of units; its own library encodes whole documents, slower"
        )
    kept_units.restore(tokenizer, cache)
    with parallel.executors(SMALL, cluster) as executor_for, ExitStack() as stack:
        load: Callable[[], AnyTokenizer] = partial(_itself, tokenizer)
        if size >= SMALL and len(missing) > 1:
            _learn(missing, tokenizer)
            load = stack.enter_context(handed_over(tokenizer, folder))
        pool = executor_for(size, len(missing))
        tasks = [replace(task, threads=_threads(pool, task.file.size / size)) for task in missing]
        tasks[-1] = replace(tasks[-1], keeps_units=True)  # by then its process has seen the most
        done = parallel.shared_map(pool, partial(encode, load=load), tasks, None)
        return list(console.track(done, "encoding", len(tasks)))


def _itself(tokenizer: AnyTokenizer) -> AnyTokenizer:
    return tokenizer


def _threads(pool: Executor, share: float) -> int:
    """The threads of a task that is a share of the work: all cores of this machine, or its share; one on a cluster."""
    if isinstance(pool, parallel.SerialExecutor):
        return parallel.cores()
    return max(1, round(parallel.cores() * share)) if isinstance(pool, Processes) else 1


def _learn(tasks: list[Task], tokenizer: AnyTokenizer) -> None:
    """Let a table that has seen little text learn the common units, so that not each process learns them."""
    table, seen = tokenizer.table, 0
    if table is None or len(table) >= unit_table.FEW_UNITS:
        return
    for task in tasks:
        with task.file.skimmed() as opened:
            for batch in corpus.batches(pq.ParquetFile(opened), ["text"], LEARNT_ROWS):
                table.encode_block(batch.column("text").cast(pa.large_string()))
                seen += batch.nbytes
                break
        if seen >= unit_table.BLOCK_CHARS[0]:
            return


def _required(shard: ShardFile, expected: str) -> str:
    """The SHA-256 that the manifest expects of a corpus file; the task that reads the file compares its bytes."""
    if shard.recorded != expected:
        raise checksums.altered(shard.path, expected, shard.recorded, corpus.MADE_BY)
    return expected


def _targets(output: Path, path: str) -> dict[str, Path]:
    """The files of the token shard that the corpus file `path` becomes."""
    ids, documents = token_shards.files_of(output, path.removesuffix(".parquet"))
    return {"ids": ids, "documents": documents}


# Every module with a say in the bytes of a token shard: a change in one is a miss. A test compares with dvc.yaml.
TRANSFORMS = (
    *(
        adopted,
        adopted_record,
        byte_pairs,
        corpus,
        encoding_check,
        foreign,
        kept_units,
        model_file,
        opening,
        shard_encoding,
        shard_writer,
    ),
    *(shared_tokenizer, symbols, sys.modules[__name__], token_shards, tokenizer_module, unit_table, units),
)

"""Extraction: one source's files become Parquet shards of cleaned documents with affect vectors.

A document's shard is a hash of its file (and of its block of 1,024 documents, in a file of many), so a
changed file changes its own shards and no other. Two steps, both through the action cache: batches of files
become packs of documents (`packs.py`), and packs become shards. What either finds in the cache it does not do
again: with one of 30,000 files changed, one file is extracted and one shard of 16 written. Documents pass from
step to step on disk, and a shard is written one row group at a time: memory does not grow with the corpus. The
same bytes come out on any number of cores and whatever the cache held, because files keep their order.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import xxhash

from aura import parallel
from aura.cache import Cache, action_key, code_key
from aura.console import track
from aura.errors import UserError
from aura.files import replaced_folder, write_records
from aura.ingestion import (
    affect,
    cleaning,
    compression,
    corpus,
    fields,
    packs,
    parquet,
    readers,
    sample,
    shards,
)
from aura.ingestion.affect import Lexicon, affect_vectors, read_lexicon
from aura.ingestion.cleaning import clean
from aura.ingestion.compression import Damaged, decompressed
from aura.ingestion.corpus import SCHEMA, text_hash
from aura.ingestion.packs import Batch, BatchResult, FileAccount, Pack
from aura.ingestion.readers import InputFile, Lost, documents, list_files
from aura.ingestion.shards import ShardWriter
from aura.params import Extract, Source

BLOCK_DOCUMENTS = 1024  # documents of one file that share a shard
SMALL = 8_000_000  # bytes to extract; starting workers (0.5 s) costs more than extracting as much here
LIBRARIES = ("numpy", "pyarrow", "xxhash")


@dataclass(frozen=True)
class Job:
    """Everything but the files that decides what extraction makes, and where it is cached."""

    name: str
    source: Source
    settings: Extract
    lexicon: Lexicon
    cache: Cache
    namespace: str  # the hash of all of that, of the code and of the libraries


@dataclass
class Work:
    """How much was done and not found in the cache."""

    files_extracted: int = 0
    shards_written: int = 0


def extract(name: str, source: Source, settings: Extract, out: Path, cache: Cache) -> tuple[dict[str, Any], Work]:
    """Extract one source into `out`; returns its manifest's totals, and what had to be done for them.

    Raises `UserError` if the source has no files or none of them holds a readable document, and, with
    `on_bad_file: fail`, at the first file that cannot be used.
    """
    job = _job(name, source, settings, cache)
    batches = list(packs.batches(list_files(source)))
    found = [packs.find(cache, job.namespace, batch) for batch in batches]
    size = sum(batch.size for batch, pack in zip(batches, found, strict=True) if pack is None)
    work = Work()
    with replaced_folder(out) as folder, parallel.executors(SMALL) as executor_for:
        stored = list(_extracted(batches, found, job, executor_for(size), work))
        accounts = [account for pack in stored for account in pack.accounts]
        totals = _totals(accounts)
        if not totals["documents"]:
            raise UserError(_nothing_readable(name, source, totals))
        missing = _copy_shards(stored, job, folder)
        # Writing a shard costs about a quarter of extracting its documents.
        pool = executor_for(totals["bytes_kept"] * len(missing) // (4 * settings.shards))
        _write_shards(missing, stored, batches, job, folder, pool, work)
        head = {"format": 1, "totals": totals}
        write_records(folder / "manifest.json", head, "files", map(_as_json, accounts))
    return totals, work


def _job(name: str, source: Source, settings: Extract, cache: Cache) -> Job:
    lexicon = read_lexicon(Path(settings.lexicon))
    namespace = action_key(
        name,
        source.model_dump(exclude={"path"}),
        # What is left out here does not decide what becomes of a file; the lexicon does, by its content.
        settings.model_dump(exclude={"sources", "on_bad_file", "lexicon"}),
        lexicon.words,
        lexicon.emotions.tolist(),
        code_key(TRANSFORMS, LIBRARIES),
    )
    return Job(name, source, settings, lexicon, cache, namespace)


def _extracted(batches: list[Batch], found: list[Pack | None], job: Job, pool: Executor, work: Work) -> Iterator[Pack]:
    """The pack of every batch, in order; those that were not found are made."""
    missing = [batch for batch, pack in zip(batches, found, strict=True) if pack is None]
    made = track(parallel.ordered_map(pool, partial(_make, job=job), missing), f"extract {job.name}", len(missing))
    for known in found:
        if known is None:
            pack, files = next(made)
            work.files_extracted += files
        else:
            pack = known
        _stop_on_bad_file(pack.accounts, job.settings)
        yield pack


def _make(batch: Batch, *, job: Job) -> tuple[Pack, int]:
    """Make one pack; runs in a worker process."""
    return packs.make(job.cache, job.namespace, batch, partial(extract_batch, job=job))


ShardTask = tuple[int, str, list[str]]  # number, key in the cache, keys of the packs with rows of it


def _copy_shards(stored: list[Pack], job: Job, folder: Path) -> list[ShardTask]:
    """Copy every shard that the cache has; returns the others."""
    missing = []
    for task in _shards(stored, job):
        shard, key, _ = task
        entry = job.cache.get(key)
        if not (entry and entry.copy("parquet", _shard_path(folder, shard))):
            missing.append(task)
    return missing


def _write_shards(
    missing: list[ShardTask],
    stored: list[Pack],
    batches: list[Batch],
    job: Job,
    folder: Path,
    pool: Executor,
    work: Work,
) -> None:
    """Put the missing shards together; a pack that the cache lost since it was made or found is made again."""
    work.shards_written = len(missing)
    write = partial(_write_shard, cache=job.cache, folder=folder)
    for task, lost in zip(missing, parallel.ordered_map(pool, write, missing), strict=True):
        for batch in (batch for pack, batch in zip(stored, batches, strict=True) if pack.key in lost):
            _, files = _make(batch, job=job)
            work.files_extracted += files
        if lost and write(task):
            raise UserError(
                f"files of source {job.name} ({job.source.path}) changed while they were read, or the cache "
                f"{job.cache.folder} lost what was just put there. Run the same command again."
            )


def _shards(stored: list[Pack], job: Job) -> list[ShardTask]:
    """Every shard that gets documents; its key names the files in it, in order."""
    digests: dict[int, Any] = {}
    holders: dict[int, list[str]] = {}
    for pack in stored:
        for account in pack.accounts:
            for shard in account.rows:
                digests.setdefault(shard, xxhash.xxh3_128()).update(f"{account.file}\0{account.digest}\0".encode())
        for shard in {shard for account in pack.accounts for shard in account.rows}:
            holders.setdefault(shard, []).append(pack.key)
    return [
        (shard, action_key("shard", job.namespace, shard, digests[shard].hexdigest()), holders[shard])
        for shard in sorted(digests)
    ]


def _write_shard(task: ShardTask, *, cache: Cache, folder: Path) -> list[str]:
    """Write one shard and keep it in the cache; instead returns the keys of packs that the cache no longer has."""
    shard, key, holders = task
    path = _shard_path(folder, shard)
    writer = ShardWriter(path)
    lost = []
    for holder in holders:
        table = packs.documents(cache, holder, shard)
        if table is None:
            lost.append(holder)
        else:
            writer.add(table)
    writer.close()
    if not lost:
        cache.put(key, {}, {"parquet": path})
    return lost


def _shard_path(folder: Path, shard: int) -> Path:
    return folder / f"{shard:04d}.parquet"


def extract_batch(batch: list[InputFile], *, job: Job) -> BatchResult:
    """Read and clean a batch of files; runs in a worker process."""
    source, settings = job.source, job.settings
    rows: dict[int, list[tuple[str, str, bytes]]] = {}
    accounts = []
    for file in batch:
        account = FileAccount(file.name)
        for number, item in enumerate(_read(file, source, account)):
            text = item if isinstance(item, Lost) else _cleaned(item, settings, account)
            if isinstance(text, Lost):
                account.lost[text.reason] += 1
                continue
            encoded = text.encode()
            account.documents += 1
            account.bytes_kept += len(encoded)
            doc = file.name if number == 0 and _one_document_per_file(source) else f"{file.name}#{number}"
            shard = xxhash.xxh3_64_intdigest(f"{file.name}\0{number // BLOCK_DOCUMENTS}".encode()) % settings.shards
            rows.setdefault(shard, []).append((text, doc, text_hash(encoded)))
            account.rows[shard] = account.rows.get(shard, 0) + 1
        accounts.append(account)
    return BatchResult({shard: _table(job.name, found, job.lexicon) for shard, found in rows.items()}, accounts)


def _one_document_per_file(source: Source) -> bool:
    return source.kind == "sample" or (source.kind == "txt" and source.documents == "file")


def _read(file: InputFile, source: Source, account: FileAccount) -> Iterator[bytes | Lost]:
    try:
        data = file.path.read_bytes()
    except OSError as error:
        account.digest = packs.unreadable(error)
        yield Lost(account.digest)
        return
    account.bytes_read = len(data)
    account.digest = xxhash.xxh3_128_hexdigest(data)
    try:
        data = decompressed(file.name, data)
    except Damaged as error:
        yield Lost(str(error))
        return
    account.bytes_decompressed = len(data)
    if not data.strip():
        yield Lost("empty")
        return
    yield from documents(source, file.name, data)


def _cleaned(raw: bytes, settings: Extract, account: FileAccount) -> str | Lost:
    account.bytes_decoded += len(raw)
    return clean(raw, settings.invalid_text, settings.min_chars)


def _table(name: str, rows: list[tuple[str, str, bytes]], lexicon: Lexicon) -> pa.Table:
    texts, docs, hashes = zip(*rows, strict=True)
    text = pa.array(texts, pa.large_string())
    columns = [text, docs, [name] * len(rows), affect_vectors(text, lexicon), hashes]
    return pa.Table.from_arrays(
        [pa.array(values, column.type) if not isinstance(values, pa.Array) else values
         for values, column in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)  # fmt: skip


def _stop_on_bad_file(accounts: list[FileAccount], settings: Extract) -> None:
    harmless = {"empty", "too short", "no documentation"}
    for account in accounts:
        bad = [reason for reason in account.lost if reason not in harmless]
        if bad and settings.on_bad_file == "fail":
            raise UserError(
                f"{account.file}: {bad[0]}. Mend or remove the file, "
                "or set extract.on_bad_file: skip to leave such files out and count them."
            )


def _totals(accounts: list[FileAccount]) -> dict[str, Any]:
    lost: Counter[str] = sum((account.lost for account in accounts if account.lost), Counter())
    return {
        "files": len(accounts),
        "documents": sum(account.documents for account in accounts),
        "bytes_read": sum(account.bytes_read for account in accounts),
        "bytes_decompressed": sum(account.bytes_decompressed for account in accounts),
        "bytes_decoded": sum(account.bytes_decoded for account in accounts),
        "bytes_kept": sum(account.bytes_kept for account in accounts),
        "lost": dict(sorted(lost.items())),
    }


def _as_json(account: FileAccount) -> dict[str, Any]:
    return {
        "file": account.file,
        "bytes_read": account.bytes_read,
        "bytes_decompressed": account.bytes_decompressed,
        "bytes_decoded": account.bytes_decoded,
        "bytes_kept": account.bytes_kept,
        "documents": account.documents,
        "lost": dict(sorted(account.lost.items())),
    }


def _nothing_readable(name: str, source: Source, totals: dict[str, Any]) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in totals["lost"].items())
    return (
        f"No readable text in source {name} ({source.path}): {totals['files']} files, no document kept ({reasons}). "
        "Look at the files, their encoding and extract.min_chars; for JSON, name the text's key with text_keys."
    )


# Every module with a say in what becomes of a file: a change in one is a miss. A test compares with dvc.yaml.
TRANSFORMS = (
    *(affect, cleaning, compression, corpus, sys.modules[__name__], fields),
    *(packs, parquet, readers, sample, shards),
)

"""Extraction: one source's files become Parquet shards of cleaned documents with affect vectors.

A document's shard is a hash of its file (and of its block of 1,024 documents, in a file of many), so a
changed file changes its own shards and no other. Documents stream from worker processes through at most one
open row group per shard: memory does not grow with the corpus. The same bytes come out on any number of
cores, because results are taken in the order of the files.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import xxhash

from aura import parallel
from aura.console import track
from aura.errors import UserError
from aura.files import replaced_folder, write_records
from aura.ingestion.affect import Lexicon, affect_vectors, read_lexicon
from aura.ingestion.cleaning import clean
from aura.ingestion.compression import Damaged, decompressed
from aura.ingestion.corpus import SCHEMA, text_hash
from aura.ingestion.readers import InputFile, Lost, documents, list_files
from aura.ingestion.shards import ShardWriter
from aura.params import Extract, Source

BATCH_FILES, BATCH_BYTES = 256, 4_000_000  # what one worker takes at a time
BLOCK_DOCUMENTS = 1024  # documents of one file that share a shard


@dataclass
class FileAccount:
    """What became of one input file: each number is counted where it happens, none by subtraction."""

    file: str
    bytes_read: int = 0
    bytes_decompressed: int = 0  # what readers were given: all of a plain file, nothing of a damaged one
    bytes_decoded: int = 0  # UTF-8 bytes of the documents a reader found in it
    bytes_kept: int = 0
    documents: int = 0
    lost: Counter[str] = field(default_factory=Counter)  # documents by reason


@dataclass
class BatchResult:
    """The documents of a batch of files, by shard, and the files' accounts."""

    shards: dict[int, pa.Table]
    accounts: list[FileAccount]


def extract(name: str, source: Source, settings: Extract, out: Path) -> dict[str, Any]:
    """Extract one source into `out`; returns its manifest's totals.

    Raises `UserError` if the source has no files or none of them holds a readable document, and, with
    `on_bad_file: fail`, at the first file that cannot be used.
    """
    lexicon = read_lexicon(Path(settings.lexicon))
    batches = list(_batches(list_files(source)))
    work = partial(extract_batch, name=name, source=source, settings=settings, lexicon=lexicon)
    accounts: list[FileAccount] = []
    writers: dict[int, ShardWriter] = {}
    with replaced_folder(out) as folder, parallel.executor() as pool:
        results = parallel.ordered_map(pool, work, batches)
        for result in track(results, f"extract {name}", total=len(batches)):
            _stop_on_bad_file(result.accounts, settings)
            accounts += result.accounts
            for shard, table in result.shards.items():
                writers.setdefault(shard, ShardWriter(folder / f"{shard:04d}.parquet")).add(table)
        totals = _totals(accounts)
        if not totals["documents"]:
            raise UserError(_nothing_readable(name, source, totals))
        for writer in writers.values():
            writer.close()
        head = {"format": 1, "totals": totals}
        write_records(folder / "manifest.json", head, "files", map(_as_json, accounts))
    return totals


def _batches(files: list[InputFile]) -> Iterator[list[InputFile]]:
    batch: list[InputFile] = []
    size = 0
    for file in files:
        batch.append(file)
        size += file.path.stat().st_size if file.path.exists() else 0
        if len(batch) == BATCH_FILES or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def extract_batch(
    batch: list[InputFile], *, name: str, source: Source, settings: Extract, lexicon: Lexicon
) -> BatchResult:
    """Read and clean a batch of files; runs in a worker process."""
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
        accounts.append(account)
    return BatchResult({shard: _table(name, found, lexicon) for shard, found in rows.items()}, accounts)


def _one_document_per_file(source: Source) -> bool:
    return source.kind == "sample" or (source.kind == "txt" and source.documents == "file")


def _read(file: InputFile, source: Source, account: FileAccount) -> Iterator[bytes | Lost]:
    try:
        data = file.path.read_bytes()
    except OSError as error:
        yield Lost(f"unreadable: {error.strerror}")
        return
    account.bytes_read = len(data)
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
    lost: Counter[str] = sum((account.lost for account in accounts), Counter())
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
    return asdict(account) | {"lost": dict(sorted(account.lost.items()))}


def _nothing_readable(name: str, source: Source, totals: dict[str, Any]) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in totals["lost"].items())
    return (
        f"No readable text in source {name} ({source.path}): {totals['files']} files, no document kept ({reasons}). "
        "Look at the files, their encoding and extract.min_chars; for JSON, name the text's key with text_keys."
    )

"""Selection: which extracted documents become the corpus, decided over all sources together, and the split.

Only hashes, sizes and names are held in memory (about 100 bytes a document); texts stream from shard to
shard. Corpus shards mirror the extracted ones, so a changed document changes one shard. All decisions follow
the text hash, so they hold still when the corpus grows.
"""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash
from ruamel.yaml import YAML

from aura.console import track
from aura.errors import UserError
from aura.files import replaced_folder, require_folder, sha256_file, write_records
from aura.ingestion.corpus import FORMAT, SPLITS, corpus_hash, hash_halves, is_held_out
from aura.ingestion.shards import ShardWriter
from aura.params import Caps, Select

NUMBER = re.compile(r"#\d+$")  # of a document in a file of many
Mask = npt.NDArray[np.bool_]


@dataclass
class Shard:
    """One extracted shard's decisive columns, and which of its documents are still in."""

    source: str
    path: Path
    columns: pa.Table  # text_hash, doc, size (UTF-8 bytes of the text)
    kept: Mask


def require_listed(sources: list[str], pipeline: Path) -> None:
    """Refuse a pipeline whose `select` does not depend on every source: DVC would keep a stale corpus."""
    deps = YAML(typ="safe").load(pipeline.read_text(encoding="utf-8"))["stages"]["select"]["deps"]
    listed = {dep.removeprefix("data/extracted/") for dep in deps if dep.startswith("data/extracted/")}
    if listed != set(sources):
        raise UserError(
            f"{pipeline}: expected data/extracted/NAME among select's deps for each source ({', '.join(sources)}); "
            f"came {', '.join(sorted(listed))}. Mend the list by hand; `aura source add` and `remove` keep it right."
        )


def select(sources: list[str], settings: Select, extracted: Path, out: Path) -> dict[str, Any]:
    """Write `out`/train, `out`/held_out and `out`/manifest.json; returns the manifest's totals per source.

    Raises `UserError` if a source is not extracted, or a split would be empty.
    """
    shards = [shard for source in sorted(sources) for shard in _read_shards(source, extracted / source)]
    dropped: dict[str, Counter[str]] = {source: Counter() for source in sorted(sources)}
    if settings.deduplicate == "exact":
        _drop(shards, _first_of_each_hash(shards), "duplicate", dropped)
    for source, caps in settings.caps.items():
        _drop(shards, _under_caps(shards, source, caps), "over a cap", dropped)
    with replaced_folder(out) as folder:
        records = _write(shards, settings.held_out, folder)
        totals = _totals(shards, dropped, records)
        _require_both_splits(totals, settings.held_out)
        hashes = {split: corpus_hash(folder / split) for split in SPLITS}
        write_records(folder / "manifest.json", {"format": FORMAT, "hash": hashes, "sources": totals}, "files", records)
    return totals


def _read_shards(source: str, folder: Path) -> list[Shard]:
    require_folder(folder, made_by=f"dvc repro extract@{source}")
    shards = []
    for path in sorted(folder.glob("*.parquet")):
        table = pq.read_table(path, columns=["text", "doc", "text_hash"])
        size = pc.binary_length(table.column("text"))
        columns = pa.table({"text_hash": table.column("text_hash"), "doc": table.column("doc"), "size": size})
        shards.append(Shard(source, path, columns.combine_chunks(), np.ones(len(table), dtype=bool)))
    if not shards:
        raise UserError(f"{folder} holds no Parquet shards. Run: dvc repro --force extract@{source}")
    return shards


def _column(shards: list[Shard], name: str) -> pa.Array:
    return pa.concat_arrays([shard.columns.column(name).combine_chunks() for shard in shards])


def _drop(shards: list[Shard], keep: Mask, reason: str, dropped: dict[str, Counter[str]]) -> None:
    """Take out the documents where `keep` (over all shards in order) is false, counting each once."""
    start = 0
    for shard in shards:
        here = keep[start : start + len(shard.kept)]
        dropped[shard.source][reason] += int(np.sum(shard.kept & ~here))
        shard.kept &= here
        start += len(here)


def _first_of_each_hash(shards: list[Shard]) -> Mask:
    """Of documents with one text, the first by source and name stays, whatever shards they lie in."""
    high, low = hash_halves(_column(shards, "text_hash"))
    source = np.repeat(np.arange(len(shards)), [len(shard.kept) for shard in shards])
    names = np.array([shard.source for shard in shards])[source]
    docs = np.array(_column(shards, "doc").to_pylist(), dtype=object)
    order = np.lexsort((docs, names, low, high))
    same_as_previous = (np.diff(high[order]) == 0) & (np.diff(low[order]) == 0)
    keep = np.ones(len(order), dtype=bool)
    keep[order[1:][same_as_previous]] = False
    return keep


def _under_caps(shards: list[Shard], source: str, caps: Caps) -> Mask:
    """The documents of `source` with the lowest hashes that fit under its caps; all of other sources."""
    mine = np.repeat([shard.source == source for shard in shards], [len(shard.kept) for shard in shards])
    keep = np.concatenate([shard.kept for shard in shards]) & mine
    # Not the half that decides the split, or a cap would choose held-out documents first.
    rank = hash_halves(_column(shards, "text_hash"))[1]
    if caps.max_files is not None:
        files = [NUMBER.sub("", doc) for doc in _column(shards, "doc").to_pylist()]
        hashes = np.array([xxhash.xxh3_64_intdigest(file.encode()) for file in files], dtype=np.uint64)
        keep &= np.isin(hashes, np.unique(hashes[keep])[: caps.max_files])
    order = np.flatnonzero(keep)
    order = order[np.argsort(rank[order], kind="stable")][: caps.max_documents]
    if caps.max_bytes is not None:
        sizes = _column(shards, "size").to_numpy()[order]
        order = order[np.cumsum(sizes) <= caps.max_bytes]
    allowed = ~mine
    allowed[order] = True
    return allowed


def _write(shards: list[Shard], held_out: float, folder: Path) -> list[dict[str, Any]]:
    """Write both splits below `folder`, a file per extracted shard and split; returns a record per file."""
    records = []
    for split in SPLITS:
        (folder / split).mkdir()
    for shard in track(shards, "select", total=len(shards)):
        held = is_held_out(shard.columns.column("text_hash").combine_chunks(), held_out)
        parts = {"train": shard.kept & ~held, "held_out": shard.kept & held}
        names = {split: f"{split}/{shard.source}-{shard.path.name}" for split in SPLITS}
        _copy_rows(shard, {folder / names[split]: parts[split] for split in SPLITS})
        for split, part in parts.items():
            if part.any():
                sizes = shard.columns.column("size").to_numpy()[part]
                digest = sha256_file(folder / names[split])
                counts = {"documents": len(sizes), "bytes": int(sizes.sum())}
                records.append(
                    {"path": names[split], "source": shard.source, "split": split, **counts, "sha256": digest}
                )
    return sorted(records, key=lambda record: str(record["path"]))


def _copy_rows(shard: Shard, parts: dict[Path, Mask]) -> None:
    """Copy the rows of each part into its file, some documents at a time."""
    writers = {path: ShardWriter(path) for path in parts}
    start = 0
    for batch in pq.ParquetFile(shard.path).iter_batches(batch_size=256):
        for path, part in parts.items():
            writers[path].add(pa.Table.from_batches([batch]).filter(pa.array(part[start : start + len(batch)])))
        start += len(batch)
    for writer in writers.values():
        writer.close()


def _totals(
    shards: list[Shard], dropped: dict[str, Counter[str]], records: list[dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Per source: documents that came, were dropped (by reason) and went into each split."""
    totals: dict[str, dict[str, Any]] = {}
    for source, reasons in dropped.items():
        came = sum(len(shard.kept) for shard in shards if shard.source == source)
        totals[source] = {"documents": came, "dropped": dict(sorted(reasons.items()))}
        for split in SPLITS:
            mine = [record for record in records if (record["source"], record["split"]) == (source, split)]
            totals[source][split] = {key: sum(record[key] for record in mine) for key in ("documents", "bytes")}
    return totals


def _require_both_splits(totals: dict[str, dict[str, Any]], held_out: float) -> None:
    counts = {split: sum(source[split]["documents"] for source in totals.values()) for split in SPLITS}
    if not all(counts.values()):
        raise UserError(
            f"expected documents for training and held-out ones to judge by; came {counts['train']} and "
            f"{counts['held_out']} (select.held_out: {held_out}). Add documents, raise select.held_out, or, if a file "
            "holds many documents, say so: documents: blank_line in its entry of extract.sources"
        )

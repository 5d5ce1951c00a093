"""The corpus section: what was read, what was dropped and why, duplicates, and documents to page through."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from aura.core import console, files, paths
from aura.core.errors import UserError
from aura.corpus.corpus import MADE_BY
from aura.extract import losses
from aura.report import heads
from aura.report.tokenizer import PLOTS, rows
from aura.storage import shard_lists

SOURCES, REASONS = 200, 400  # rows of a table, at most
SAMPLED_SOURCES, SAMPLES = 12, 5  # sources that documents are shown of, and documents of each
EXCERPT = 1_500  # characters of a document
DUPLICATES = 12  # rows shown of those that were dropped
COUNTS = ("files", "read", "documents", "dropped", "train", "held_out", "kept")  # of `Source`
_TOTALS = {"files": int, "documents": int, "bytes_read": int, "lost": {str: int}}
_WARNED = {"records": float, "bytes": float, "reasons": {str: int}}
_TRIES = 3  # shards of a source that are opened for its documents


@dataclass(frozen=True)
class Source:
    """The losses of a source, from its files to the corpus."""

    name: str
    kind: str
    files: int
    read: int  # bytes
    documents: int  # extracted
    dropped: int  # by select
    train: int
    held_out: int
    kept: int  # bytes, of both splits


@dataclass(frozen=True)
class Loss:
    """Records of a source that one reason took away."""

    source: str
    stage: str
    reason: str
    number: int
    remedy: str


@dataclass(frozen=True)
class Sample:
    """The beginning of a document."""

    source: str
    doc: str
    text: str
    size: int  # characters, of the whole


def section(kinds: dict[str, str]) -> dict[str, Any]:
    """The values of the section's template; `kinds` has the kind of each source by its name."""
    selected = heads.of_manifest(paths.CORPUS / "manifest.json", MADE_BY, "files", sources={str: dict})
    extracted = dict(_extracted(kinds))
    sources = list(_sources(kinds, extracted, selected))[:SOURCES] if selected or extracted else []
    lost = [loss for loss in _losses(extracted, selected) if loss.number]
    return {
        "selected": selected is not None,
        "sources": sources,
        "totals": {name: sum(getattr(source, name) for source in sources) for name in COUNTS},
        "losses": sorted(lost, key=lambda loss: (loss.source, -loss.number))[:REASONS],
        "warnings": [line for name, head in extracted.items() for line in _warnings(name, head)],
        "duplicates": _duplicates(),
        "samples": _samples([source.name for source in sources]),
        "in_store": (paths.TRAIN / shard_lists.LIST).exists(),
        "affect": [(row["emotion"], 100 * float(row["documents"])) for row in rows(PLOTS / "affect.csv")],
    }


def _extracted(kinds: dict[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the sources that were extracted, each with the head of its manifest."""
    for name in kinds:
        path, made_by = paths.EXTRACTED / name / "manifest.json", f"dvc repro extract@{name}"
        head = heads.of_manifest(path, made_by, "files", warnings=dict)
        if head is not None:
            files.require_shape(path, head, made_by, totals=_TOTALS)
            heads.require_shapes(path, head.get("warnings", {}), made_by, source=_WARNED, worst=[_WARNED])
            yield name, head


def _sources(
    kinds: dict[str, str], extracted: dict[str, dict[str, Any]], selected: dict[str, Any] | None
) -> Iterator[Source]:
    counted = (selected or {}).get("sources", {})
    split = {"documents": int, "bytes": int}
    for name in dict.fromkeys([*counted, *extracted]):
        totals, of = extracted.get(name, {}).get("totals", {}), counted.get(name, {})
        shapes = {"documents": int, "dropped": {str: int}, "train": split, "held_out": split}
        heads.require_shapes(paths.CORPUS / "manifest.json", of, MADE_BY, **shapes)
        train, held_out = of.get("train", {}), of.get("held_out", {})
        yield Source(
            name=name,
            kind=kinds.get(name, "–"),
            files=totals.get("files", 0),
            read=totals.get("bytes_read", 0),
            documents=totals.get("documents", of.get("documents", 0)),
            dropped=sum(of.get("dropped", {}).values()),
            train=train.get("documents", 0),
            held_out=held_out.get("documents", 0),
            kept=train.get("bytes", 0) + held_out.get("bytes", 0),
        )


def _losses(extracted: dict[str, dict[str, Any]], selected: dict[str, Any] | None) -> Iterator[Loss]:
    for name, head in extracted.items():
        for reason, number in head["totals"]["lost"].items():
            yield Loss(name, "extract", reason, number, losses.remedy(reason))
    for name, of in (selected or {}).get("sources", {}).items():
        for reason, number in of.get("dropped", {}).items():
            yield Loss(name, "select", reason, number, "")


def _warnings(name: str, head: dict[str, Any]) -> Iterator[str]:
    """Word what extraction warned of, a line for the source and one for each of its worst files."""
    found = head.get("warnings", {})
    named = [(f"source {name}", found["source"])] if "source" in found else []
    named += [(entry["file"], entry) for entry in found.get("worst", [])]
    for what, entry in named:
        loss = losses.Loss(entry["records"], entry["bytes"], entry["reasons"])
        yield f"{what} {loss.in_words()}"


def _duplicates() -> list[dict[str, str]]:
    """The first documents that were dropped as duplicates, and what each duplicates."""
    return list(_first_rows(paths.DUPLICATES, DUPLICATES, ["source", "doc", "reason", "of_source", "of_doc"]))


def _samples(names: list[str]) -> list[Sample]:
    """The first documents of the first shard of each source, the sources in turn."""
    if not paths.TRAIN.is_dir():
        return []
    with os.scandir(paths.TRAIN) as entries:
        shards = sorted(entry.name for entry in entries if entry.name.endswith(".parquet"))
    samples = []
    for name in names[:SAMPLED_SOURCES]:
        mine = [shard for shard in shards if shard.startswith(f"{name}-")][:_TRIES]
        for shard in mine:
            found = list(_first_rows(paths.TRAIN / shard, SAMPLES, ["source", "doc", "text"]))
            if found and found[0]["source"] == name:
                shown = (Sample(name, row["doc"], row["text"][:EXCERPT], len(row["text"])) for row in found)
                samples += list(enumerate(shown))
                break
    return [sample for _, sample in sorted(samples, key=lambda pair: pair[0])]


def _first_rows(path: Path, number: int, columns: list[str]) -> Iterator[dict[str, str]]:
    """Yield the first rows of a Parquet file; none where it is missing."""
    if not path.is_file():
        return
    try:
        with pq.ParquetFile(path) as file:
            groups = [group for group in range(file.num_row_groups) if file.metadata.row_group(group).num_rows][:1]
            for batch in file.iter_batches(batch_size=number, row_groups=groups, columns=columns):
                yield from batch.to_pylist()
                return
    except (pa.ArrowInvalid, OSError, KeyError) as error:
        raise UserError(f"{path} cannot be read ({error}). To make it again, run: aura repair; {MADE_BY}") from None


def sizes(number: float) -> str:
    """A number of bytes in words."""
    return console.size(number).replace(" ", "\u00a0")

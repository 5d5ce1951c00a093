"""Warnings about what extraction lost: sources and files of which more than a tenth of the records or bytes is gone.

A loss that is meant is no reason to warn: empty and hidden files and modules without documentation never are, and
documents that are too short only where a tenth of a whole source's text goes with them, because `min_chars` or
`documents` does not fit it then. Duplicates are decided in `select`, over all sources, and are no loss of extraction.
White space and stray control characters that cleaning takes away are not counted either.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from aura.core.shown_text import on_one_line
from aura.extract.accounts import HARMLESS, TOO_SHORT, counts
from aura.sources.documents import parquet
from aura.sources.documents.compression import FORMATS
from aura.sources.documents.zstd_frames import behind_end

SHARE = 0.1  # of the records, or of the bytes, above which a loss is worth a warning
WORST = 5  # files that are named
REASONS = 3  # that a line gives
_AGAIN = "fetch these files again; test them with the program of their format"
_METHODS = sorted({method for method, _ in FORMATS.values()})


def _encoding(name: str) -> str:
    return f"encoding: {name} in params.yaml, or --encoding {name}"


_KEYS = "text_keys in params.yaml, or --text_key"
_REMEDIES = {  # by how a reason begins; of two that fit, the first counts, so the longer one stands before the shorter
    "invalid UTF-8": f"name the encoding of these files: {_encoding('cp1252')} (or gb18030, shift_jis, …)",
    "invalid UTF-": "the files end within a character, or are binary; look at one with: file NAME",
    "invalid ": "look whether the source's encoding is the right one",
    "ISO-2022-JP": f"name it: {_encoding('iso2022_jp')}",
    "ISO-2022-KR": f"name it: {_encoding('iso2022_kr')}",
    "ISO-2022-CN": "turn it into UTF-8 with: iconv -f ISO-2022-CN-EXT",
    "HZ": f"name it: {_encoding('hz')}",
    "UTF-7": f"name it: {_encoding('utf-7')} (if it is none: {_encoding('utf-8')})",
    "binary": "take such files out of the folder, or turn them into text",
    parquet.ENCRYPTED: "write these files again without encryption, with a program that has the key",
    parquet.DAMAGED: "fetch these files again, or write them again from what they were made of",
    "truncated": f"{_AGAIN} (gzip -t, zstd -t, xz -t)",
    "damaged": f"{_AGAIN} (gzip -t, zstd -t, xz -t)",
    "decompresses to more": "decompress these files yourself: plain ones may have any size (Parquet: write it "
    "again without compression and dictionaries)",
    "zstd that needs": "decompress them yourself: zstd -d -D DICTIONARY",
    "zstd with a window": "decompress them yourself: zstd -d --long=31",
    "zstd of a version": "decompress them yourself with that version of zstd, and compress them again",
    **{behind_end(method): f"{_AGAIN}; or cut off what is not {method}" for method in _METHODS},
    "malformed JSON": "look at the place that extract.on_bad_file: fail names",
    "JSON record of more": "raise extract.max_document_bytes",
    "no text key": f"name the key that holds the text: {_KEYS}",
    parquet.NO_COLUMN: f"name the column that holds the text: {_KEYS}",
    TOO_SHORT: "lower extract.min_chars (--min_length), or say otherwise what a document is (documents: blank_line, "
    "file)",
    "unreadable": "check the permissions, and links that lead nowhere",
    "link out of the source": "put the files into the folder, or allow it: links: anywhere in params.yaml, or "
    "--follow_links",
    "linked folder": "add the folder it leads to as a source of its own",
}


@dataclass(frozen=True)
class Loss:
    """The losses of a file or a whole source: shares from 0 to 1, and documents by reason, the commonest first."""

    records: float
    bytes: float
    reasons: dict[str, int]

    @property
    def is_large(self) -> bool:
        """True if it is worth a warning."""
        return bool(self.reasons) and max(self.records, self.bytes) > SHARE

    def in_words(self) -> str:
        """One line, without the name of what lost it."""
        shown = ", ".join(f"{count:,} {reason}" for reason, count in list(self.reasons.items())[:REASONS])
        more = f" and {len(self.reasons) - REASONS} other reasons" if len(self.reasons) > REASONS else ""
        return f"lost {self.records:.0%} of its records, {self.bytes:.0%} of its bytes: {shown}{more}"

    def record(self) -> dict[str, Any]:
        """As a manifest has it."""
        return {"records": round(self.records, 4), "bytes": round(self.bytes, 4), "reasons": self.reasons}


@dataclass(frozen=True)
class Warnings:
    """The loss of a source, if that is large; its worst files, how many have a large loss, and what to do."""

    source: Loss | None
    files: dict[str, Loss]
    count: int
    remedies: list[str]

    def lines(self, name: str) -> Iterator[str]:
        """Word the warnings about the source `name`: a line for it at most, one for each worst file, and remedies."""
        if self.source:
            yield f"warning: source {name} {self.source.in_words()}"
        for file, loss in self.files.items():
            yield f"warning: {on_one_line(file)} {loss.in_words()}"
        if self.count > len(self.files):
            yield f"warning: {self.count - len(self.files):,} more files lost above a tenth; the manifest has each"
        yield from (f"  {remedy}" for remedy in self.remedies)

    def record(self) -> dict[str, Any]:
        """As a manifest has it; empty if there is nothing to warn of."""
        if not self.count and not self.source:
            return {}
        source = {"source": self.source.record()} if self.source else {}
        worst = [{"file": file} | loss.record() for file, loss in self.files.items()]
        return {"warnings": source | {"files_above_a_tenth": self.count, "worst": worst, "advice": self.remedies}}


def warnings(files: pa.Table) -> Warnings:
    """Find the losses that need a warning, by the account of each file of a source."""
    count, worst = 0, list[tuple[float, str, Loss]]()
    for row in _with_losses(files):
        loss, weight = _of_file(row)
        if loss.is_large:
            count += 1
            worst = sorted([*worst, (weight, row["file"], loss)], key=lambda one: (-one[0], one[1]))[:WORST]
    source = _of_source(files)
    reasons = Counter[str]()
    for loss in [*([source] if source.is_large else []), *(loss for _, _, loss in worst)]:
        reasons |= Counter(loss.reasons)
    remedies = [f"{reason}: {what}" for reason in _ordered(reasons) if (what := remedy(reason))][:WORST]
    shown = {file: loss for _, file, loss in worst}
    return Warnings(source if source.is_large else None, shown, count, remedies)


def remedy(reason: str) -> str:
    """Return the remedy for a loss; empty if none is known."""
    return next((what for start, what in _REMEDIES.items() if reason.startswith(start)), "")


def _with_losses(files: pa.Table) -> Iterator[dict[str, Any]]:
    for batch in files.filter(pc.not_equal(files["lost"], "")).to_batches(max_chunksize=10_000):
        yield from batch.to_pylist()


def _of_file(row: dict[str, Any]) -> tuple[Loss, float]:
    """A file's loss, and about how many bytes that is; what was not decoded at all is lost as a whole."""
    lost = counts(row["lost"])
    bad = _bad(lost)
    records = sum(bad.values()) / max(row["documents"] + sum(lost.values()), 1)
    share = row["bytes_bad"] / row["bytes_decoded"] if row["bytes_decoded"] else float(bool(bad))
    loss = Loss(records, share, _ordered(bad))
    return loss, max(loss.records, loss.bytes) * (row["bytes_decompressed"] or row["bytes_read"])


def _of_source(files: pa.Table) -> Loss:
    lost = Counter[str]()
    for entry in pc.value_counts(files["lost"]).to_pylist():
        for reason, count in counts(entry["values"]).items():
            lost[reason] += count * entry["counts"]
    bad = _bad(lost)
    documents, decoded, dropped, short = (
        _sum(files, name) for name in ("documents", "bytes_decoded", "bytes_bad", "bytes_short")
    )
    unread = _sum(
        files.filter(pc.and_(pc.equal(files["bytes_decoded"], 0), pc.not_equal(files["first_bad"], ""))), "bytes_read"
    )
    records = sum(bad.values()) / max(documents + sum(lost.values()), 1)
    if short > SHARE * decoded:
        bad, dropped = bad | {TOO_SHORT: lost[TOO_SHORT]}, dropped + short
    return Loss(records, (dropped + unread) / max(decoded + unread, 1), _ordered(bad))


def _bad(lost: dict[str, int]) -> dict[str, int]:
    return {reason: count for reason, count in lost.items() if reason not in HARMLESS}


def _sum(files: pa.Table, column: str) -> int:
    found: int = pc.sum(files[column], min_count=0).as_py()
    return found


def _ordered(reasons: dict[str, int]) -> dict[str, int]:
    return dict(sorted(reasons.items(), key=lambda one: (-one[1], one[0])))

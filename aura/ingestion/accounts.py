"""Accounts: what became of each input file, counted where it happens and never by subtraction.

A file's account is an object while the file is read, and a row of an Arrow table from then on: 30,000 objects would
take a second to move between processes and to sum up.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from aura.errors import UserError
from aura.ingestion.document import Lost

HARMLESS = frozenset({"empty", "too short", "no documentation"})  # reasons that make no file a bad one
_NUMBERS = ("bytes_read", "bytes_decompressed", "bytes_decoded", "bytes_kept", "documents")


@dataclass(slots=True)
class FileAccount:
    """What became of one input file, or of a block of a large one."""

    file: str
    bytes_read: int = 0
    bytes_decompressed: int = 0  # what readers were given: all of a plain file, nothing of a damaged one
    bytes_decoded: int = 0  # UTF-8 bytes of the documents a reader found in it
    bytes_kept: int = 0
    documents: int = 0
    cut: int = 0  # how often a document was cut for its size
    lost: Counter[str] = field(default_factory=Counter)  # documents by reason
    first_bad: str = ""  # place and reason of the first loss that makes a file a bad one
    digest: str = ""  # XXH3 of the bytes that were read, or why they could not be
    rows: dict[int, int] = field(default_factory=dict)  # documents by shard

    def lose(self, lost: Lost, place: str) -> None:
        """Count a loss; `place` says where, if the loss itself does not."""
        self.lost[lost.reason] += 1
        if not self.first_bad and lost.reason not in HARMLESS:
            where = ", ".join(filter(None, (place, lost.place)))
            self.first_bad = f"{where}: {lost.reason}" if where else lost.reason


SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        *((name, pa.int64()) for name in (*_NUMBERS, "cut")),
        ("lost", pa.map_(pa.string(), pa.int64())),
        ("first_bad", pa.string()),
        ("digest", pa.string()),
        ("rows", pa.map_(pa.int64(), pa.int64())),
    ]
)


def table(accounts: list[FileAccount]) -> pa.Table:
    """The accounts as rows of `SCHEMA`, in their order."""
    columns: dict[str, list[Any]] = {name: list(map(attrgetter(name), accounts)) for name in SCHEMA.names}
    for name in ("lost", "rows"):
        columns[name] = [list(counts.items()) for counts in columns[name]]
    return pa.table(columns, SCHEMA)


def shards(accounts: pa.Table) -> list[int]:
    """The shards that got documents, in order."""
    return sorted({shard for chunk in accounts["rows"].chunks for shard in chunk.keys.to_pylist()})


def records(accounts: pa.Table) -> Iterator[dict[str, Any]]:
    """What a manifest says of each file; accounts of a large file's blocks, which follow each other, are added up."""
    for _, blocks in groupby(_rows(accounts), itemgetter("file")):
        whole, *others = blocks
        for block in others:
            whole |= {key: whole[key] + block[key] for key in (*_NUMBERS, "cut")}
            whole["lost"] += block["lost"]
        yield _shown(whole)


def _rows(accounts: pa.Table) -> Iterator[dict[str, Any]]:
    names = ("file", *_NUMBERS, "cut", "lost")
    for batch in accounts.select(names).to_batches():
        columns = (column.to_pylist() for column in batch.columns)
        yield from (dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True))


def _shown(counts: dict[str, Any]) -> dict[str, Any]:
    """Losses summed up and sorted; a cut is said only of what was cut."""
    cut, losses = counts.pop("cut"), counts.pop("lost")
    if cut:
        counts["cut"] = cut
    lost: dict[str, int] = {}
    for reason, count in losses:
        lost[reason] = lost.get(reason, 0) + count
    counts["lost"] = dict(sorted(lost.items()))
    return counts


def totals(accounts: pa.Table) -> dict[str, Any]:
    """The sums of a manifest, over files."""
    files = sum(1 for _ in groupby(accounts["file"].to_pylist()))
    lost = [entry for entries in accounts["lost"].to_pylist() for entry in entries]
    sums = {name: pc.sum(accounts[name], min_count=0).as_py() for name in (*_NUMBERS, "cut")}
    documents = sums.pop("documents")
    return _shown({"files": files, "documents": documents, **sums, "lost": lost})


def stop_on_bad(accounts: pa.Table) -> None:
    """Raise `UserError` at the first file that something was lost of, with its name and the place in it."""
    for bad in accounts.filter(pc.not_equal(accounts["first_bad"], "")).slice(0, 1).to_pylist():
        raise UserError(
            f"{bad['file']}: {bad['first_bad']}. Mend or remove the file, "
            "or set extract.on_bad_file: skip to leave such files out and count them."
        )

"""Accounts: what became of each input file, counted where it happens and never by subtraction.

A file's account is an object while the file is read, and a row of an Arrow table from then on: 30,000 objects would
take a second to move between processes and to sum up.
"""

import json
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
    lost: dict[str, int] = field(default_factory=dict)  # documents by reason
    first_bad: str = ""  # place and reason of the first loss that makes a file a bad one
    digest: str = ""  # XXH3 of the bytes that were read, or why they could not be

    def lose(self, lost: Lost, place: str) -> None:
        """Count a loss; `place` says where, if the loss itself does not."""
        self.lost[lost.reason] = self.lost.get(lost.reason, 0) + 1
        if not self.first_bad and lost.reason not in HARMLESS:
            where = ", ".join(filter(None, (place, lost.place)))
            self.first_bad = f"{where}: {lost.reason}" if where else lost.reason


SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        *((name, pa.int64()) for name in (*_NUMBERS, "cut")),
        ("lost", pa.string()),  # JSON, reasons in order; empty where nothing was lost, as of nearly all files
        ("first_bad", pa.string()),
        ("digest", pa.string()),
    ]
)
_SHOWN = ("file", *_NUMBERS, "cut", "lost")  # what a manifest says of a file


def table(accounts: list[FileAccount]) -> pa.Table:
    """The accounts as rows of `SCHEMA`, in their order."""
    columns: dict[str, list[Any]] = {name: list(map(attrgetter(name), accounts)) for name in SCHEMA.names}
    columns["lost"] = [_json(counts) if counts else "" for counts in columns["lost"]]
    return pa.table(columns, SCHEMA)


def lines(accounts: pa.Table) -> Iterator[str]:
    """What a manifest says of each file, as JSON; a large file's accounts follow each other, and are added up."""
    columns = (accounts[name].to_pylist() for name in _SHOWN)
    for _, blocks in groupby(zip(*columns, strict=True), itemgetter(0)):
        whole, *others = blocks
        for block in others:
            numbers = [one + other for one, other in zip(whole[1:-1], block[1:-1], strict=True)]
            whole = (whole[0], *numbers, _added([whole[-1], block[-1]]))
        yield _line(whole)


def _line(shown: tuple[Any, ...]) -> str:
    """One file of a manifest; a cut is said only of what was cut."""
    file, *numbers, cut, lost = shown
    return _LINE % (_string(file), *numbers, f', "cut": {cut}' if cut else "", lost or "{}")


_LINE = '{"file": %s, ' + ", ".join(f'"{name}": %d' for name in _NUMBERS) + '%s, "lost": %s}'
_string = json.JSONEncoder(ensure_ascii=False).encode


def _json(counts: dict[str, int]) -> str:
    return json.dumps(counts, sort_keys=True, ensure_ascii=False)


def _added(lost: list[str]) -> str:
    """Losses summed up."""
    return _json(sum((Counter(json.loads(one)) for one in lost if one), Counter[str]()))


def totals(accounts: pa.Table) -> dict[str, Any]:
    """The sums of a manifest, over files."""
    sums = {name: pc.sum(accounts[name], min_count=0).as_py() for name in ("documents", *_NUMBERS, "cut")}
    cut = {"cut": times} if (times := sums.pop("cut")) else {}
    lost = Counter[str]()
    for entry in pc.value_counts(accounts["lost"]).to_pylist():
        for reason, count in json.loads(entry["values"] or "{}").items():
            lost[reason] += count * entry["counts"]
    files = sum(1 for _ in groupby(accounts["file"].to_pylist()))
    return {"files": files, **sums, **cut, "lost": dict(sorted(lost.items()))}


def stop_on_bad(accounts: pa.Table) -> None:
    """Raise `UserError` at the first file that something was lost of, with its name and the place in it."""
    for bad in accounts.filter(pc.not_equal(accounts["first_bad"], "")).slice(0, 1).to_pylist():
        raise UserError(
            f"{bad['file']}: {bad['first_bad']}. Mend or remove the file, "
            "or set extract.on_bad_file: skip to leave such files out and count them."
        )

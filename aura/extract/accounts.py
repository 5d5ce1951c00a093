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

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aura.core.arrow import joined
from aura.core.errors import UserError
from aura.sources.documents.document import Lost
from aura.sources.input_files import HIDDEN

TOO_SHORT = "too short"
HARMLESS = frozenset({"empty", TOO_SHORT, "no documentation", HIDDEN})  # reasons that make no file a bad one
_NUMBERS = ("bytes_read", "bytes_decompressed", "bytes_decoded", "bytes_kept", "documents")
_SUMMED = (*_NUMBERS, "bytes_bad", "bytes_short", "cut")


@dataclass(slots=True)
class FileAccount:
    """The account of one input file, or of a chunk of a large one."""

    file: str
    bytes_read: int = 0
    bytes_decompressed: int = 0  # what readers were given: all of a plain file, nothing of a damaged one
    bytes_decoded: int = 0  # UTF-8 bytes of the documents a reader found in it
    bytes_kept: int = 0
    documents: int = 0
    bytes_bad: int = 0  # of decoded documents that were dropped as bad
    bytes_short: int = 0  # of those that were too short
    cut: int = 0  # how often a document was cut for its size
    lost: dict[str, int] = field(default_factory=dict)  # documents by reason
    first_bad: str = ""  # place and reason of the first loss that makes a file a bad one
    digest: str = ""  # XXH3 of the bytes that were read, or why they could not be

    def lose(self, lost: Lost, place: str, size: int = 0) -> None:
        """Count a loss, of a document of `size` decoded bytes; `place` says where, if the loss itself does not."""
        if lost.reason == TOO_SHORT:
            self.bytes_short += size
        elif lost.reason not in HARMLESS:
            self.bytes_bad += size
        self.lost[lost.reason] = self.lost.get(lost.reason, 0) + lost.count
        if not self.first_bad and lost.reason not in HARMLESS:
            where = ", ".join(filter(None, (place, lost.place)))
            self.first_bad = f"{where}: {lost.reason}" if where else lost.reason


_TEXT = pa.large_string()  # 57 million names of files are more than 32-bit offsets can tell apart
SCHEMA = pa.schema(
    [
        ("file", _TEXT),
        *((name, pa.int64()) for name in _SUMMED),
        ("lost", _TEXT),  # JSON, reasons in order; empty where nothing was lost, as of nearly all files
        ("first_bad", _TEXT),
        ("digest", _TEXT),
    ]
)
_AT_ONCE = 10_000  # lines of a manifest that are in memory at a time


def table(accounts: list[FileAccount]) -> pa.Table:
    """The accounts as rows of `SCHEMA`, in their order."""
    columns: dict[str, list[Any]] = {name: list(map(attrgetter(name), accounts)) for name in SCHEMA.names}
    columns["lost"] = list(map(_json, columns["lost"]))
    return pa.table(columns, SCHEMA)


def by_file(accounts: pa.Table, files: np.ndarray) -> pa.Table:
    """One row a file, in order: the accounts of a large one added up; `files` has the number of each account's."""
    order = np.argsort(files, kind="stable")
    accounts, files = joined(accounts.take(order)), files[order]
    if not (files[1:] == files[:-1]).any():
        return accounts
    rows = []
    for _, parts in groupby(zip(files.tolist(), accounts.to_pylist(), strict=True), itemgetter(0)):
        (_, whole), *others = parts
        for _, part in others:
            whole |= {name: whole[name] + part[name] for name in _SUMMED}
            whole["lost"] = _json(Counter(counts(whole["lost"])) + Counter(counts(part["lost"])))
            whole["first_bad"] = whole["first_bad"] or part["first_bad"]
        rows.append(whole)
    return pa.Table.from_pylist(rows, SCHEMA)


def lines(accounts: pa.Table) -> Iterator[bytes]:
    """Yield a manifest's entry of each file, a line of JSON each, some thousands at a time; put together by Arrow."""
    for start in range(0, len(accounts), _AT_ONCE):
        some = accounts.slice(start, _AT_ONCE).combine_chunks()
        file, lost = (some[name].cast(pa.string()) for name in ("file", "lost"))
        parts: list[Any] = ['{"file": ', _quoted(file)]
        for name in _NUMBERS:
            parts += [f', "{name}": ', pc.cast(some[name], pa.string())]
        cut = pc.binary_join_element_wise(', "cut": ', pc.cast(some["cut"], pa.string()), "")
        parts.append(pc.if_else(pc.equal(some["cut"], 0), "", cut))  # said only of what was cut
        parts += [', "lost": ', pc.if_else(pc.equal(lost, ""), "{}", lost), "}"]
        whole = pc.binary_join_element_wise(*parts, "").combine_chunks()
        yield pc.binary_join(pa.ListArray.from_arrays([0, len(whole)], whole), ",\n")[0].as_py().encode()


def _quoted(names: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    """Strings as JSON."""
    if pc.any(pc.match_substring_regex(names, r'["\\[:cntrl:]]')).as_py():
        return pa.array(map(json.JSONEncoder(ensure_ascii=False).encode, names.to_pylist()), pa.string())
    return pc.binary_join_element_wise('"', names, '"', "")


def _json(counts: dict[str, int]) -> str:
    return json.dumps(counts, sort_keys=True, ensure_ascii=False) if counts else ""


def counts(lost: str) -> dict[str, int]:
    """Documents by reason, of the column `lost`."""
    found: dict[str, int] = json.loads(lost or "{}")
    return found


def totals(files: pa.Table) -> dict[str, Any]:
    """The sums of a manifest."""
    sums = {name: pc.sum(files[name], min_count=0).as_py() for name in ("documents", *_NUMBERS, "cut")}
    cut = {"cut": times} if (times := sums.pop("cut")) else {}
    lost = Counter[str]()
    for entry in pc.value_counts(files["lost"]).to_pylist():
        for reason, count in counts(entry["values"]).items():
            lost[reason] += count * entry["counts"]
    return {"files": len(files), **sums, **cut, "lost": dict(sorted(lost.items()))}


def stop_on_bad(accounts: pa.Table) -> None:
    """Raise `UserError` at the first file that something was lost of, with its name and the place in it."""
    for bad in accounts.filter(pc.not_equal(accounts["first_bad"], "")).slice(0, 1).to_pylist():
        raise UserError(
            f"{bad['file']}: {bad['first_bad']}. Fix or remove the file, "
            "or set extract.on_bad_file: skip to leave such files out and count them."
        )

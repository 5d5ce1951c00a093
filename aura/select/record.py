"""The record of duplicates: for each document that a rule on duplicates dropped, the document that it duplicates.

One Parquet file, in the order of the extracted documents. The other document may have a row of its own, because it is a
near duplicate; one of the rows that follow names a document that stayed. Groups write their rows; the calling process
joins them, some rows at a time.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aura.core import files
from aura.core.arrow import joined
from aura.core.errors import UserError
from aura.select import duplicates
from aura.select.candidates import Work, column, documents, names
from aura.select.duplicates import BY_GROUP, BY_ROW, DROPPED

FILE = "duplicates.parquet"
MADE_BY = "dvc repro select"
_TEXT = pa.large_string()  # names of a group may exceed 2 GiB
SCHEMA = pa.schema(
    [
        pa.field("source", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("doc", _TEXT, nullable=False),
        pa.field("reason", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("of_source", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("of_doc", _TEXT, nullable=False),
    ]
)
_ROWS = 65_536  # of a row group, whatever the groups are


def write_group(group: int, *, work: Work, rules: Mapping[str, Sequence[str]], sources: Sequence[str]) -> None:
    """Write the rows of a group; `sources` are all of them, by rank."""
    listed = sorted(sources)
    found, reasons = [np.zeros((0, 3), dtype=np.uint64)], [np.zeros(0, dtype=np.int32)]
    for number, some in enumerate(rules.values()):
        for rule in some:
            found.append(duplicates.drops(work, rule, group))
            reasons.append(np.full(len(found[-1]), number, dtype=np.int32))
    table, reason = np.concatenate(found), np.concatenate(reasons)
    order = np.argsort(table[:, DROPPED], kind="stable")
    table, reason = table[order], reason[order]
    place = np.array([listed.index(sources[rank]) for rank in work.ranks], dtype=np.int32)
    docs = column(documents(work, group), "doc")
    columns = [
        _words(np.full(len(table), place[group], dtype=np.int32), listed),
        docs.take(pa.array(table[:, DROPPED].astype(np.int64))),
        _words(reason, list(rules)),
        _words(place[table[:, BY_GROUP].astype(np.int64)], listed),
        names(work, table[:, BY_GROUP], table[:, BY_ROW]),
    ]
    with pa.ipc.new_file(work.file("record", group), SCHEMA) as writer:
        writer.write_table(pa.table(columns, SCHEMA), max_chunksize=_ROWS)


def _words(numbers: npt.NDArray[np.int32], words: Sequence[str]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(numbers), pa.array(words, pa.string()))


def join(work: Work, folder: Path) -> None:
    """Write the record out of the rows of all groups."""
    waiting: list[pa.Table] = []
    options = {"compression": "zstd", "compression_level": 1, "write_page_checksum": True}
    with pq.ParquetWriter(folder / FILE, SCHEMA, **options) as writer:
        for batch in _batches(work):
            whole = pa.concat_tables([*waiting, pa.Table.from_batches([batch])])
            full = len(whole) - len(whole) % _ROWS
            if full:
                writer.write_table(joined(whole.slice(0, full)), row_group_size=_ROWS)
            waiting = [whole.slice(full)]
        for rest in waiting:
            if len(rest):
                writer.write_table(joined(rest), row_group_size=_ROWS)


def _batches(work: Work) -> Iterator[pa.RecordBatch]:
    for path in work.files("record", len(work.ranks)):
        with pa.OSFile(str(path)) as file:
            reader = pa.ipc.open_file(file)
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number)


def read(path: Path) -> Iterator[pa.Table]:
    """Yield the rows of a record, some at a time."""
    files.require_folder(path.parent, MADE_BY)
    if not path.is_file():
        raise UserError(f"{path} is missing. It is written by: {MADE_BY}")
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            if file.schema_arrow.names != SCHEMA.names:
                raise UserError(
                    f"{path}: expected the columns {', '.join(SCHEMA.names)}, "
                    f"got {', '.join(file.schema_arrow.names)}. Run: {MADE_BY}"
                )
            for batch in file.iter_batches(batch_size=_ROWS):
                yield pa.Table.from_batches([batch])
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path} cannot be read ({error}). Make it again with: {MADE_BY} --force") from None


def counts(path: Path) -> dict[tuple[str, str, str], int]:
    """The dropped documents by source, reason and source of the document that they duplicate."""
    found: dict[tuple[str, str, str], int] = {}
    for table in read(path):
        plain = pa.table({name: table.column(name).cast(pa.string()) for name in ("source", "reason", "of_source")})
        for row in plain.group_by(plain.column_names).aggregate([([], "count_all")]).to_pylist():
            key = row["source"], row["reason"], row["of_source"]
            found[key] = found.get(key, 0) + row["count_all"]
    return dict(sorted(found.items()))


def about(path: Path, doc: str) -> Iterator[dict[str, str]]:
    """Yield the rows in which a document of this name was dropped, or is the one that others duplicate."""
    for table in read(path):
        mine = pc.or_(pc.equal(table.column("doc"), doc), pc.equal(table.column("of_doc"), doc))
        yield from table.filter(mine).to_pylist()

"""Token shards: the corpus as flat ids, with a table of its documents and a manifest that accounts for both.

    data/tokens/manifest.json            what the set holds, and which tokenizer made it
    data/tokens/train/sample-003.npy     ids of all documents, one after the other
    data/tokens/train/sample-003.parquet one row per document: offset, tokens, bytes, doc, source, affect

With a store, `shards.json` stands in the place of the last two kinds (`aura/storage/placement.py`), and ids are read
in ranges.
One shard per corpus shard, written as its documents come (`aura/tokens/shard_writer.py`). Ids take 2 bytes while the
vocabulary fits 16 bits, else 4. Opening compares the manifest with _SHA256SUMS, and names, sizes and the tokenizer with
it, in a few milliseconds. Altered bytes of the right length are found when a file is first read, which hashes it (about
1.5 GB a second), or by `verify`, which does so for all of them at once.
"""

import typing
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aura.core import checksums, columns, files
from aura.core.errors import UserError
from aura.core.terms import EMOTIONS, SPLITS
from aura.storage import placement
from aura.storage.placement import ShardFile
from aura.tokens.mapped_ids import Ids, MappedIds
from aura.tokens.streams import AffectStream, IdArray, StoredIds, TokenStream

FORMAT = 1
MADE_BY = "dvc repro encode"

DOCUMENTS = pa.schema(
    [
        pa.field("offset", pa.int64(), nullable=False),  # of the document's first id in its shard
        pa.field("tokens", pa.int64(), nullable=False),  # <bos> and <eos> included
        pa.field("bytes", pa.int64(), nullable=False),  # of its text in UTF-8
        pa.field("doc", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("affect", pa.list_(pa.float32(), len(EMOTIONS)), nullable=False),
    ]
)


@dataclass(frozen=True)
class ShardEntry:
    """The manifest's entry of one shard; `path` is without suffix, as in `train/sample-003`."""

    path: str
    source: str
    documents: int
    tokens: int
    bytes: int
    ids_size: int
    ids_sha256: str
    documents_size: int
    documents_sha256: str

    @property
    def split(self) -> str:
        """`train` or `held_out`."""
        return self.path.partition("/")[0]

    @property
    def files(self) -> tuple[tuple[str, int, str], tuple[str, int, str]]:
        """Name, size and SHA-256 of the file of ids, and of that of documents."""
        ids, documents = (f"{self.path}{suffix}" for suffix in _SUFFIXES)
        return (ids, self.ids_size, self.ids_sha256), (documents, self.documents_size, self.documents_sha256)


_KINDS = {str: pa.large_string(), int: pa.int64()}
ENTRIES = pa.schema([(name, _KINDS[kind]) for name, kind in typing.get_type_hints(ShardEntry).items()])
_SUFFIXES = {".npy": "ids", ".parquet": "documents"}  # of a shard's files, and how the fields about them begin
_AT_ONCE = 1024  # entries that are objects at a time


def id_dtype(vocab_size: int) -> np.dtype[Any]:
    """The smallest unsigned type that holds every id: uint16 up to 65,536 pieces, otherwise uint32."""
    return np.dtype(np.uint16 if vocab_size <= 2**16 else np.uint32)


def source_of(name: str) -> str:
    """The source of a shard named `<source>-<NNN>`."""
    return name.rpartition("-")[0]


def write_manifest(
    folder: Path,
    tokenizer: str,
    vocab_size: int,
    layout: dict[str, Any],
    entries: list[ShardEntry],
    waived_gates: Sequence[str] = (),
) -> None:
    """Write the files that make a set of shards whole, the manifest and _SHA256SUMS; they come last.

    `tokenizer` is `Tokenizer.encoding_sha256`, `layout` the options of section `encode`. `waived_gates` are those that
    the tokenizer missed and that params.yaml waives.
    """
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "dtype": id_dtype(vocab_size).name,
        "vocab_size": vocab_size,
        "tokenizer": tokenizer,
        "layout": layout,
        "counts": _counts(entries),
    }
    manifest |= {"waived_gates": [*waived_gates]} if waived_gates else {}
    files.write_records(folder / "manifest.json", manifest, "shards", map(asdict, entries))
    known = {f"{entry.path}.npy": entry.ids_sha256 for entry in entries}
    checksums.write(folder, known | {f"{entry.path}.parquet": entry.documents_sha256 for entry in entries})


class TokenShards:
    """A whole set of token shards, opened for reading.

    Arguments:
        folder: what `encode` wrote.
        tokenizer: `Tokenizer.encoding_sha256` of the one the reader works with.

    Raises:
        UserError: the set is incomplete, of another size than its manifest says, or another tokenizer's.

    Attributes:
        waived_gates: gates of `validate` that the tokenizer missed and that params.yaml waives.
        add_bos: whether <bos> begins each document.
        add_eos: whether <eos> ends each document.
    """

    def __init__(self, folder: Path, tokenizer: str) -> None:
        recorded = columns.recorded(folder, MADE_BY)
        manifest, self._entries = _manifest(folder / "manifest.json", recorded)
        if manifest["tokenizer"] != tokenizer:
            raise UserError(
                f"{folder} was made by the tokenizer {manifest['tokenizer'][:16]}…, but the one at hand is "
                f"{tokenizer[:16]}…. Make the tokens again with: {MADE_BY}"
            )
        self.folder = folder
        self.vocab_size: int = manifest["vocab_size"]
        self.waived_gates: list[str] = manifest.get("waived_gates", [])
        self.add_bos, self.add_eos = (manifest["layout"][name] is True for name in ("add_bos", "add_eos"))
        self.dtype = id_dtype(self.vocab_size)
        if manifest["dtype"] != self.dtype.name:
            raise UserError(
                f"{folder}/manifest.json: dtype: expected {self.dtype.name} for {self.vocab_size:,} pieces, got "
                f"{manifest['dtype']!r:.80}. Run: {MADE_BY}"
            )
        self._shards: dict[Path, ShardFile] = {}  # stored ones, and those that were asked for
        self._compare_all(self._stored(recorded) or recorded)

    @cached_property
    def sha256(self) -> str:
        """Identity of the set: the manifest's hash, which covers the hash of every shard."""
        return files.sha256_file(self.folder / "manifest.json")

    def sources(self, split: str) -> list[str]:
        """The sources of a split, in the order of the manifest."""
        return list(pc.unique(self._rows(split)["source"]).to_pylist())

    def stream(self, split: str, source: str | None = None) -> TokenStream:
        """All ids of a split, or of a source in it, as one stream in the order of the manifest, read as needed."""
        return TokenStream([self._ids(entry) for entry in self._of(split, source)])

    def affect(self, split: str, source: str | None = None) -> AffectStream:
        """The affect vectors that belong to `stream` of the same arguments."""
        starts, vectors, begin = [], [], 0
        for entry in self._of(split, source):
            table = self._documents(entry, columns=["offset", "affect"])
            starts.append(table["offset"].to_numpy() + begin)
            vectors.append(table["affect"].combine_chunks().flatten().to_numpy().reshape(-1, len(EMOTIONS)))
            begin += entry.tokens
        return AffectStream(np.concatenate(starts), np.concatenate(vectors))

    def documents(self, split: str) -> Iterator[tuple[Ids, dict[str, Any]]]:
        """Yield each document of a split: its ids, and its row of the schema DOCUMENTS."""
        for entry in self._of(split):
            ids = self._ids(entry)
            for row in self._documents(entry).to_pylist():
                yield ids[row["offset"] : row["offset"] + row["tokens"]], row

    def documents_at(self, split: str, source: str | None, start: int, stop: int) -> list[str]:
        """The documents, as `source: doc`, in which ids `start` to `stop` of `stream(split, source)` lie."""
        found, begin = [], 0
        for entry in self._of(split, source):
            if begin < stop and start < begin + entry.tokens:
                table = self._documents(entry, columns=["offset", "tokens", "doc", "source"])
                first = pc.add(table["offset"], begin)
                inside = pc.and_(pc.less(first, stop), pc.greater(pc.add(first, table["tokens"]), start))
                found += [f"{row['source']}: {row['doc']}" for row in table.filter(inside).to_pylist()]
            begin += entry.tokens
        return found

    def verify(self) -> None:
        """Hash every file and compare (a store is asked for its hashes); an altered one is a `UserError`."""
        placement.verify_all(self._shard(file) for entry in self._each(self._entries) for file in entry.files)

    @property
    def entries(self) -> list[ShardEntry]:
        """The entries of the manifest, as objects of some 1 kB."""
        return list(self._each(self._entries))

    def _of(self, split: str, source: str | None = None) -> Iterator[ShardEntry]:
        return self._each(self._rows(split, source))

    def _rows(self, split: str, source: str | None = None) -> pa.Table:
        wanted = pc.starts_with(self._entries["path"], f"{split}/")
        if source is not None:
            wanted = pc.and_(wanted, pc.equal(self._entries["source"], source))
        return self._entries.filter(wanted)

    @staticmethod
    def _each(rows: pa.Table) -> Iterator[ShardEntry]:
        for some in rows.to_batches(_AT_ONCE):
            yield from (ShardEntry(**row) for row in some.to_pylist())

    def _shard(self, file: tuple[str, int, str]) -> ShardFile:
        """A file of the set by its name, size and SHA-256; it is compared with them once."""
        name, size, sha256 = file
        path = self.folder / name
        return self._shards.setdefault(path, ShardFile(path, size, MADE_BY, sha256))

    def _documents(self, entry: ShardEntry, columns: list[str] | None = None) -> pa.Table:
        with self._shard(entry.files[1]).opened() as file:
            return pq.read_table(file, columns=columns)

    def _ids(self, entry: ShardEntry) -> IdArray:
        shard = self._shard(entry.files[0])
        shard.verify()
        if shard.stored:
            return StoredIds(shard.stored, entry.tokens, self.dtype)
        ids, file = MappedIds.of(shard.path), shard.path
        if ids is None or (ids.length, ids.dtype) != (entry.tokens, self.dtype):
            got = f"{ids.length} of {ids.dtype}" if ids else "another kind of file"
            raise UserError(
                f"{file}: expected {entry.tokens} ids of {self.dtype}, got {got}. {checksums.remedy(MADE_BY)}"
            )
        return ids

    def _stored(self, recorded: pa.Table) -> pa.Table | None:
        """The shards of both splits, if they lie in a store: rows of `columns.RECORDED`."""
        lists = {split: pc.index(recorded["name"], f"{split}/{placement.LIST}").as_py() for split in SPLITS}
        rows = []
        for split, row in lists.items():
            if row >= 0:
                digests = {placement.LIST: recorded["sha256"][row].as_py().hex()}
                shards = placement.shards(self.folder / split, MADE_BY, digests)
                self._shards |= {shard.path: shard for shard in shards}
                rows += [(f"{split}/{shard.path.name}", bytes.fromhex(shard.recorded), shard.size) for shard in shards]
        return pa.table([list(values) for values in zip(*rows, strict=True)], schema=columns.RECORDED) if rows else None

    def _compare_all(self, found: pa.Table) -> None:
        """Compare names, sizes and hashes of the files with the manifest's."""
        expected = _files_of(self._entries)
        place = pc.index_in(expected["name"], found["name"])
        same = pc.fill_null(pc.equal(expected["size"], found["size"].take(place)), fill_value=False)
        is_shard = pc.match_substring_regex(found["name"], rf"\A({'|'.join(SPLITS)})/[^/]+\z")
        is_shard = pc.and_not(is_shard, pc.ends_with(found["name"], ".json"))
        alike = pc.all(same, min_count=0).as_py() and len(expected) == columns.distinct(place)
        if not alike or pc.sum(is_shard, min_count=0).as_py() != len(expected):
            self._raise_wrong(expected, found.filter(is_shard))
        other = pc.not_equal(expected["sha256"], found["sha256"].take(place))
        for row in expected.append_column("place", place).filter(other).to_pylist():
            got = found["sha256"][row["place"]].as_py()
            raise checksums.altered(self.folder / row["name"], row["sha256"].hex(), got.hex(), MADE_BY)

    def _raise_wrong(self, expected: pa.Table, found: pa.Table) -> None:
        """Word the difference between names and sizes."""
        wanted, there = (
            dict(zip(*(table[name].to_pylist() for name in ("name", "size")), strict=True))
            for table in (expected, found)
        )
        wrong = sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))
        told = [
            f"{self.folder / name}: expected {_bytes(wanted.get(name))}, got {_bytes(there.get(name))}"
            for name in wrong[:5]
        ]
        more = [f"and {len(wrong) - 5} more"] if len(wrong) > 5 else []
        raise UserError(
            "\n".join([f"{self.folder} is not the set its manifest describes:", *told, *more])
            + f"\n{checksums.remedy(MADE_BY)}"
        )


def _manifest(path: Path, recorded: pa.Table) -> tuple[dict[str, Any], pa.Table]:
    """The manifest, whose hash a record has, without its shards; and these: rows of ENTRIES."""
    row = pc.index(recorded["name"], path.name).as_py()
    if row < 0:
        raise UserError(f"{path.parent / checksums.NAME} does not list {path.name}. {checksums.remedy(MADE_BY)}")
    checksums.compare(path, recorded["sha256"][row].as_py().hex(), MADE_BY)
    shape = {"tokenizer": str, "dtype": str, "vocab_size": int, "layout": {"add_bos": bool, "add_eos": bool}}
    read = columns.read_records(path, "shards", ENTRIES)
    if read is None:  # it says what is wrong
        manifest = files.read_format(path, MADE_BY, FORMAT, **shape, shards=[ShardEntry])
        return manifest, pa.Table.from_pylist(manifest.pop("shards"), ENTRIES)
    manifest, entries = read
    files.require_format(path, manifest, MADE_BY, FORMAT, **shape)
    return manifest, entries


def _files_of(entries: pa.Table) -> pa.Table:
    """The files that entries name: rows of `columns.RECORDED`."""
    tables = []
    for suffix, kind in _SUFFIXES.items():
        name = pc.binary_join_element_wise(
            entries["path"], pa.scalar(suffix, pa.large_string()), pa.scalar("", pa.large_string())
        )
        digests = columns.binary(entries[f"{kind}_sha256"].combine_chunks())
        tables.append(pa.table([name, digests, entries[f"{kind}_size"]], schema=columns.RECORDED))
    return pa.concat_tables(tables)


def files_of(folder: Path, path: str) -> tuple[Path, Path]:
    """The places of a shard's ids and of its documents."""
    return folder / f"{path}.npy", folder / f"{path}.parquet"


def _bytes(size: int | None) -> str:
    return "no file" if size is None else f"{size:,} bytes"


def _counts(entries: list[ShardEntry]) -> dict[str, dict[str, dict[str, int]]]:
    """Documents, tokens and bytes per split and source."""
    counts: dict[str, dict[str, dict[str, int]]] = {split: {} for split in SPLITS}
    for entry in entries:
        of_source = counts[entry.split].setdefault(entry.source, {"documents": 0, "tokens": 0, "bytes": 0})
        for name in of_source:
            of_source[name] += getattr(entry, name)
    return counts

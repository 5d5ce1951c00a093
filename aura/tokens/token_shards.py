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

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aura.core import checksums, files
from aura.core.errors import UserError
from aura.core.terms import EMOTIONS, SPLITS
from aura.storage import placement
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


def id_dtype(vocab_size: int) -> np.dtype[Any]:
    """The smallest unsigned type that holds every id: uint16 up to 65,536 pieces, otherwise uint32."""
    return np.dtype(np.uint16 if vocab_size <= 2**16 else np.uint32)


def source_of(name: str) -> str:
    """The source of a shard named `<source>-<NNN>`."""
    return name.rpartition("-")[0]


def write_manifest(
    folder: Path, tokenizer: str, vocab_size: int, layout: dict[str, Any], entries: list[ShardEntry]
) -> None:
    """Write the files that make a set of shards whole, the manifest and _SHA256SUMS; they come last.

    `tokenizer` is `Tokenizer.encoding_sha256`, `layout` the options of section `encode`.
    """
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "dtype": id_dtype(vocab_size).name,
        "vocab_size": vocab_size,
        "tokenizer": tokenizer,
        "layout": layout,
        "counts": _counts(entries),
    }
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
    """

    def __init__(self, folder: Path, tokenizer: str) -> None:
        recorded = checksums.read(folder, MADE_BY)
        checksums.verify(folder, MADE_BY, "manifest.json")
        shape = {"tokenizer": str, "dtype": str, "vocab_size": int, "shards": [ShardEntry]}
        manifest = files.read_format(folder / "manifest.json", MADE_BY, FORMAT, **shape)
        if manifest["tokenizer"] != tokenizer:
            raise UserError(
                f"{folder} was made by the tokenizer {manifest['tokenizer'][:16]}…, but the one at hand is "
                f"{tokenizer[:16]}…. Make the tokens again with: {MADE_BY}"
            )
        self.folder = folder
        self.vocab_size: int = manifest["vocab_size"]
        self.dtype = id_dtype(self.vocab_size)
        if manifest["dtype"] != self.dtype.name:
            raise UserError(
                f"{folder}/manifest.json: dtype: expected {self.dtype.name} for {self.vocab_size:,} pieces, got "
                f"{manifest['dtype']!r:.80}. Run: {MADE_BY}"
            )
        self.entries = [ShardEntry(**entry) for entry in manifest["shards"]]
        listed = (placement.shards(folder / split, MADE_BY, _below(recorded, split)) for split in SPLITS)
        self._shards = {shard.path: shard for of_split in listed for shard in of_split}
        self._check_names_and_sizes()

    @cached_property
    def sha256(self) -> str:
        """Identity of the set: the manifest's hash, which covers the hash of every shard."""
        return files.sha256_file(self.folder / "manifest.json")

    def sources(self, split: str) -> list[str]:
        """The sources of a split, in the order of the manifest."""
        return list(dict.fromkeys(entry.source for entry in self._of(split)))

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

    def verify(self) -> None:
        """Hash every file and compare (a store is asked for its hashes); an altered one is a `UserError`."""
        expected: dict[Path, str] = {}
        for entry in self.entries:
            ids_file, documents_file = files_of(self.folder, entry.path)
            expected |= {ids_file: entry.ids_sha256, documents_file: entry.documents_sha256}
        placement.at_once(lambda path: self._compare(path, expected[path]), list(expected))

    def _compare(self, path: Path, sha256: str) -> None:
        shard = self._shards[path]
        shard.verify()
        if shard.recorded != sha256:
            raise checksums.altered(path, sha256, shard.recorded, MADE_BY)

    def _of(self, split: str, source: str | None = None) -> list[ShardEntry]:
        return [entry for entry in self.entries if entry.split == split and source in (None, entry.source)]

    def _documents(self, entry: ShardEntry, columns: list[str] | None = None) -> pa.Table:
        with self._shards[files_of(self.folder, entry.path)[1]].opened() as file:
            return pq.read_table(file, columns=columns)

    def _ids(self, entry: ShardEntry) -> IdArray:
        file = files_of(self.folder, entry.path)[0]
        self._compare(file, entry.ids_sha256)
        if stored := self._shards[file].stored:
            return StoredIds(stored, entry.tokens, self.dtype)
        ids = MappedIds.of(file)
        if ids is None or (ids.length, ids.dtype) != (entry.tokens, self.dtype):
            got = f"{ids.length} of {ids.dtype}" if ids else "another kind of file"
            raise UserError(
                f"{file}: expected {entry.tokens} ids of {self.dtype}, got {got}. {checksums.remedy(MADE_BY)}"
            )
        return ids

    def _check_names_and_sizes(self) -> None:
        expected: dict[Path, int] = {}
        for entry in self.entries:
            ids_file, documents_file = files_of(self.folder, entry.path)
            expected |= {ids_file: entry.ids_size, documents_file: entry.documents_size}
        found = {path: shard.size for path, shard in self._shards.items()}
        wrong = sorted(file for file in expected.keys() | found.keys() if expected.get(file) != found.get(file))
        if wrong:
            told = [f"{file}: expected {_bytes(expected.get(file))}, got {_bytes(found.get(file))}" for file in wrong]
            more = [f"and {len(told) - 5} more"] if len(told) > 5 else []
            raise UserError(
                "\n".join([f"{self.folder} is not the set its manifest describes:", *told[:5], *more])
                + f"\n{checksums.remedy(MADE_BY)}"
            )


def files_of(folder: Path, path: str) -> tuple[Path, Path]:
    """The places of a shard's ids and of its documents."""
    return folder / f"{path}.npy", folder / f"{path}.parquet"


def _below(recorded: dict[str, str], split: str) -> dict[str, str]:
    """Return the records of the files in the folder of a split, by their names in it."""
    start = f"{split}/"
    return {name.removeprefix(start): digest for name, digest in recorded.items() if name.startswith(start)}


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

"""Conversation shards: conversations with their ids, as the stage `conversations` leaves them and `adapt` reads them.

    data/conversations/manifest.json       what the set holds, and which tokenizer made it
    data/conversations/train/0000.parquet  one row per conversation, of the schema CONVERSATIONS
    data/conversations/_SHA256SUMS         every file's hash

Parquet alone holds everything, so any tool shows text and ids side by side. Training needs flat arrays. A reader
decodes a split once into a temporary file without a name, which is mapped into memory: 5 bytes a token on the disk of
TMPDIR, 40 bytes a conversation in memory, and at most a row group of Arrow's at a time.

Opening compares names, sizes and the tokenizer in milliseconds; a shard is hashed when it is first read.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from aura.core import checksums, files
from aura.core.errors import UserError
from aura.core.terms import EMOTIONS, SPLITS
from aura.tokenizer.chat_encoding import EncodedConversation, Spoken

FORMAT = 1
MADE_BY = "dvc repro conversations"
MANIFEST = "manifest.json"
GROUP_TOKENS = 1 << 20  # of a row group, as soon as it has so many; 10 MB with its text
GROUP_ROWS = 1 << 14
SHARD_TOKENS = 1 << 26  # of a shard, as soon as it has so many

_MESSAGE = pa.struct([pa.field("role", pa.string(), False), pa.field("content", pa.string(), False)])
CONVERSATIONS = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),  # where it was read, for people
        pa.field("source", pa.string(), nullable=False),
        pa.field("messages", pa.list_(pa.field("element", _MESSAGE, False)), nullable=False),
        pa.field("ids", pa.list_(pa.field("element", pa.int32(), False)), nullable=False),
        pa.field("learnt", pa.list_(pa.field("element", pa.bool_(), False)), nullable=False),  # of each id
        pa.field("affect", pa.list_(pa.float32(), len(EMOTIONS)), nullable=False),
    ]
)


@dataclass(frozen=True)
class ConversationShard:
    """The manifest's entry of one shard; `path` is relative to the set, as in `train/0000.parquet`."""

    path: str
    conversations: int
    tokens: int
    learnt: int  # tokens
    size: int  # bytes
    sha256: str

    @property
    def split(self) -> str:
        """`train` or `held_out`."""
        return self.path.partition("/")[0]


class ConversationSplitWriter:
    """Writes one split of a set, conversation by conversation; the cuts between shards depend on these alone.

    Arguments:
        folder: of the set.
        split: `train` or `held_out`.
        group_tokens: of a row group. At most this, and one conversation, waits in memory.
        shard_tokens: of a shard.
    """

    def __init__(
        self, folder: Path, split: str, *, group_tokens: int = GROUP_TOKENS, shard_tokens: int = SHARD_TOKENS
    ) -> None:
        self._folder, self._split = folder, split
        self._group_tokens, self._shard_tokens = group_tokens, shard_tokens
        self._rows: list[dict[str, Any]] = []
        self._waiting = 0  # tokens of these rows
        self._entries: list[ConversationShard] = []
        self._open = ExitStack()
        self._shard: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        (self._folder / self._split).mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def add(
        self,
        name: str,
        source: str,
        messages: Sequence[Spoken],
        encoded: EncodedConversation,
        affect: Sequence[float] | None = None,
    ) -> None:
        """Append a conversation; without an affect vector it gets zeros."""
        row = {
            "name": name,
            "source": source,
            "messages": [{"role": message.role, "content": message.content} for message in messages],
            "ids": encoded.ids,
            "learnt": encoded.learnt,
            "affect": [0.0] * len(EMOTIONS) if affect is None else affect,
        }
        self._rows.append(row)
        self._waiting += len(encoded.ids)
        if self._waiting >= self._group_tokens or len(self._rows) == GROUP_ROWS:
            self._write_group()

    def finish(self) -> list[ConversationShard]:
        """Write what still waits, and return the entries of the split's shards; none of no conversations."""
        if self._rows:
            self._write_group()
        self._end_shard()
        return self._entries

    def _write_group(self) -> None:
        shard = self._shard or self._begin_shard()
        shard.write_table(pa.Table.from_pylist(self._rows, CONVERSATIONS), len(self._rows))
        self._counts += len(self._rows), self._waiting, sum(int(row["learnt"].sum()) for row in self._rows)
        self._rows, self._waiting = [], 0
        if self._counts[1] >= self._shard_tokens:
            self._end_shard()

    def _begin_shard(self) -> pq.ParquetWriter:
        self._name = f"{self._split}/{len(self._entries):04d}.parquet"
        path = self._folder / self._name
        path.unlink(missing_ok=True)  # made before, it may be the cache's too, and must not be written into
        self._counts = np.zeros(3, np.int64)
        self._shard = self._open.enter_context(pq.ParquetWriter(path, CONVERSATIONS, compression="zstd"))
        return self._shard

    def _end_shard(self) -> None:
        if self._shard is None:
            return
        self._open.close()
        self._shard = None
        path = self._folder / self._name
        conversations, tokens, learnt = self._counts.tolist()
        size, sha256 = path.stat().st_size, files.sha256_file(path)
        self._entries.append(ConversationShard(self._name, conversations, tokens, learnt, size, sha256))


def write_manifest(
    folder: Path, encoding_sha256: str, entries: Sequence[ConversationShard], details: Mapping[str, Any] | None = None
) -> None:
    """Write the files that make a set whole, the manifest and _SHA256SUMS; they come last.

    Arguments:
        folder: of the set.
        encoding_sha256: `Tokenizer.encoding_sha256` of the tokenizer of all ids.
        entries: those of both splits, as `ConversationSplitWriter.finish` returns them.
        details: what else the manifest says, such as the counts of each source; JSON, with keys of its own.
    """
    manifest = dict(details or {}) | {"format": FORMAT, "tokenizer": encoding_sha256, "counts": _counts(entries)}
    files.write_records(folder / MANIFEST, manifest, "shards", map(asdict, entries))
    checksums.write(folder, {entry.path: entry.sha256 for entry in entries})


@dataclass(frozen=True, eq=False)
class Conversations:
    """All conversations of a split, one after the other.

    Attributes:
        ids: (tokens,) int32, mapped from a temporary file.
        learnt: (tokens,) bool, of each id: the text and <eos> of assistant messages. Mapped as well.
        offsets: (conversations + 1,) int64, where each conversation begins in `ids`, and last the number of tokens.
        affect: (conversations, 8) float32.
    """

    ids: npt.NDArray[np.int32]
    learnt: npt.NDArray[np.bool_]
    offsets: npt.NDArray[np.int64]
    affect: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.offsets) - 1


class ConversationShards:
    """A whole set of conversation shards, opened for reading.

    Arguments:
        folder: what `conversations` wrote.
        encoding_sha256: `Tokenizer.encoding_sha256` of the one the reader works with.

    Raises:
        UserError: the set is incomplete, of another size than its manifest says, or another tokenizer's.
    """

    def __init__(self, folder: Path, encoding_sha256: str) -> None:
        self.folder = folder
        recorded = checksums.read(folder, MADE_BY)
        checksums.verify(folder, MADE_BY, MANIFEST)
        self.manifest: dict[str, Any] = files.read_format(
            folder / MANIFEST, MADE_BY, FORMAT, tokenizer=str, counts=dict, shards=[ConversationShard]
        )
        if self.manifest["tokenizer"] != encoding_sha256:
            raise UserError(
                f"{folder} was made by the tokenizer {self.manifest['tokenizer'][:16]}…, but the one at hand is "
                f"{encoding_sha256[:16]}…. Make the conversations again with: {MADE_BY}"
            )
        self.entries = [ConversationShard(**entry) for entry in self.manifest.pop("shards")]
        self._compare_all(recorded)
        self._verified = set[str]()

    @cached_property
    def sha256(self) -> str:
        """Identity of the set: the manifest's hash, which covers the hash of every shard."""
        return files.sha256_file(self.folder / MANIFEST)

    def split(self, split: str) -> Conversations:
        """The conversations of `train` or `held_out` as flat arrays; a split may have none.

        Raises `UserError` if a shard was altered.
        """
        entries = self._of(split)
        tokens, rows = (sum(getattr(entry, name) for entry in entries) for name in ("tokens", "conversations"))
        ids, learnt = _temporary(tokens, np.int32), _temporary(tokens, np.bool_)
        offsets, affect = np.zeros(rows + 1, np.int64), np.zeros((rows, len(EMOTIONS)), np.float32)
        row = place = 0
        for group in self._groups(entries, ["ids", "learnt", "affect"]):
            lists = group["ids"].combine_chunks()
            last, end = row + len(group), place + len(lists.flatten())
            ids[place:end] = lists.flatten().to_numpy()
            learnt[place:end] = group["learnt"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
            offsets[row + 1 : last + 1] = np.cumsum(lists.value_lengths().to_numpy()) + place
            affect[row:last] = group["affect"].combine_chunks().flatten().to_numpy().reshape(-1, len(EMOTIONS))
            row, place = last, end
        return Conversations(ids, learnt, offsets, affect)

    def rows(self, split: str, columns: Sequence[str] = ("name", "source", "messages")) -> Iterator[dict[str, Any]]:
        """Yield the conversations of a split in the order of `split`, with these columns of CONVERSATIONS."""
        for group in self._groups(self._of(split), list(columns)):
            yield from group.to_pylist()

    def verify(self) -> None:
        """Hash every file and compare; an altered one is a `UserError`."""
        for entry in self.entries:
            self._verify(entry)

    def _of(self, split: str) -> list[ConversationShard]:
        if split not in SPLITS:
            raise ValueError(f"split: expected one of {', '.join(SPLITS)}, got {split!r}")
        return [entry for entry in self.entries if entry.split == split]

    def _groups(self, entries: Sequence[ConversationShard], columns: list[str]) -> Iterator[pa.Table]:
        """Yield each row group of some shards."""
        for entry in entries:
            self._verify(entry)
            with pq.ParquetFile(self.folder / entry.path) as file:
                for group in range(file.num_row_groups):
                    yield file.read_row_group(group, columns)

    def _verify(self, entry: ConversationShard) -> None:
        if entry.path not in self._verified:
            checksums.compare(self.folder / entry.path, entry.sha256, MADE_BY)
            self._verified.add(entry.path)

    def _compare_all(self, recorded: dict[str, str]) -> None:
        """Compare names, sizes and recorded hashes of the files with the manifest's."""
        names = {name for name in recorded if name != MANIFEST}
        if names != {entry.path for entry in self.entries}:
            listed = ", ".join(sorted(names ^ {entry.path for entry in self.entries})[:5])
            raise UserError(
                f"{self.folder} is not the set its manifest describes: {listed}. {checksums.remedy(MADE_BY)}"
            )
        for entry in self.entries:
            path = self.folder / entry.path
            if (got := path.stat().st_size) != entry.size:
                raise UserError(
                    f"{path}: expected {entry.size:,} bytes, got {got:,} bytes. {checksums.remedy(MADE_BY)}"
                )
            if recorded[entry.path] != entry.sha256:
                raise checksums.altered(path, entry.sha256, recorded[entry.path], MADE_BY)


def _temporary(length: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """An array of zeros in a file without a name, which its last reader's end removes."""
    if not length:
        return np.zeros(0, dtype)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, dtype, "w+", shape=(length,))


def _counts(entries: Sequence[ConversationShard]) -> dict[str, dict[str, int]]:
    """Conversations, tokens and learnt tokens of each split."""
    names = ("conversations", "tokens", "learnt")
    return {
        split: {name: sum(getattr(entry, name) for entry in entries if entry.split == split) for name in names}
        for split in SPLITS
    }

"""Large files in chunks: where a file may be cut, so that each part of it becomes a shard, in any process.

A chunk is what one task reads, cleans and writes. A range of lines has about `max_document_bytes`, so that a file of
some hundred megabytes keeps several cores busy to its end; any other chunk has twice as much. In a very large file,
chunks have up to 16 times `max_document_bytes`.

| file | chunks |
|---|---|
| JSON, and text of a document a line, plain and UTF-8 | ranges of lines |
| Parquet | row groups |
| any other: compressed, or one document | the whole file, in shards of that size |

The content of a few lines decides a cut, so a line more in a file changes the chunk that it is in, and no other. A
record of JSON may stand on several lines; a reader that finds itself inside of one at a chunk's end says so, and the
file is then read as a whole.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import xxhash

from aura.core.errors import UserError
from aura.core.keys import action_key
from aura.extract.rows import Recipe
from aura.sources.documents import compression, parquet
from aura.sources.documents.encodings import BLOCK_BYTES, MARKS, encoding_of
from aura.sources.documents.impostors import HEAD_BYTES, impostor
from aura.sources.documents.json_files import is_whole_object
from aura.sources.input_files import UNREADABLE, InputFile, changed_while_read, unreadable
from aura.sources.options import DatasetSource, JsonSource, ParquetSource, Source, TxtSource
from aura.storage.cache import Cache

SWELLING = 4  # how many times its size a compressed or Parquet file usually comes to
CHUNKS = 32  # of a file, before its chunks get larger
MOST = 16  # times `max_document_bytes` that a chunk has
_SEEN = 64  # bytes around a line's start that decide whether it may be a cut
_WORDS = (-16, 0, 16, 32)  # where around it eight bytes are taken
_FACTORS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x27D4EB2F165667C5)


def is_large(file: InputFile, recipe: Recipe) -> bool:
    """Return whether a file gets shards of its own."""
    return text_bytes(file, recipe) > recipe.settings.max_document_bytes // 2


def text_bytes(file: InputFile, recipe: Recipe) -> int:
    """The bytes that a file probably comes to."""
    return file.size * SWELLING if _swells(file, recipe) else file.size


def shard_bytes(file: InputFile, recipe: Recipe) -> int:
    """The bytes of text that a shard of this file has, about."""
    least = recipe.settings.max_document_bytes
    size, found = text_bytes(file, recipe), 2 * least if _swells(file, recipe) else least
    while size > CHUNKS * found and found < MOST * least:
        found *= 2
    return found


def _swells(file: InputFile, recipe: Recipe) -> bool:
    """Return whether a file is compressed, or Parquet."""
    packed = compression.is_compressed(file.name) or (file.stored is not None and file.stored.is_packed)
    return recipe.source.kind == "parquet" or packed


@dataclass(frozen=True)
class Span:
    """A part of a file: a range of bytes and, in Parquet, of row groups."""

    start: int
    end: int
    digest: str  # of its content
    documents: int  # that it probably has
    lines: int  # that end in it; in Parquet, rows
    groups: tuple[int, int] | None = None


@dataclass(frozen=True)
class Chunk:
    """A part of a file to be made into shards: `span`, or all of it."""

    file: InputFile
    digest: str  # of the file
    state: tuple[int, ...]  # of the file, when it was cut
    shard_bytes: int  # of text, about
    span: Span | None = None
    number: int = 0  # in the file
    first: int = 0  # number of its first document in the file
    line: int = 0  # lines, or rows, before it
    last: bool = True

    def __str__(self) -> str:
        return f"{self.file}, part {self.number} from document {self.first:,}"

    @property
    def content(self) -> tuple[str, ...]:
        """Everything about it that decides its documents' texts, and how they are laid into shards."""
        return (
            self.file.name,
            self.span.digest if self.span else self.digest,
            str(self.shard_bytes),
            str(bool(self.span)),
            str(self.last),  # a record that goes on behind its end is a loss in the last one alone
        )

    @property
    def size(self) -> int:
        """The bytes of it that the file has."""
        return self.span.end - self.span.start if self.span else self.file.size

    @property
    def whole(self) -> "Chunk":
        """All of its file."""
        return Chunk(self.file, self.digest, self.state, self.shard_bytes)

    def require_unchanged(self) -> None:
        """Raise `UserError` if the file is another one by now."""
        if _state(self.file) != self.state:
            raise UserError(changed_while_read(self.file.place))


def numbered(chunks: list[Chunk], counts: dict[tuple[str, ...], int]) -> list[Chunk]:
    """The chunks of a file with the number of their first document, by the counts of those that are known."""
    found, first = [], 0
    for chunk in chunks:
        found.append(replace(chunk, first=first))
        first += counts.get(chunk.content, chunk.span.documents if chunk.span else 0)
    return found


def find(cache: Cache, namespace: str, file: InputFile) -> list[Chunk] | None:
    """Return the chunks that a file was cut into, if it still has the stamp that it had then."""
    last = cache.get(action_key("stamp", namespace, file.name))
    if last is None or not file.stamp or last.record["stamp"] != file.stamp:
        return None
    return _known(
        cache, namespace, file, last.record["digest"], tuple(last.record["state"]), last.record["shard_bytes"]
    )


def cut(file: InputFile, *, cache: Cache, namespace: str, recipe: Recipe) -> list[Chunk]:
    """Cut a file into chunks, unless its content is known to the cache; runs in a worker process."""
    state = _state(file)
    digest, _ = file.fingerprint_now()
    file.require(digest)
    size = shard_bytes(file, recipe)
    if digest.startswith(UNREADABLE) or file.problem:
        return [Chunk(file, digest, state, size)]
    chunks = _known(cache, namespace, file, digest, state, size)
    if chunks is None:
        chunks = _chunks(file, digest, state, size, list(_spans(file, recipe.source, size, digest)))
        keep(cache, namespace, chunks)
    if _state(file) != state:
        raise UserError(changed_while_read(file.place))
    record = {"stamp": file.stamp, "digest": digest, "state": state, "shard_bytes": size}
    cache.put(action_key("stamp", namespace, file.name), record, {})
    return chunks


def keep(cache: Cache, namespace: str, chunks: list[Chunk]) -> None:
    """Let the cache know how a file is cut."""
    record = [vars(chunk.span) for chunk in chunks if chunk.span]
    cache.put(_key(namespace, chunks[0].file.name, chunks[0].digest, chunks[0].shard_bytes), record, {})


def _known(
    cache: Cache, namespace: str, file: InputFile, digest: str, state: tuple[int, ...], size: int
) -> list[Chunk] | None:
    entry = cache.get(_key(namespace, file.name, digest, size))
    if entry is None:
        return None
    spans = [Span(**values | {"groups": tuple(values["groups"] or ()) or None}) for values in entry.record]
    return _chunks(file, digest, state, size, spans)


def _key(namespace: str, name: str, digest: str, size: int) -> str:
    return action_key("cuts", namespace, name, digest, size)


def _chunks(file: InputFile, digest: str, state: tuple[int, ...], size: int, spans: list[Span]) -> list[Chunk]:
    if len(spans) < 2:
        return [Chunk(file, digest, state, size)]
    found, line = [], 0
    for number, span in enumerate(spans):
        found.append(Chunk(file, digest, state, size, span, number, 0, line, number == len(spans) - 1))
        line += span.lines
    return found


def _state(file: InputFile) -> tuple[int, ...]:
    """Another whenever the content of a file is: nobody can set the time of its last change."""
    if file.stored:
        return (file.stamp,)
    try:
        found = file.path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _spans(file: InputFile, source: Source, size: int, digest: str) -> Iterator[Span]:
    """The parts that a file can be read in; none if it must be read as a whole."""
    if compression.is_compressed(file.name) or (file.stored and file.stored.is_packed):
        return
    with opened_now(file) as opened:
        head = opened.read(BLOCK_BYTES)
        if impostor(source.kind, file.name, head[:HEAD_BYTES]):
            return
        if isinstance(source, ParquetSource):
            yield from _row_groups(file, opened, size, digest)
        elif _has_lines(source, head):
            yield from _ranges_of_lines(opened, file.size, size)


def opened_now(file: InputFile) -> BinaryIO:
    """A file that was readable a moment ago, opened; raises `UserError` if it is not any more."""
    try:
        return file.open()
    except OSError as error:
        raise UserError(f"{file.place}: {unreadable(error)}. Run the same command again.") from None


def _has_lines(source: Source, head: bytes) -> bool:
    """Return whether a file that begins so consists of lines that can be read apart."""
    if head.startswith(tuple(MARKS)) or encoding_of(head) != "utf-8":
        return False
    if isinstance(source, TxtSource):
        return source.documents == "line" and not source.encoding
    if isinstance(source, DatasetSource) or (isinstance(source, JsonSource) and not source.encoding):
        return is_whole_object(head[: head.find(b"\n") + 1])
    return False


def _row_groups(file: InputFile, stream: BinaryIO, size: int, digest: str) -> Iterator[Span]:
    """Consecutive row groups of about `size` bytes; nothing is asked of a column, which may end the process."""
    try:
        with pq.ParquetFile(stream, pre_buffer=False) as opened:
            groups = [opened.metadata.row_group(number) for number in range(opened.metadata.num_row_groups)]
            sizes = [(group.total_byte_size, group.num_rows) for group in groups]
    except parquet.ERRORS:
        return
    if min(sizes, default=(0, 0))[0] < 0 or min((rows for _, rows in sizes), default=0) < 0:
        return
    start = held = 0
    for number, (held_bytes, _) in enumerate(sizes, start=1):
        held += held_bytes
        if held >= size or number == len(sizes):
            # Bytes of the file are counted with its first chunk: row groups say only what they hold.
            begin, rows = 0 if start == 0 else file.size, sum(rows for _, rows in sizes[start:number])
            yield Span(begin, file.size, action_key(digest, start, number), rows, rows, (start, number))
            start, held = number, 0


def _ranges_of_lines(opened: BinaryIO, end: int, size: int) -> Iterator[Span]:
    start = 0
    while start < end:
        stop = _next_cut(opened, start, end, size)
        digest, lines, blank, place = xxhash.xxh3_128(), 0, 0, start
        while place < stop:
            data = _read_at(opened, place, min(BLOCK_BYTES, stop - place))
            if not data:  # it is shorter than it was
                return
            digest.update(data)
            ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))  # an eighth of the time of two `count`
            lines += len(ends) + (data.count(b"\r") - data.count(b"\r\n") if b"\r" in data else 0)
            blank += int(np.count_nonzero(np.diff(ends) == 1))
            place += len(data)
        yield Span(start, stop, digest.hexdigest(), lines - blank, lines)
        start = stop


def _next_cut(opened: BinaryIO, start: int, end: int, size: int) -> int:
    """The first line's start behind seven eighths of `size` that is the least, by a hash, of those in a 16th around.

    Only the lines around it decide whether it is that. Up to half as much more is looked through.
    """
    near, least, most = max(size // 16, 1), start + size * 7 // 8, start + size * 3 // 2
    if end <= most:
        return end
    for reach in (min(least + 4 * near, most), most):
        places, hashes = _line_starts(opened, least - near, reach + near)
        place = _first_minimum(places, hashes, least, reach, near)
        if place is not None:
            return place
    inside = (places >= least) & (places <= most)
    if inside.any():
        return int(places[inside][np.argmin(hashes[inside])])
    place = most  # lines that are longer than that
    while data := _read_at(opened, place, BLOCK_BYTES):
        if (found := data.find(b"\n")) >= 0:
            return place + found + 1
        place += len(data)
    return end


def _read_at(opened: BinaryIO, place: int, size: int) -> bytes:
    opened.seek(place)
    return opened.read(size)


def _line_starts(opened: BinaryIO, start: int, end: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
    """Find where lines begin in a range, and hash the bytes around each."""
    before = max(start - _SEEN, 0)
    data = _read_at(opened, before, end + _SEEN - before)
    found = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n")) + 1
    found = found[(found >= _SEEN // 2) & (found <= len(data) - _SEEN)]
    words = np.ndarray(max(len(data) - 7, 0), "<u8", data, strides=(1,))
    hashes = np.zeros(len(found), np.uint64)
    for offset, factor in zip(_WORDS, _FACTORS, strict=True):
        hashes = (hashes ^ words[found + offset]) * np.uint64(factor)
        hashes ^= hashes >> np.uint64(32)
    return found + before, hashes


def _first_minimum(
    places: npt.NDArray[np.int64], hashes: npt.NDArray[np.uint64], least: int, most: int, near: int
) -> int | None:
    """The first place from `least` to `most` that has the least hash of all up to `near` before and behind it."""
    at = int(np.searchsorted(places, least))
    while at < len(places) and places[at] <= most:
        right = int(np.searchsorted(places, places[at] + near, "right"))
        best = at + int(np.argmin(hashes[at:right]))
        if best > at:  # it is near to all places before it, so none of them is one
            at = best
            continue
        left = int(np.searchsorted(places, places[at] - near))
        if left == at or hashes[left:at].min() >= hashes[at]:
            return int(places[at])
        at += 1
    return None

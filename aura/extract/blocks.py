"""Large files, in blocks: read as a stream, cleaned and kept block by block in the action cache.

A file above half of `max_document_bytes` (or, compressed, above what may swell to that) is read as a stream, in
portions of a quarter of `max_document_bytes`, so memory is a fixed number of such portions whatever the file's size.
A worker takes a whole file where there is one for each (`make_alone`): text then crosses no process and no network.
Of the files left over, this process reads one after the other, and workers clean its portions (`make`).

A block's key is its documents, so in a file of 4 GB with a changed line one block is made again; with a line more,
those behind it too, because their documents' numbers change.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import xxhash

from aura.core.arrow import from_bytes, to_bytes
from aura.core.errors import UserError
from aura.core.keys import action_key
from aura.extract.accounts import FileAccount, stop_on_bad, table
from aura.extract.documents import compression
from aura.extract.documents.compression import Damaged
from aura.extract.documents.document import Continued, Item, Lost
from aura.extract.documents.impostors import HEAD_BYTES, impostor
from aura.extract.documents.readers import documents
from aura.extract.options import Source
from aura.extract.rows import Extracted, Recipe, extract_items
from aura.extract.sources.input_files import UNREADABLE, InputFile, changed_while_read
from aura.storage.cache import Cache

SWELLING = 16  # how many times its size a compressed or Parquet file may come to, for planning
Made = tuple["Block", pa.Table]  # a block and its accounts
Map = Callable[[Callable[["Task"], Made], Iterator["Task"]], Iterator[Made]]  # results in the order of tasks


def is_large(file: InputFile, recipe: Recipe) -> bool:
    """Return whether a file is extracted in blocks."""
    most = recipe.settings.max_document_bytes // 2
    if file.size * SWELLING <= most:
        return False
    swells = recipe.source.kind == "parquet" or compression.is_compressed(file.name)
    return file.size * (SWELLING if swells else 1) > most


@dataclass(frozen=True)
class Task:
    """A block to extract; a block that the cache has comes without its documents."""

    file: str
    first: int  # number of its first document in the file
    digest: str
    key: str
    items: list[Item] | None


@dataclass(frozen=True)
class Block:
    """A block in the cache."""

    name: str  # of its file
    first: int
    digest: str
    key: str

    @property
    def stamp(self) -> int:
        """Another whenever its content is, like a file's."""
        return int(self.key[:15], 16)


@dataclass(frozen=True)
class Large:
    """A large file: its blocks, in order, and an account of its sizes."""

    blocks: list[Block]
    account: pa.Table


def find(cache: Cache, namespace: str, file: InputFile) -> Large | None:
    """Return the blocks that a large file was taken apart into, if known; the cache may have lost some of them."""
    index = cache.get(_index_key(namespace, file.name, digest_of(cache, namespace, file)))
    account = index.read("account") if index else None
    if index is None or account is None:
        return None
    return Large([Block(file.name, *block) for block in index.record], from_bytes(account))


def digest_of(cache: Cache, namespace: str, file: InputFile) -> str:
    """Return the hash of a large file's content: the known one, if the file still has the stamp of that hash."""
    key = action_key("stamp", namespace, file.name)
    last = cache.get(key)
    if last and file.stamp and last.record["stamp"] == file.stamp:
        return str(last.record["digest"])
    digest, _ = file.fingerprint()
    if not digest.startswith(UNREADABLE):
        cache.put(key, {"stamp": file.stamp, "digest": digest}, {})
    return digest


def make(cache: Cache, namespace: str, file: InputFile, recipe: Recipe, run: Map) -> tuple[Large, int]:
    """Store the blocks of a large file, extracting only those that the cache lacks; counts them."""
    digest, size = file.fingerprint_now()
    file.require(digest)
    account = FileAccount(file.name, digest=digest)
    made = 0

    def taken(items: Iterator[Item]) -> list[Block]:
        def tasks() -> Iterator[Task]:
            nonlocal made
            for task in _tasks(file, items, namespace, recipe, cache):
                made += task.items is not None
                yield task

        return [block for block, _ in run(partial(_extract, recipe=recipe, cache=cache), tasks())]

    try:
        blocks = taken(_items(file, account, recipe.source, recipe.settings.max_document_bytes))
    except Damaged as error:  # no part of it counts, so what was made of it is left to the cache's own pruning
        account.bytes_decompressed = made = 0
        blocks = taken(iter([Lost(str(error))]))
    if file.fingerprint_now() != (digest, size):
        raise UserError(changed_while_read(file.place))
    large = Large(blocks, table([account]))
    if not digest.startswith(UNREADABLE):
        index = [(block.first, block.digest, block.key) for block in blocks]
        cache.put(_index_key(namespace, file.name, digest), index, {"account": to_bytes(large.account)})
    return large, made


def make_alone(file: InputFile, *, cache: Cache, namespace: str, recipe: Recipe) -> tuple[Large, int]:
    """`make` with the blocks extracted here, one after the other; runs in a worker process.

    Raises:
        UserError: with `on_bad_file: fail`, at the first document that is lost.
    """

    def run(extract: Callable[[Task], Made], tasks: Iterator[Task]) -> Iterator[Made]:
        for block, account in map(extract, tasks):
            if recipe.settings.on_bad_file == "fail":
                stop_on_bad(account)
            yield block, account

    return make(cache, namespace, file, recipe, run)


def load(cache: Cache, block: Block) -> Extracted | None:
    """A block; None if the cache no longer has it undamaged."""
    accounts, documents = (_part(cache, block.key, name) for name in ("accounts", "documents"))
    return None if accounts is None or documents is None else Extracted(documents, accounts)


def _part(cache: Cache, key: str, name: str) -> pa.Table | None:
    entry = cache.get(key)
    data = entry.read(name) if entry else None
    return None if data is None else from_bytes(data)


def _index_key(namespace: str, name: str, digest: str) -> str:
    return action_key("index", namespace, name, digest)


def _extract(task: Task, *, recipe: Recipe, cache: Cache) -> tuple[Block, pa.Table]:
    """Extract one block, and keep it; returns its accounts, too. Runs in a worker process."""
    block = Block(task.file, task.first, task.digest, task.key)
    if task.items is None:
        known = _part(cache, task.key, "accounts")
        if known is None:
            raise UserError(
                f"the action cache {cache.address} lost what it had a moment ago. Run the same command again."
            )
        return block, known
    result = extract_items(task.file, task.first, task.items, task.digest, recipe)
    parts = {"accounts": to_bytes(result.accounts), "documents": to_bytes(result.documents)}
    cache.put(task.key, {}, parts)
    return block, result.accounts


def _tasks(
    file: InputFile, items_of_file: Iterator[Item], namespace: str, recipe: Recipe, cache: Cache
) -> Iterator[Task]:
    first = 0
    for items in _portions(items_of_file, recipe.settings.max_document_bytes // 4):
        digest = _digest(first, items)
        key = action_key("block", namespace, file.name, digest)
        yield Task(file.name, first, digest, key, items if _part(cache, key, "accounts") is None else None)
        first += len(items)


def _items(file: InputFile, account: FileAccount, source: Source, limit: int) -> Iterator[Item]:
    """The documents of a large file, with its sizes entered in its account; raises `Damaged`, perhaps at the last."""
    if account.digest.startswith(UNREADABLE):
        yield Lost(account.digest)
        return
    account.bytes_read = file.path.stat().st_size
    with file.path.open("rb") as opened:
        reason = impostor(source.kind, file.name, opened.read(HEAD_BYTES))
        if reason:
            yield Lost(reason)
            return
        if not compression.is_compressed(file.name):
            account.bytes_decompressed = account.bytes_read
            opened.seek(0)
            yield from documents(source, opened, limit)
            return
    with compression.as_stream(_counted(compression.blocks(file.name, file.path), account)) as stream:
        if source.kind == "parquet":
            with tempfile.TemporaryFile() as whole:  # Parquet is read from its end
                shutil.copyfileobj(stream, whole)
                whole.seek(0)
                yield from documents(source, whole, limit)
        else:
            yield from documents(source, stream, limit)
            while stream.read(compression.BLOCK_BYTES):  # to the checksum at its end, which vouches for all
                pass


def _counted(pieces: Iterator[bytes], account: FileAccount) -> Iterator[bytes]:
    for piece in pieces:
        account.bytes_decompressed += len(piece)
        yield piece


def _portions(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    """Items in lists of about `size` bytes; a loss counts as a few bytes, so that a file of losses is cut too."""
    held: list[Item] = []
    held_bytes = 0
    for item in items:
        held.append(item)
        held_bytes += 64 + (0 if isinstance(item, Lost) else len(item))
        if held_bytes >= size:
            yield held
            held, held_bytes = [], 0
    if held:
        yield held


def _digest(first: int, items: list[Item]) -> str:
    """Of a block's content, and of its place in the file: the names of its documents count from there."""
    digest = xxhash.xxh3_128(b"%d\0" % first)
    for item in items:
        if isinstance(item, Lost):
            digest.update(f"lost\0{item.reason}\0{item.place}\0{item.count}\0".encode())
        else:
            digest.update(b"%s\0%d\0" % (b"rest" if isinstance(item, Continued) else b"text", len(item)))
            digest.update(item)
    return digest.hexdigest()

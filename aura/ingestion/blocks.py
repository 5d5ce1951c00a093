"""Large files, in blocks: taken apart in this process, cleaned in any, and kept block by block in the action cache.

A file above half of `max_document_bytes` (or, compressed, above what may swell to that) is read as a stream; its
documents go to workers in portions of a quarter of `max_document_bytes`, so memory is a fixed number of such portions
whatever the file's size. A block's key is its documents, so in a file of 4 GB with a changed line one block is made
again; with a line more, those behind it too, because their documents' numbers change. The price is that one process
takes the file apart.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import xxhash

from aura.cache import Cache, action_key
from aura.errors import UserError
from aura.ingestion import accounts, compression, packs
from aura.ingestion.accounts import FileAccount
from aura.ingestion.compression import Damaged
from aura.ingestion.document import Continued, Item, Lost
from aura.ingestion.input_files import InputFile
from aura.ingestion.packs import Batch, Pack
from aura.ingestion.readers import documents
from aura.ingestion.rows import Extracted, Recipe, extract_items
from aura.params import Source

SWELLING = 16  # how many times its size a compressed or Parquet file may come to, for planning
Map = Callable[[Callable[["Task"], Pack], Iterator["Task"]], Iterator[Pack]]  # results in the order of tasks


def is_large(source: Source, limit: int) -> Callable[[str, int], bool]:
    """Whether a file of this name and size (bytes) is extracted in blocks; `limit` is `max_document_bytes`."""

    def large(name: str, size: int) -> bool:
        swells = source.kind == "parquet" or compression.is_compressed(name)
        return size * (SWELLING if swells else 1) > limit // 2

    return large


@dataclass(frozen=True)
class Task:
    """A block to extract; a block that the cache has comes without its documents."""

    file: str
    first: int  # number of its first document in the file
    digest: str
    key: str
    items: list[Item] | None


def find(cache: Cache, namespace: str, batch: Batch) -> list[Pack] | None:
    """The packs of a large file, if the cache has them all."""
    index = cache.get(_index_key(namespace, batch))
    found = [packs.load(cache, key) for key in index.record] if index else [None]
    return None if None in found else [pack for pack in found if pack]


def make(cache: Cache, namespace: str, batch: Batch, recipe: Recipe, run: Map) -> tuple[list[Pack], int]:
    """Store the packs of a large file, extracting only the blocks that the cache lacks; counts those."""
    (file,), (digest,) = batch.files, batch.digests or [""]
    account = FileAccount(file.name, digest=digest)
    made = 0

    def tasks() -> Iterator[Task]:
        nonlocal made
        for task in _tasks(file, account, namespace, recipe, cache):
            made += task.items is not None
            yield task

    found = list(run(partial(_extract, recipe=recipe, cache=cache), tasks()))
    if file.fingerprint() != (digest, batch.size):
        raise UserError(f"{file.place} changed while it was read. Run the same command again.")
    head = packs.store(
        cache, action_key("head", namespace, file.name, digest), Extracted({}, accounts.table([account]))
    )
    cache.put(_index_key(namespace, batch), [head.key, *(pack.key for pack in found)], {})
    return [head, *found], made


def _index_key(namespace: str, batch: Batch) -> str:
    return action_key("index", namespace, batch.files[0].name, batch.digests)


def _extract(task: Task, *, recipe: Recipe, cache: Cache) -> Pack:
    """Extract one block; runs in a worker process."""
    known = packs.load(cache, task.key) if task.items is None else None
    if known:
        return known
    if task.items is None:
        raise UserError(f"the cache {cache.address} lost what it had a moment ago. Run the same command again.")
    return packs.store(cache, task.key, extract_items(task.file, task.first, task.items, task.digest, recipe))


def _tasks(file: InputFile, account: FileAccount, namespace: str, recipe: Recipe, cache: Cache) -> Iterator[Task]:
    limit = recipe.settings.max_document_bytes
    first = 0
    for items in _portions(_items(file, account, recipe.source, limit), limit // 4):
        digest = _digest(items)
        key = action_key("block", namespace, file.name, first, digest)
        yield Task(file.name, first, digest, key, None if packs.load(cache, key) else items)
        first += len(items)


def _items(file: InputFile, account: FileAccount, source: Source, limit: int) -> Iterator[Item]:
    """The documents of a large file, with its sizes entered in its account."""
    try:
        account.bytes_read = file.path.stat().st_size
        account.bytes_decompressed = compression.checked_size(file.name, file.path)
    except Damaged as error:
        yield Lost(str(error))
        return
    with compression.opened(file.name, file.path) as stream:
        if source.kind == "parquet" and compression.is_compressed(file.name):
            with tempfile.TemporaryFile() as whole:  # Parquet is read from its end
                shutil.copyfileobj(stream, whole)
                whole.seek(0)
                yield from documents(source, file.name, whole, limit)
        else:
            yield from documents(source, file.name, stream, limit)


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


def _digest(items: list[Item]) -> str:
    digest = xxhash.xxh3_128()
    for item in items:
        if isinstance(item, Lost):
            digest.update(f"lost\0{item.reason}\0{item.place}\0".encode())
        else:
            digest.update(b"%s\0%d\0" % (b"rest" if isinstance(item, Continued) else b"text", len(item)))
            digest.update(item)
    return digest.hexdigest()

"""Tasks of the stage: each reads some files and writes their conversations, encoded, to one part in Parquet.

Parts lie in the unfinished output and are read again in order, because what is a duplicate, and what is held out, is
known only when all are there. A task holds about `PORTION` bytes of text with its ids, and one record.
"""

import gc
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from aura.conversations.accounts import Account
from aura.conversations.conversation import Conversation
from aura.conversations.options import ConversationSource
from aura.conversations.readers import conversations
from aura.core import arrow
from aura.core.terms import EMOTIONS
from aura.sources.documents.affect import Lexicon, affect_vectors
from aura.sources.input_files import InputFile
from aura.tokenizer import opening
from aura.tokenizer.chat_encoding import encode_conversations
from aura.tokenizer.opening import AnyTokenizer

arrow.use_system_memory()

PORTION = 4_000_000  # bytes of text that are encoded at a time: a row group of a part
MESSAGE_BYTES = 150  # that a message takes beside its text, so that many short ones are a portion, too
TASK_BYTES, TASK_FILES = 2_000_000, 1000  # of the files of a task, if these are small

_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
PART = pa.schema(
    [
        ("name", pa.string()),
        ("messages", _MESSAGES),
        ("ids", pa.list_(pa.int32())),
        ("learnt", pa.list_(pa.bool_())),
        ("affect", pa.list_(pa.float32(), len(EMOTIONS))),
        ("digest", pa.binary(16)),
        ("split_key", pa.binary(16)),
    ]
)


@dataclass(frozen=True)
class Task:
    """Files of one source, and the part that they become."""

    source: str
    entry: ConversationSource
    files: tuple[InputFile, ...]
    part: Path

    def __str__(self) -> str:
        return f"{self.source}: {', '.join(file.name for file in self.files[:3])}"

    @property
    def size(self) -> int:
        """Bytes of the files."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True)
class Recipe:
    """Everything but the files that decides a part."""

    model: Path  # spiece.model
    max_record_bytes: int
    lexicon: Lexicon


def planned(source: str, entry: ConversationSource, files: Iterable[InputFile], folder: Path) -> Iterator[Task]:
    """Yield the tasks of a source: small files together, a large one alone."""
    held: list[InputFile] = []
    number = size = 0
    for file in files:
        if held and (size + file.size > TASK_BYTES or len(held) == TASK_FILES):
            yield Task(source, entry, tuple(held), folder / f"{source}-{number:06d}.parquet")
            held, number, size = [], number + 1, 0
        held.append(file)
        size += file.size
    if held:
        yield Task(source, entry, tuple(held), folder / f"{source}-{number:06d}.parquet")


def make(task: Task, *, recipe: Recipe) -> Account:
    """Write the part of a task; returns the account of its files."""
    account = Account()
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()  # syntax trees and records are many objects, and no circles: searches take a third of the time
    try:
        with pq.ParquetWriter(task.part, PART, compression="lz4") as part:
            for portion in _portions(task, recipe.max_record_bytes, account):
                part.write_table(_table(portion, recipe))
    finally:
        if was_enabled:
            gc.enable()
    return account


def _portions(task: Task, max_record_bytes: int, account: Account) -> Iterator[list[Conversation]]:
    held: list[Conversation] = []
    size = 0
    for file in task.files:
        for conversation in conversations(file, task.entry, max_record_bytes, account):
            held.append(conversation)
            size += sum(len(message.content) + MESSAGE_BYTES for message in conversation.messages)
            if size >= PORTION:
                yield held
                held, size = [], 0
        if file.known:
            file.require(file.fingerprint_now()[0])
    if held:
        yield held


def _table(found: Sequence[Conversation], recipe: Recipe) -> pa.Table:
    encoded = encode_conversations(_tokenizer(recipe.model), [conversation.messages for conversation in found])
    texts = ["\n".join(message.content for message in conversation.messages).encode() for conversation in found]
    columns = {
        "name": [conversation.name for conversation in found],
        "messages": [[message._asdict() for message in conversation.messages] for conversation in found],
        "ids": [one.ids for one in encoded],
        "learnt": [one.learnt for one in encoded],
        "affect": affect_vectors(texts, recipe.lexicon),
        "digest": [conversation.digest for conversation in found],
        "split_key": [conversation.split_key for conversation in found],
    }
    arrays = [
        values.cast(field.type) if isinstance(values, pa.Array) else pa.array(values, field.type)
        for values, field in zip(columns.values(), PART, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=PART)


@lru_cache(maxsize=1)
def _tokenizer(model: Path) -> AnyTokenizer:
    """The tokenizer, once per process."""
    return opening.load(model)

"""From the files of a source to its conversations, one after the other; whatever is none is counted in an account.

Readers stream: memory holds a record and some blocks of its file. A compressed file is decompressed twice, because only
its end tells whether it is whole, and half of one must not be learnt.
"""

from collections.abc import Iterator
from typing import Any

from aura.conversations import docstring_questions
from aura.conversations.accounts import NO_FORM, Account
from aura.conversations.conversation import Conversation, Unusable
from aura.conversations.options import ConversationSource, JsonConversations
from aura.conversations.recognition import KEYS, recognised
from aura.sources.documents import compression, parquet
from aura.sources.documents.compression import Damaged
from aura.sources.documents.document import Lost
from aura.sources.documents.encodings import Decoded
from aura.sources.documents.impostors import HEAD_BYTES, impostor
from aura.sources.documents.json_files import json_records
from aura.sources.input_files import InputFile, unreadable


def conversations(
    file: InputFile, source: ConversationSource, max_record_bytes: int, account: Account
) -> Iterator[Conversation]:
    """Yield the conversations of a file; its losses, shapes and records are entered in the account."""
    account.files += 1
    if file.problem:
        account.lose_file(file.problem, file.name)
        return
    try:
        with file.open() as stream:
            if source.kind == "docstrings":
                yield from _of_module(file.name, stream.read(), account)
            elif reason := impostor(_kind(source), file.name, stream.read(HEAD_BYTES)):
                account.lose_file(reason, file.name)
            elif source.kind == "parquet":
                yield from _of_rows(file.name, stream, max_record_bytes, account)
            else:
                yield from _of_json(file.name, stream, source, max_record_bytes, account)
    except OSError as error:
        account.lose_file(unreadable(error), file.name)


def _kind(source: ConversationSource) -> str:
    return "json" if source.kind == "dataset" else source.kind


def _of_module(name: str, content: bytes, account: Account) -> Iterator[Conversation]:
    if not content.strip():
        account.lose(NO_FORM, name)
        return
    try:
        found = list(docstring_questions.questions(content, name))
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the parser's own, for deep nesting
        account.lose_file("no Python that can be parsed", name)
        return
    account.records += len(found)
    account.shapes["docstrings"] += len(found)
    if not found:
        account.lose(NO_FORM, name)
    yield from found


def _of_json(
    name: str,
    stream: Any,  # noqa: ANN401 - an open file
    source: ConversationSource,
    limit: int,
    account: Account,
) -> Iterator[Conversation]:
    stream.seek(0)
    try:
        if compression.is_compressed(name):
            for _ in compression.blocks(name, stream):
                pass
            stream = compression.as_stream(compression.blocks(name, stream))
        if isinstance(source, JsonConversations) and source.encoding:
            stream = Decoded(stream, source.encoding)
        records = 0
        for record in json_records(stream, limit, chats=True):
            records += 1
            account.records += 1
            if isinstance(record, Lost):
                account.lose(record.reason, f"{name}, {record.place}" if record.place else name, record.count)
            else:
                yield from _of_record(record.value, f"{name}, {record.place}", f"{name}#{records - 1}", account)
        if not records:
            account.lose_file("empty file", name)
    except Damaged as error:
        account.lose_file(str(error), name)


def _of_rows(name: str, stream: Any, limit: int, account: Account) -> Iterator[Conversation]:  # noqa: ANN401 - as above
    stream.seek(0)
    if not stream.read(1):
        account.lose_file("empty file", name)
        return
    number = 0
    try:
        for number, row in enumerate(parquet.rows(stream, KEYS), start=1):
            account.records += 1
            if isinstance(row, Lost):
                account.lose(row.reason, f"{name}, row {number}")
            else:
                yield from _of_record(_as_json(row), f"{name}, row {number}", f"{name}#{number - 1}", account, limit)
        if not number:
            account.lose_file("empty file", name)
    except parquet.Unreadable as error:
        place = f"columns {error.columns}" if error.columns else f"after row {number}"
        account.records += error.rows
        account.lose(str(error), f"{name}, {place}", error.rows)


def _as_json(value: Any) -> Any:  # noqa: ANN401 - as Arrow gives it
    """A value of Parquet in the types of JSON: bytes become the text that they are, and a map becomes a mapping."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, dict):
        return {name: _as_json(inner) for name, inner in value.items()}
    if isinstance(value, list):
        if value and all(isinstance(entry, tuple) for entry in value):  # only maps have tuples
            return {_as_json(name): _as_json(inner) for name, inner in value}
        return [_as_json(inner) for inner in value]
    return value


def _of_record(
    value: Any,  # noqa: ANN401 - any value of JSON
    place: str,
    name: str,
    account: Account,
    limit: int | None = None,
) -> Iterator[Conversation]:
    """Yield the conversation of a record; `limit` is for texts that came without one of the record."""
    try:
        shape, messages = recognised(value, account.notes)
        if limit and sum(len(message.content.encode()) for message in messages) > limit:
            raise Unusable(f"record of more than {limit:,} bytes")
    except Unusable as error:
        account.lose(error.reason, f"{place} ({error.detail})" if error.detail else place)
        return
    account.shapes[shape] += 1
    yield Conversation(name, messages)

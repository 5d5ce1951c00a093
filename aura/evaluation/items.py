"""The items of an evaluation set: what its files hold, read and checked before any work.

The content tells the kind, so a user names a path and nothing else. A line that cannot be scored is an error and not a
loss: a task of 199 items in place of 200 would give figures that compare with nobody's.

A set is read whole: it takes about four times the size of its files, at most 2 GB.
"""

import difflib
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from aura.core import bounded
from aura.core.errors import UserError

LARGEST = 500_000_000  # bytes of the files of a set
TEXTS = (".txt", ".md")
SHAPES = (
    'text ({"text"}), multiple choice ({"question" or "context" or "query", "choices", "answer" or "label" or "gold"}) '
    'or cloze ({"text" or "context" or "question" or "query", "answer" or "completion"})'
)
REMEDY = "Save it as UTF-8, or convert it with iconv"
_CONTEXT, _RIGHT = ("question", "context", "query"), ("answer", "label", "gold")
_BEFORE, _ANSWER = ("text", "context", "question", "query"), ("answer", "completion")
_NO_TEXT = ("choices", *_ANSWER)  # keys that no record of a text has


@dataclass(frozen=True)
class Document:
    """A text to predict from its beginning."""

    kind: ClassVar[str] = "text"
    place: str
    text: str


@dataclass(frozen=True)
class Choice:
    """A context with possible continuations, of which one is right.

    Attributes:
        place: file and line, for messages.
        context: before each choice.
        choices: two or more.
        right: the number of the right one, from 0.
        delimiter: between context and choice.
    """

    kind: ClassVar[str] = "multiple_choice"
    place: str
    context: str
    choices: tuple[str, ...]
    right: int
    delimiter: str


@dataclass(frozen=True)
class Cloze:
    """A context with its one continuation; attributes as of `Choice`."""

    kind: ClassVar[str] = "cloze"
    place: str
    context: str
    answer: str
    delimiter: str


Item = Document | Choice | Cloze


@dataclass(frozen=True)
class Items:
    """A set as its files have it.

    Attributes:
        kind: text, multiple_choice or cloze.
        items: all of that kind, in the order of the files.
        sha256: of the names and contents of the files.
    """

    kind: str
    items: tuple[Item, ...]
    sha256: str


def files_of(key: str, path: Path) -> list[Path]:
    """The files of a set, by their names: the path itself, or all texts below a folder.

    Raises:
        UserError: there are none, or one is of another kind. `key` is what messages call the set.
    """
    try:
        is_folder = path.is_dir()
    except OSError as error:  # a name that no disk can hold
        raise UserError(f"{key}: expected a file or a folder, got {str(path)!r:.80} ({error.strerror})") from None
    if is_folder:
        found = sorted(file for file in path.rglob("*") if file.is_file() and file.suffix in TEXTS)
        if not found:
            raise UserError(f"{key}: expected files {' or '.join(TEXTS)} in the folder {path}, found none")
        return found
    if not path.is_file():
        raise UserError(f"{key}: expected a file or a folder, found nothing at {path}")
    if path.suffix not in (*TEXTS, ".jsonl"):
        raise UserError(
            f"{key}: expected a folder of texts, or a file {', '.join(TEXTS)} or .jsonl, got {path}. Convert it"
        )
    return [path]


def read(key: str, path: Path) -> Items:
    """The items at a path.

    Arguments:
        key: of the set, which messages begin with, such as pretrain.evaluate.NAME.
        path: a file or a folder.

    Raises:
        UserError: there is nothing to score, or an item cannot be; the message names file and line.
    """
    found, digest, size = files_of(key, path), hashlib.sha256(), 0
    items: list[Item] = []
    for file in found:
        name = file.relative_to(path).as_posix() if path.is_dir() else file.suffix
        size += file.stat().st_size
        if size > LARGEST:
            raise UserError(f"{key}: expected at most {LARGEST:,} bytes in {path}, got {size:,} or more. Take a part")
        content = file.read_bytes()
        digest.update(os.fsencode(f"{name}\0{len(content)}\0") + content)
        items += _lines(key, file, content) if file.suffix == ".jsonl" else [_document(key, str(file), content)]
    if not items:
        raise UserError(f"{key}: expected records in {path}, got none")
    return Items(items[0].kind, tuple(items), digest.hexdigest())


def _document(key: str, place: str, content: bytes) -> Document:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{key}: {place}: expected UTF-8, got {error.reason} at byte {error.start:,}. {REMEDY}"
        ) from None
    _require_text(key, place, "a text", text)
    return Document(place, text)


def _lines(key: str, file: Path, content: bytes) -> Iterator[Item]:
    kind, first = "", 0
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not line.strip():
            continue
        place = f"{file}, line {number:,}"
        record = _record(f"{key}: {place}", line)
        of_line = _kind_of(record)
        if not kind:
            if not of_line:
                got = ", ".join(map(str, record)) or "of nothing"
                raise UserError(f"{key}: {place}: expected {SHAPES}, got the keys {got}")
            kind, first = of_line, number
        if of_line in _OTHERS[kind]:
            raise UserError(
                f"{key}: {place}: expected a record of {_NAMES[kind]}, as in line {first:,}, got one of "
                f"{_NAMES[of_line]}. Put each kind into a file of its own"
            )
        if kind == of_line == Document.kind:
            _require_text_alone(f"{key}: {place}", record)
        yield _READERS[kind](key, place, record)


def _record(place: str, line: bytes) -> dict[str, Any]:
    try:
        record = bounded.read_json(line.decode())
    except UnicodeDecodeError as error:
        raise UserError(f"{place}: expected UTF-8, got {error.reason} at byte {error.start:,}. {REMEDY}") from None
    except bounded.Unreadable as error:
        shown = line.decode().strip()
        raise UserError(f"{place}: expected a JSON object on a line of its own, got {shown!r:.80} ({error})") from None
    if not isinstance(record, dict):
        raise UserError(f"{place}: expected a JSON object on a line of its own, got {line.decode().strip()!r:.80}")
    return record


def _kind_of(record: Mapping[str, Any]) -> str:
    """The kind of a record by its keys; empty if it is of none."""
    if "choices" in record:
        return Choice.kind
    if any(name in record for name in _ANSWER):
        return Cloze.kind
    return Document.kind if "text" in record else ""


def _require_text_alone(place: str, record: Mapping[str, Any]) -> None:
    """Refuse a record that is a text only because a key is misspelt."""
    for name in record:
        if meant := _misspelt(name):
            raise UserError(
                f"{place}: unknown key {name!r:.40}; did you mean {meant}? Without the key {meant} the record is a "
                "text to predict. Rename the key, or leave it out"
            )


@lru_cache(maxsize=256)
def _misspelt(name: str) -> str | None:
    """The key of another kind that a name was meant to be: letters changed places, or one is missing or too much."""
    near = difflib.get_close_matches(name.lower(), _NO_TEXT, 1, 0.75)
    alike = near and (sorted(name.lower()) == sorted(near[0]) or difflib.get_close_matches(name.lower(), near, 1, 0.9))
    return near[0] if alike else None


def _text_alone(key: str, place: str, record: Mapping[str, Any]) -> Document:
    return Document(place, _text(key, place, record, ("text",)))


def _choice(key: str, place: str, record: Mapping[str, Any]) -> Choice:
    choices = record.get("choices")
    if not isinstance(choices, list) or len(choices) < 2:
        raise UserError(f"{key}: {place}: expected a list of two or more choices, got {choices!r:.80}")
    for number, choice in enumerate(choices):
        _require_text(key, place, f"choices[{number}]", choice)
    if len(set(choices)) < len(choices):
        raise UserError(f"{key}: {place}: expected choices that differ, got one of them twice")
    name = _one_of(key, place, record, _RIGHT)
    right = _number(record[name], choices)
    if right is None:
        raise UserError(
            f"{key}: {place}: {name}: expected the right choice by its text, a letter from A or a number from 0 to "
            f"{len(choices) - 1}, got {record[name]!r:.80}"
        )
    return Choice(place, _text(key, place, record, _CONTEXT), tuple(choices), right, _delimiter(key, place, record))


def _number(answer: object, choices: list[str]) -> int | None:
    """The number of the choice that `answer` names; a text that is a choice comes before a letter."""
    if isinstance(answer, str) and answer in choices:
        return choices.index(answer)
    if isinstance(answer, str) and len(answer) == 1 and answer.isascii() and answer.isalpha():
        answer = ord(answer.upper()) - ord("A")
    known = isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices)
    return answer if known else None  # type: ignore[return-value]


def _cloze(key: str, place: str, record: Mapping[str, Any]) -> Cloze:
    before = _text(key, place, record, _BEFORE)
    return Cloze(place, before, _text(key, place, record, _ANSWER), _delimiter(key, place, record))


def _delimiter(key: str, place: str, record: Mapping[str, Any]) -> str:
    found = record.get("delimiter", " ")
    if not isinstance(found, str):
        raise UserError(f"{key}: {place}: delimiter: expected a text, got {found!r:.80}")
    _require_unicode(key, place, "delimiter", found)
    return found


def _text(key: str, place: str, record: Mapping[str, Any], names: tuple[str, ...]) -> str:
    name = _one_of(key, place, record, names)
    text = record[name]
    _require_text(key, place, name, text)
    return str(text)


def _one_of(key: str, place: str, record: Mapping[str, Any], names: tuple[str, ...]) -> str:
    found = next((name for name in names if name in record), None)
    if found is None:
        raise UserError(
            f"{key}: {place}: expected the key {' or '.join(names)}, got {', '.join(map(str, record)) or 'no key'}"
        )
    return found


def _require_text(key: str, place: str, name: str, text: object) -> None:
    """Refuse what is no text, or nothing to predict, or no Unicode."""
    if not isinstance(text, str) or not text.strip():
        raise UserError(f"{key}: {place}: expected {name} with words, got {text!r:.80}")
    _require_unicode(key, place, name, text)


def _require_unicode(key: str, place: str, name: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError(f"{key}: {place}: {name}: expected Unicode text, got half of a surrogate pair") from None


_READERS: dict[str, Callable[[str, str, Mapping[str, Any]], Item]] = {
    Document.kind: _text_alone,
    Choice.kind: _choice,
    Cloze.kind: _cloze,
}
_NAMES = {Document.kind: "text", Choice.kind: "multiple choice", Cloze.kind: "cloze"}
# Kinds of later lines that are told as such; any other difference is told by the key that is missing.
_OTHERS = {Document.kind: {Choice.kind, Cloze.kind}, Choice.kind: set(), Cloze.kind: {Choice.kind}}

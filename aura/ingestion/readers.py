"""From a source to its files, and from a file's bytes to its documents.

A reader looks at one file and nothing else, so files can be read anywhere, in any order, and a changed file
changes only its own documents. What it cannot use it yields as a `Lost` with the reason: nothing goes
missing without being counted.
"""

import codecs
import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aura.errors import UserError
from aura.ingestion import parquet, pins
from aura.ingestion.compression import Damaged, plain_name
from aura.ingestion.fields import first_text
from aura.ingestion.materialise import materialise
from aura.ingestion.sample import docstrings, sample_files
from aura.params import DatasetSource, JsonSource, ParquetSource, SampleSource, Source, TxtSource

SUFFIXES = {"txt": (".txt", ".md"), "json": (".json", ".jsonl"), "parquet": (".parquet",)}
BLANK_LINES = re.compile(rb"(?:\r?\n[ \t]*){2,}")


@dataclass(frozen=True)
class InputFile:
    """A file to read: its name in manifests (relative to its source, always valid Unicode) and its place."""

    name: str
    path: Path


@dataclass(frozen=True)
class Lost:
    """A document, or a whole file, that cannot be used, and why."""

    reason: str


def list_files(source: Source) -> list[InputFile]:
    """The files of a source, sorted by name.

    A dataset's files are written now, unless they are there already. Raises `UserError` if the folder is missing or
    holds no file of the source's kind, a pin is stale, or a dataset cannot be had.
    """
    if isinstance(source, DatasetSource):
        folder = materialise(Path(source.path), source.text_keys)
        return [InputFile(name, path) for name, path in files_below(folder, (".jsonl",))]
    if isinstance(source, SampleSource):
        return [InputFile(name, path) for name, path in sample_files(Path(source.path))]
    folder, suffixes = pins.folder_of(Path(source.path)), SUFFIXES[source.kind]
    if not folder.is_dir():
        raise UserError(f"No {suffixes[0]} files found: the folder {folder} does not exist. {_remedy(folder)}")
    files = files_below(folder, suffixes)
    if not files:
        present = sorted({path.suffix or "no suffix" for path in folder.rglob("*") if path.is_file()})
        came = f"it holds only files with {', '.join(present[:5])}" if present else "it is empty"
        raise UserError(f"No {' or '.join(suffixes)} files found in {folder}: {came}. {_remedy(folder)}")
    if pins.is_pin(Path(source.path)):
        pins.check(Path(source.path), files)
    return [InputFile(name, path) for name, path in files]


def files_below(folder: Path, suffixes: tuple[str, ...]) -> list[tuple[str, Path]]:
    """Name and place of the regular files with one of `suffixes`, compressed or not, below `folder`, sorted by name.

    Links to folders are not followed. A name that is no valid UTF-8 is shown with escapes.
    """
    found = []
    for root, _, names in os.walk(folder, onerror=_refuse):
        for name in names:
            path = Path(root, name)
            if has_suffix(name, suffixes) and _is_regular(path):
                shown = os.fsencode(path.relative_to(folder)).decode("utf-8", "backslashreplace")
                found.append((shown, path))
    return sorted(found)


def _refuse(error: OSError) -> None:
    """A folder that cannot be listed may hold documents: stop, and do not lose them silently."""
    if not isinstance(error, FileNotFoundError):
        raise error


def has_suffix(name: str, suffixes: tuple[str, ...]) -> bool:
    """Whether a file's name, without the suffix of its compression, ends with one of `suffixes`."""
    return Path(plain_name(name)).suffix.lower() in suffixes


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:  # a dangling link: reading it is counted as a loss, with its reason
        return True


def _remedy(folder: Path) -> str:
    return f"Look with `ls -la {folder}`, add text files, or name another folder: aura source add NAME PATH"


def documents(source: Source, name: str, data: bytes) -> Iterator[bytes | Lost]:
    """Yield the documents of one file as UTF-8 (perhaps invalid: cleaning decides), and what was lost.

    `data` is what the file holds, decompressed.
    """
    match source:
        case SampleSource():
            yield from _sample_documents(data)
        case TxtSource():
            yield from _txt_documents(source, data)
        case JsonSource():
            yield from _json_documents(source.text_keys, name, data)
        case DatasetSource():
            yield from _json_documents(["text"], name, data)
        case ParquetSource():
            yield from _parquet_documents(source, data)


def _sample_documents(data: bytes) -> Iterator[bytes | Lost]:
    text = docstrings(data)
    yield text.encode() if text else Lost("no documentation")


def _txt_documents(source: TxtSource, data: bytes) -> Iterator[bytes | Lost]:
    text = _as_utf8(data)
    if isinstance(text, Lost) or source.documents == "file":
        yield text
    else:
        parts = text.splitlines() if source.documents == "line" else BLANK_LINES.split(text)
        yield from (part for part in parts if part.strip())


def _as_utf8(data: bytes) -> bytes | Lost:
    """Drop a byte-order mark; UTF-16 (told by its mark) becomes UTF-8."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return data.decode("utf-16").encode("utf-8")
        except UnicodeDecodeError:
            return Lost("invalid UTF-16")
    return data.removeprefix(codecs.BOM_UTF8)


def _json_documents(text_keys: list[str], name: str, data: bytes) -> Iterator[bytes | Lost]:
    text = _as_utf8(data)
    if isinstance(text, Lost):
        yield text
        return
    records = [line for line in text.splitlines() if line.strip()] if has_suffix(name, (".jsonl",)) else [text]
    for record in records:
        try:
            value = json.loads(record)
        except UnicodeDecodeError:
            yield Lost("invalid UTF-8")
        except ValueError:  # a JSONDecodeError, or a number of more digits than Python reads
            yield Lost("malformed JSON")
        except RecursionError:
            yield Lost("JSON nested too deeply")
        else:
            texts = list(_texts(value, text_keys))
            # A lone surrogate ("\ud800") is legal JSON and no text: it becomes invalid UTF-8, and is counted there.
            if not texts:
                yield Lost("no text key")
            yield from (text.encode("utf-8", "surrogatepass") for text in texts)


def _parquet_documents(source: ParquetSource, data: bytes) -> Iterator[bytes | Lost]:
    rows = 0
    try:
        for rows, text in enumerate(parquet.texts(data, source.text_keys), start=1):  # noqa: B007 - counts
            yield Lost("no text key") if text is None else text
    except Damaged as error:
        yield Lost(str(error))
    else:
        if not rows:
            yield Lost("empty")


def _texts(value: Any, keys: list[str]) -> Iterator[str]:  # noqa: ANN401 - any JSON value
    """The text of every object in a JSON value, however nested; and of a bare string, or each string of a bare list."""
    if isinstance(value, str):
        yield value
    if isinstance(value, list):
        yield from (text for text in value if isinstance(text, str))
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            text = first_text(value, keys)
            if text is not None:
                yield text
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        waiting.extend(reversed([child for child in inner if isinstance(child, dict | list)]))

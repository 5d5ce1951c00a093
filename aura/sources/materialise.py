"""A dataset's rows, written once as .jsonl shards of `{"text": …}`: from there on it is a folder like any other.

With `Columns` in the place of keys of texts, a row keeps these columns.

Extraction reads files, in any order and in many processes; a stream can do neither. So the text is laid down once,
at the cost of its size on disk, and its other columns are left where they are. Every row becomes a line, one without
text `{"text": null}`, so that rows are counted where documents are. The folder appears when it is complete; until
then it grows beside its place, shard by shard, and a killed run goes on behind its last whole shard.
"""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from aura.core.bounded import mismatch
from aura.core.console import track
from aura.core.files import place_folder, read_object, write_json
from aura.sources import hub, pins
from aura.sources.dataset_files import require_text, text_of
from aura.sources.documents.json_files import as_bytes
from aura.sources.hub import DatasetPin, Rows

SHARD_BYTES = 64_000_000
RECORD = "dataset.record"  # JSON; not called so, because what ends in .json is read as text


class Columns(tuple[str, ...]):
    """Columns that rows keep, of which a dataset need not have all."""


@dataclass(frozen=True)
class Materialised:
    """The content of a folder: rows, bytes, and how many of the rows this run added."""

    folder: Path
    rows: int
    bytes: int
    added: int


def raw_folder(pin: Path) -> Path:
    """Return the folder for the rows of a pinned dataset: data/raw/NAME for data/NAME.pin.json."""
    return pin.parent / "raw" / pins.source_name(pin)


def partial_folder(folder: Path) -> Path:
    """Return the folder in which rows grow until they are complete."""
    return folder.with_name(f".{folder.name}.partial")


def materialise(path: Path, text_keys: Sequence[str]) -> Path:
    """The folder with the rows that the pin at `path` names, written now unless it is there already."""
    pin, folder = hub.read_pin(path), raw_folder(path)
    if not is_complete(folder, pin, text_keys):
        if folder.exists():  # of another revision
            shutil.rmtree(folder)
        write_shards(pin, text_keys, folder)
    return folder


def is_complete(folder: Path, pin: DatasetPin, text_keys: Sequence[str]) -> bool:
    """Return whether `folder` holds all rows of exactly this pin and these text keys."""
    state = _progress(folder, pin, text_keys)
    if state is None or not state["complete"]:
        return False
    found = {path.name: path.stat().st_size for path in folder.glob("*.jsonl")}
    return bool(found == state["shards"])


def write_shards(
    pin: DatasetPin, text_keys: Sequence[str], folder: Path, shard_bytes: int = SHARD_BYTES
) -> Materialised:
    """Write the rows of a pinned dataset into `folder`, which must not exist.

    `text_keys` are columns or dotted paths; the first that holds a string gives a row's text. Raises `UserError` if
    the dataset cannot be had, has no such column, or no rows; what was written until then is kept for the next run.
    """
    partial = partial_folder(folder)
    state = _progress(partial, pin, text_keys)
    if state is None:
        if partial.exists():
            shutil.rmtree(partial)
        state = _identity(pin, text_keys) | {"rows": 0, "shards": {}, "stream": None, "complete": False}
    before = state["rows"]
    if not state["complete"]:
        _go_on(pin, text_keys, partial, state, shard_bytes)
    place_folder(partial, folder)
    return Materialised(folder, state["rows"], sum(state["shards"].values()), state["rows"] - before)


def _go_on(pin: DatasetPin, text_keys: Sequence[str], partial: Path, state: dict[str, Any], shard_bytes: int) -> None:
    """Write the shards behind those that `state` knows, and with each of them the record of where the stream is."""
    keys = None if isinstance(text_keys, Columns) else text_keys
    rows = hub.open_rows(pin, keys, begun=state["rows"] > 0)
    if state["stream"]:
        rows.stream.load_state_dict(state["stream"])
    partial.mkdir(parents=True, exist_ok=True)
    before = state["rows"]
    lines = track(_lines(rows, pin, text_keys, before), f"read {pin.dataset}", total=_total(rows, pin, before))
    while written := _write_shard(lines, partial / _shard_name(state), shard_bytes):
        count, size = written
        state["shards"][_shard_name(state)] = size
        state["rows"] += count
        state["stream"] = rows.stream.state_dict()
        write_json(partial / RECORD, state)
    if not state["rows"]:
        raise hub.no_rows(pin)
    state |= {"stream": None, "complete": True}
    write_json(partial / RECORD, state)


def _shard_name(state: dict[str, Any]) -> str:
    return f"{len(state['shards']):05d}.jsonl"


def _identity(pin: DatasetPin, text_keys: Sequence[str]) -> dict[str, Any]:
    kept = "columns" if isinstance(text_keys, Columns) else "text_keys"
    return {"pin": pin.model_dump(exclude_none=True), kept: list(text_keys)}


def _progress(folder: Path, pin: DatasetPin, text_keys: Sequence[str]) -> dict[str, Any] | None:
    """The record in `folder`, if it is of this pin and these keys."""
    if not (folder / RECORD).exists():
        return None
    state: dict[str, Any] = read_object(folder / RECORD, made_by="dvc repro")
    identity = _identity(pin, text_keys)
    shape = {"rows": int, "shards": {str: int}, "stream": dict | None, "complete": bool}
    if mismatch(state, shape):
        return None
    return state if {key: state.get(key) for key in identity} == identity else None


def _total(rows: Rows, pin: DatasetPin, before: int) -> int | None:
    """Return the number of rows to be written, if the dataset says so."""
    splits = rows.stream.info.splits or {}
    known = splits[pin.split].num_examples if pin.split in splits else None
    counts = [count for count in (known, pin.max_documents) if count]
    return min(counts) - before if counts else None


def _lines(rows: Rows, pin: DatasetPin, text_keys: Sequence[str], before: int) -> Iterator[bytes]:
    """A line of JSON for each row after the first `before`, up to the pin's limit."""
    if pin.max_documents is not None and before >= pin.max_documents:
        return
    for number, row in enumerate(hub.iterate(rows, pin.title), start=before + 1):
        if isinstance(text_keys, Columns):
            record = {name: row[name] for name in text_keys if name in row}
        elif rows.are_texts:
            record = {"text": row["text"] and row["text"].decode("utf-8", "surrogateescape")}
        else:
            if number == 1:
                require_text(row, pin.title, text_keys)
            record = {"text": text_of(row, text_keys)}
        # What is no UTF-8 stays so, and is counted when it is read. What JSON has no form for is no text.
        yield as_bytes(json.dumps(record, ensure_ascii=False, default=_no_json)) + b"\n"
        if number == pin.max_documents:
            return


def _no_json(value: object) -> None:
    """Stand for a value that JSON has no form for, such as the bytes of an image."""


def _write_shard(lines: Iterator[bytes], path: Path, limit: int) -> tuple[int, int] | None:
    """Write lines until there are `limit` bytes; returns their number and size, or `None` if there was no line."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        count, size = _write_lines(lines, file, limit)
        file.flush()
        os.fsync(file.fileno())  # its record, written next, is trusted
    if not count:
        partial.unlink()
        return None
    partial.rename(path)
    return count, size


def _write_lines(lines: Iterator[bytes], file: IO[bytes], limit: int) -> tuple[int, int]:
    count = size = 0
    for line in lines:
        size += file.write(line)
        count += 1
        if size >= limit:
            break
    return count, size

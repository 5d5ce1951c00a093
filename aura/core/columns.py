"""Long lists read as columns: the record of a folder's files, and the lines of a manifest.

An object takes 0.3 to 1 kB and some microseconds, a row of columns 0.1 to 0.2 kB: a set of tokens may list 280,000
files. What is not laid out as aura writes it is left to the readers of objects, which also word what is wrong.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from aura.core import checksums, files

RECORDED = pa.schema([("name", pa.large_string()), ("sha256", pa.binary(32)), ("size", pa.int64())])
_DIGITS, _NAME = 64, 66  # of a hash in a line of a record, and the place of the name: behind two more characters
_BLOCK = 1 << 20  # bytes of a manifest that are read at a time
_NAMES = 10_000  # names of files that are held as objects at a time


def recorded(folder: Path, made_by: str) -> pa.Table:
    """The files of a folder, by their names, with their recorded SHA-256 and their sizes: rows of RECORDED.

    Raises `UserError` as `checksums.read` does.
    """
    files.require_folder(folder, made_by)
    listed = _listed(folder / checksums.NAME)
    found = None if listed is None else _found(folder)
    place = None if listed is None or found is None else _places(listed["name"], found["name"])
    if listed is None or found is None or place is None:
        read = checksums.read(folder, made_by)
        sizes = [os.stat(folder / name).st_size for name in read]  # noqa: PTH116 - a path takes 10 µs
        return pa.table([list(read), list(map(bytes.fromhex, read.values())), sizes], schema=RECORDED)
    return listed.append_column(RECORDED.field("size"), found["size"].take(place))


def binary(digests: pa.Array) -> pa.Array:
    """Hashes in hexadecimal (large_string) as bytes; ValueError if one is no SHA-256."""
    if not pc.all(pc.equal(pc.binary_length(digests), _DIGITS), min_count=0).as_py():
        raise ValueError("no SHA-256")
    parts = (digests.slice(start, _NAMES).to_pylist() for start in range(0, len(digests), _NAMES))
    whole = b"".join(bytes.fromhex("".join(part)) for part in parts)
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(32), len(digests), [None, pa.py_buffer(whole)])


def _listed(path: Path) -> pa.Table | None:
    """Names and hashes of a record; None if it is not there, or not as aura writes it."""
    schema = pa.schema([RECORDED.field("name"), RECORDED.field("sha256")])
    tables = [schema.empty_table()]
    try:
        with path.open("rb") as file:
            rest = b""
            while more := file.read(_BLOCK):
                lines, newline, rest = (rest + more).rpartition(b"\n")
                tables.append(pa.table(_parts(lines + newline), schema=schema))
    except (OSError, ValueError):
        return None
    return None if rest or len(tables) == 1 else pa.concat_tables(tables).combine_chunks()


def _parts(content: bytes) -> list[pa.Array]:
    """Names and hashes of some lines of a record; ValueError if they are not as aura writes them."""
    ends = np.flatnonzero(np.frombuffer(content, np.uint8) == ord("\n")) + 1
    buffers = [None, pa.py_buffer(np.concatenate([[0], ends]).astype(np.int64)), pa.py_buffer(content)]
    lines = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(ends), buffers)
    names, digests, between = (
        pc.binary_slice(lines, *part).cast(pa.large_string()) for part in ((_NAME, -1), (0, _DIGITS), (_DIGITS, _NAME))
    )
    if not pc.all(pc.is_in(between, pa.array(["  ", " *"], pa.large_string())), min_count=0).as_py():
        raise ValueError("another line")
    return [names, binary(digests)]


def _found(folder: Path) -> pa.Table | None:
    """Names and sizes of the files below a folder, as `checksums` lists them; None if one is no UTF-8."""
    kinds = RECORDED.field("name").type, RECORDED.field("size").type
    found: list[tuple[pa.Array, pa.Array]] = [(pa.array([], kinds[0]), pa.array([], kinds[1]))]
    waiting = [""]
    try:
        while waiting:
            prefix = waiting.pop()
            portions = _portions(folder / prefix, prefix, waiting)
            found += [(pa.array(names, kinds[0]), pa.array(sizes, kinds[1])) for names, sizes in portions]
    except UnicodeEncodeError:
        return None
    return pa.table([pa.concat_arrays(arrays) for arrays in zip(*found, strict=True)], names=["name", "size"])


def _portions(folder: Path, prefix: str, folders: list[str]) -> Iterator[tuple[list[str], list[int]]]:
    """Yield names and sizes of the files in one folder, some at a time; folders in it are added to `folders`."""
    names, sizes = list[str](), list[int]()
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with os.scandir(descriptor) as entries:  # a shorter way for the system than by the path
            for entry in entries:
                if entry.is_dir():
                    if not entry.is_symlink():
                        folders.append(f"{prefix}{entry.name}/")
                elif not entry.name.startswith(".") and prefix + entry.name != checksums.NAME and entry.is_file():
                    names.append(prefix + entry.name)
                    sizes.append(entry.stat().st_size)
                    if len(names) == _NAMES:
                        yield names, sizes
                        names, sizes = [], []
    finally:
        os.close(descriptor)
    yield names, sizes


def _places(names: pa.ChunkedArray, there: pa.ChunkedArray) -> pa.Array | None:
    """The place of each name in another list; None unless both hold the same names, each once."""
    place = pc.index_in(names, there)
    return place if len(names) == len(there) == distinct(place) and not place.null_count else None


def distinct(places: pa.ChunkedArray | pa.Array) -> int:
    """The number of different places in what `index_in` gave, without nulls."""
    found = places.drop_null().to_numpy()
    return int(np.count_nonzero(np.bincount(found))) if len(found) else 0


def read_records(path: Path, key: str, schema: pa.Schema) -> tuple[dict[str, Any], pa.Table] | None:
    """Read what `files.write_records` wrote: the object, without its list, and the list as rows of `schema`.

    None if the file is laid out in another way, or a record has other fields or types; then `files.read_json` reads it.
    """
    with path.open("rb") as file:
        try:
            head = _head(file, f'  "{key}": [\n'.encode())
            read = [_rows(block, schema) for block in _blocks(file)]
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError, RecursionError):
            return None
    table = pa.concat_tables([schema.empty_table(), *read])
    return None if any(column.null_count for column in table.columns) else (head, table.combine_chunks())


def _head(file: BinaryIO, opening: bytes) -> dict[str, Any]:
    """The object before the line `opening`; ValueError if there is no such line, or no object."""
    before = list[bytes]()
    for line in file:
        if line == opening:
            head = json.loads(b"".join(before).removesuffix(b",\n") + b"}")
            if isinstance(head, dict):
                return head
            break
        before.append(line)
    raise ValueError(f"no line {opening!r}")


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a list, some at a time, without the commas between them; ValueError if it does not end."""
    rest = b""
    while more := file.read(_BLOCK):
        lines, _, rest = (rest + more).rpartition(b"\n")
        before, _, last = lines.rpartition(b"\n")
        ended = last == b"]}"
        yield (before if ended else lines).replace(b"},\n", b"}\n").removesuffix(b",")
        if ended and not rest and not file.read(1):
            return
    raise ValueError("no end of the list")


def _rows(lines: bytes, schema: pa.Schema) -> pa.Table:
    if not lines.strip():
        return schema.empty_table()
    whole = pj.ReadOptions(use_threads=False, block_size=len(lines) + 1)
    strict = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error")
    return pj.read_json(pa.BufferReader(lines), whole, strict).select(schema.names)

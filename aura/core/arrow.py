"""Needs of those who use PyArrow: tables as bytes, PyArrow without pandas, and its memory."""

import ctypes
import sys
from contextlib import suppress
from importlib.abc import MetaPathFinder

import pyarrow as pa

SHORT_OFFSETS = 2**31 - 1  # bytes of text that an array with 32-bit offsets holds; tests lower it
# Options of glibc's mallopt, in bytes: M_TRIM_THRESHOLD (free memory that is kept at the heap's end), M_TOP_PAD (taken
# at a time) and M_MMAP_THRESHOLD (from which on a block goes back to the system when it is freed: 32 MB at most).
_KEPT = {-1: 1 << 30, -2: 16 << 20, -3: 32 << 20}
_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")  # half the disk of plain text, at little time


def to_bytes(table: pa.Table) -> bytes:
    """A table in Arrow's stream format, compressed by LZ4."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=_OPTIONS) as writer:
        writer.write_table(joined(table))
    data: bytes = sink.getvalue().to_pybytes()
    return data


def joined(table: pa.Table) -> pa.Table:
    """The table with one chunk a column; columns that may hold more than SHORT_OFFSETS bytes must have 64-bit offsets.

    Raises ValueError for one that has 32-bit offsets and more bytes.
    """
    for name, column in zip(table.column_names, table.columns, strict=True):
        if (pa.types.is_string(column.type) or pa.types.is_binary(column.type)) and column.nbytes > SHORT_OFFSETS:
            raise ValueError(f"{name}: expected 64-bit offsets for {column.nbytes:,} bytes")
    return table.combine_chunks()


def from_bytes(data: bytes) -> pa.Table:
    """The table of `to_bytes`."""
    return pa.ipc.open_stream(data).read_all()


class _NoPandas(MetaPathFinder):
    """While this is the first of `sys.meta_path`, pandas cannot be imported."""

    def find_spec(self, fullname: str, _path: object, _target: object = None) -> None:
        """Refuse pandas, and leave all else to the other finders."""
        if fullname == "pandas":
            raise ModuleNotFoundError(name=fullname)


def leave_pandas_out() -> None:
    """Let PyArrow find out now that pandas is not there, which saves 0.3 s of start-up and 40 MB.

    Otherwise it imports pandas as soon as it is given a list, to ask whether that is one of pandas' own kinds.
    Libraries that do need pandas (`datasets`) can still import it, and PyArrow then takes its data frames.
    """
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([])
    finally:
        sys.meta_path.remove(finder)


def use_system_memory() -> None:
    """Let PyArrow take its memory as NumPy does, and let the process keep what it frees.

    Its own allocator takes more where both work in turns: a worker that counts text takes 254 MB in place of 192, and a
    tenth more processor time. Memory that went back to the system costs 2 µs for each 4 kB when it is taken again: half
    of the page faults of extraction, and a tenth of its processor time.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    if sys.platform == "linux":
        with suppress(AttributeError):  # another C library than glibc
            options = ctypes.CDLL(None).mallopt
            for option, size in _KEPT.items():
                options(option, size)

"""Two needs of all who use PyArrow: tables as bytes, and PyArrow without pandas (0.3 s of start-up, and 40 MB)."""

import sys
from importlib.abc import MetaPathFinder

import pyarrow as pa

_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")  # half the disk of plain text, at little time


def to_bytes(table: pa.Table) -> bytes:
    """A table in Arrow's stream format, compressed by LZ4."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=_OPTIONS) as writer:
        writer.write_table(table.combine_chunks())
    data: bytes = sink.getvalue().to_pybytes()
    return data


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
    """Let PyArrow find out now that pandas is not there.

    Otherwise it imports pandas as soon as it is given a list, to ask whether that is one of pandas' own kinds.
    Libraries that do need pandas (`datasets`) can still import it, and PyArrow then takes its data frames.
    """
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([])
    finally:
        sys.meta_path.remove(finder)

"""PyArrow without pandas: for a process that keeps no data frames, 0.3 s of start-up and 40 MB."""

import sys
from importlib.abc import MetaPathFinder

import pyarrow as pa


class _NoPandas(MetaPathFinder):
    """While this is the first of `sys.meta_path`, pandas cannot be imported."""

    def find_spec(self, fullname: str, _path: object, _target: object = None) -> None:
        """Refuse pandas, and leave all else to the other finders."""
        if fullname == "pandas":
            raise ModuleNotFoundError(name=fullname)


def leave_pandas_out() -> None:
    """Let PyArrow find out now that pandas is not there.

    Else it imports pandas as soon as it is given a list, to ask whether that is one of pandas' own kinds. What does
    need pandas (`datasets`) can still import it, and PyArrow then takes its data frames.
    """
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([])
    finally:
        sys.meta_path.remove(finder)

"""PyArrow without pandas, in a process of its own: this one has imported pandas long since."""

import subprocess
import sys

PROGRAM = """
import sys
import pyarrow as pa
import aura.corpus.corpus

pa.table({"text": ["one"], "size": [1]}).filter(pa.array([True]))
assert "pandas" not in sys.modules

import pandas
frame = pandas.DataFrame({"text": ["one", None], "size": [1, 2]})
table = pa.Table.from_pandas(frame)
assert table.to_pylist() == [{"text": "one", "size": 1}, {"text": None, "size": 2}]
assert table.to_pandas().equals(frame)
"""


def test_lists_do_not_import_pandas_which_works_all_the_same():
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)

"""Exact duplicates of many synthetic documents, by the function that `select` calls; `benchmarks/scale.py` has 1e8."""

from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from aura.select import candidates, duplicates
from aura.select.candidates import Work
from aura.select.select import number_of_ranges
from aura.storage.cache import Cache

GROUP = 250_000


@pytest.mark.parametrize("number", [1_000_000, pytest.param(10_000_000, marks=pytest.mark.slow)])
def test_of_documents_with_one_hash_the_first_by_name_stays(tmp_path: Path, number: int):
    work = Work(tmp_path, (0,) * (number // GROUP), Cache(tmp_path / "cache"), "", max(3, number_of_ranges(number)))
    chance = np.random.default_rng(0)
    same = chance.integers(0, number, number, dtype=np.uint64)  # a third repeat others
    same[:1000] = number  # and a thousand are all alike
    place = chance.permutation(number)
    (tmp_path / "documents").mkdir()
    for group in range(len(work.ranks)):
        mine = slice(group * GROUP, (group + 1) * GROUP)
        halves = np.stack([same[mine] * np.uint64(0x9E3779B97F4A7C15), same[mine]], axis=1).astype(">u8")
        hashes = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), GROUP, [None, pa.py_buffer(halves.tobytes())])
        names = pa.array(place[mine] + 10**8).cast(pa.large_string())
        columns = [hashes, names, pa.array(np.zeros(GROUP, dtype=np.int64))]
        candidates.write_documents(work, group, pa.table(columns, candidates.GROUP_SCHEMA))
    write = partial(duplicates.by_text, work=work)
    duplicates.find(work, "exact", write, range(len(work.ranks)), lambda function, items: list(map(function, items)))
    order = np.lexsort((place, same))
    repeats = np.append(False, same[order][1:] == same[order][:-1])
    expected = np.zeros(number, dtype=bool)
    expected[order[repeats]] = True
    for group in range(len(work.ranks)):
        dropped = duplicates.drops(work, "exact", group)[:, duplicates.DROPPED]
        assert np.array_equal(dropped, np.flatnonzero(expected[group * GROUP : (group + 1) * GROUP]))

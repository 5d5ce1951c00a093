"""Tables on disk: a worker that died leaves the beginning of one, and nobody takes it for the whole."""

from pathlib import Path

import numpy as np
import pytest

from aura.core.errors import UserError
from aura.select import parts

ROWS = np.arange(20, dtype=np.uint64).reshape(10, 2)


def written(folder: Path) -> Path:
    parts.write(folder / "0", ROWS, ROWS[:, 0], np.array([10], dtype=np.uint64))
    return folder / "0"


def test_parts_are_read_alone(tmp_path):
    path = written(tmp_path)
    assert [parts.read(path, part).tolist() for part in range(2)] == [ROWS[:5].tolist(), ROWS[5:].tolist()]


def test_a_file_that_was_cut_short_is_told(tmp_path):
    path = written(tmp_path)
    path.write_bytes(path.read_bytes()[:-8])
    assert parts.read(path, 0).tolist() == ROWS[:5].tolist()
    with pytest.raises(UserError, match="expected 80 bytes, got 72"):
        parts.read(path, 1)


def test_the_beginning_that_a_dead_worker_left_is_no_file(tmp_path):
    path = written(tmp_path)
    (tmp_path / ".1.0123").write_bytes(path.read_bytes()[:30])
    assert parts.written(tmp_path) == [path]

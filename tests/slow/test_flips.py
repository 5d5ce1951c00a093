"""As tests/stages/test_verified_reading.py, with 50 flipped bits for each pair of artifact and reader."""

from pathlib import Path

import pytest

from tests.flips import READERS, Reader, artifacts, check  # noqa: F401 - a fixture

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: f"{reader.name}-{reader.reads}")
def test_fifty_flipped_bits_are_told(reader: Reader, artifacts: Path, tmp_path: Path):  # noqa: F811
    assert check(reader, artifacts, tmp_path / "scratch", flips=50, seed=20) > 0

"""No damage between stages is silent: a few flips, cuts and losses for each pair of artifact and reader."""

from pathlib import Path

import pytest

from tests.flips import READERS, Reader, artifacts, check  # noqa: F401 - a fixture


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: f"{reader.name}-{reader.reads}")
def test_damage_to_what_a_stage_reads_is_told(reader: Reader, artifacts: Path, tmp_path: Path):  # noqa: F811
    assert check(reader, artifacts, tmp_path / "scratch", flips=2, seed=13) > 0

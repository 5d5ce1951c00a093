"""Names of files and documents of more than 2 GB: no array of them has 32-bit offsets. Tests lower that limit."""

from pathlib import Path

import pyarrow as pa
import pytest

from aura.core import arrow
from aura.extract.extract import extract
from aura.select import candidates
from aura.select.options import Select
from aura.select.select import select
from aura.sources.options import TxtSource
from aura.storage.cache import Cache
from tests.mini_tokens import PARAMS

LIMIT = 2_000  # bytes, where Arrow's is 2 GB


def test_short_offsets_are_refused_above_the_limit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(arrow, "SHORT_OFFSETS", LIMIT)
    names = ["a name of a document"] * 200
    assert arrow.from_bytes(arrow.to_bytes(pa.table({"doc": pa.array(names, pa.large_string())})))["doc"].to_pylist()
    with pytest.raises(ValueError, match="doc: expected 64-bit offsets for"):
        arrow.to_bytes(pa.table({"doc": pa.array(names, pa.string())}))


def made(folder: Path, texts: Path) -> dict[str, bytes]:
    """Extract and select in one process."""
    settings = PARAMS.extract.model_copy(update={"shards": 2})
    cache, source = Cache(folder / "cache"), TxtSource(kind="txt", path=str(texts))
    extract("mine", source, settings, folder / "extracted/mine", cache)
    rules = {"deduplicate": "exact", "near_duplicates": 0.8, "held_out": 0.3, "caps": {"mine": {"max_documents": 150}}}
    select(["mine"], Select.model_validate(rules), folder / "extracted", folder / "corpus", cache, ranges=2)
    paths = [path for name in ("extracted", "corpus") for path in (folder / name).rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.mark.slow
def test_extract_and_select_join_names_beyond_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "texts").mkdir()
    for number in range(400):
        text = " ".join(f"word{number % 300 * word}" for word in range(60)) + (" more" if number % 7 == 0 else "")
        (tmp_path / f"texts/{'name' * 20}-{number}.txt").write_text(text)
    monkeypatch.setattr(candidates, "GROUP_SHARDS", 1)
    expected = made(tmp_path / "expected", tmp_path / "texts")
    monkeypatch.setattr(arrow, "SHORT_OFFSETS", LIMIT)
    assert made(tmp_path / "found", tmp_path / "texts") == expected

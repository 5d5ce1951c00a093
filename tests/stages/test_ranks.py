"""Ranks that share an action cache make together what one process makes, whatever the corpus."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.core import parallel
from aura.encode import encoding
from aura.extract.extract import extract
from aura.select import candidates
from aura.select.options import Select
from aura.select.select import select
from aura.sources.options import TxtSource
from aura.storage.cache import Cache
from aura.train_tokenizer import sorted_tables
from aura.train_tokenizer.corpus_counts import count_corpus
from aura.train_tokenizer.segments import Splitting
from tests.mini_tokens import PARAMS, MiniTokens
from tests.select.test_ranges import corpus_of, write
from tests.select.test_select import contents

SPLITTING = Splitting(split_digits=True, split_by_script=True, split_by_number=True, user_symbols=())


def together(monkeypatch: pytest.MonkeyPatch, world: int, stage: Callable[[], object]) -> None:
    """Run a stage as each rank, again and again, until none needs results of others."""
    for _ in range(40):
        ended = []
        for number in range(world):
            monkeypatch.setenv("AURA_RANK", f"{number} of {world}")
            with pytest.raises(SystemExit) as done:
                stage()
            ended.append(done.value.code)
        if ended == [0] * world:
            monkeypatch.delenv("AURA_RANK")
            return
        assert set(ended) <= {0, 75}
    raise AssertionError("ranks do not come to an end")


@contextmanager
def nothing_shared_is_made(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One process finds all that ranks made."""

    def found(pool: object, fn: object, items: list[object], find: object) -> Iterator[object]:  # noqa: ARG001
        assert not items
        return iter(())

    def own(items: list[object]) -> list[object]:
        assert not items
        return items

    with monkeypatch.context() as changed:
        changed.setattr(parallel, "shared_map", found)
        changed.setattr(parallel, "own", own)
        yield


@pytest.mark.slow  # 2 s an example
@given(st.integers(0, 10**6), st.integers(0, 100), st.integers(1, 4), st.sampled_from([None, 0.8]))
@settings(max_examples=10, deadline=None)
def test_ranks_select_and_count_as_one_process_does(tmp_path_factory, seed, number, world, near):
    folder = tmp_path_factory.mktemp("ranks")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        monkeypatch.setattr(candidates, "GROUP_SHARDS", 2)
        monkeypatch.setattr(sorted_tables, "RANGE", 1)  # where ranges are cut
        write(Path("extracted"), corpus_of(seed, number, near=near is not None))
        rules = Select.model_validate(PARAMS.select.model_dump() | {"near_duplicates": near, "held_out": 0.4})

        def chosen(out: str, cache: str) -> object:
            return select(["a", "b"], rules, Path("extracted"), Path(out), Cache(Path(cache)), ranges=2)

        def counted(cache: str) -> dict[str, list[object]]:
            return count_corpus(Path("alone/train"), SPLITTING, Cache(Path(cache))).table.to_pydict()

        chosen("alone", "cache-alone")
        together(monkeypatch, world, lambda: chosen("shared", "cache"))
        together(monkeypatch, world, lambda: counted("cache"))
        assert not list(folder.glob("*shared*"))
        with nothing_shared_is_made(monkeypatch):
            chosen("shared", "cache")
            shared = counted("cache")
        assert contents(folder / "alone") == contents(folder / "shared")
        assert counted("cache-alone") == shared


@given(st.lists(st.text("ab \n", max_size=3000), min_size=1, max_size=12), st.integers(1, 4))
@settings(max_examples=3, deadline=None)
def test_ranks_extract_as_one_process_does(tmp_path_factory, texts, world):
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "data").mkdir()
    for number, text in enumerate([*texts, "a text that is long enough to be kept"]):
        (folder / f"data/{number}.txt").write_text(text)
    settings_of = PARAMS.extract.model_copy(update={"shards": 4, "max_document_bytes": 2000})
    source = TxtSource(kind="txt", path=str(folder / "data"))

    def extracted(out: str, cache: str) -> object:
        return extract("mine", source, settings_of, folder / out, Cache(folder / cache))

    with pytest.MonkeyPatch.context() as monkeypatch:
        extracted("alone", "cache-alone")
        together(monkeypatch, world, lambda: extracted("shared", "cache"))
        with nothing_shared_is_made(monkeypatch):
            extracted("shared", "cache")
    assert contents(folder / "alone") == contents(folder / "shared")


def test_ranks_encode_as_one_process_does(made: MiniTokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def encoded(out: str) -> object:
        return encoding.encode_with(
            made.tokenizer, made.corpus, tmp_path / out, PARAMS.encode, Cache(tmp_path / "cache")
        )

    together(monkeypatch, 3, lambda: encoded("tokens"))
    with nothing_shared_is_made(monkeypatch):
        encoded("tokens")
    assert contents(tmp_path / "tokens") == contents(made.tokens)

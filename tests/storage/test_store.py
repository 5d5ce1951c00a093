"""A store in a folder (`file://`); tests/slow/test_store.py asks the same of a real object store."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aura.cli.cache import cache_stats, prune_cache
from aura.core.errors import UserError
from aura.core.keys import action_key
from aura.storage import store
from aura.storage.placement import ShardPlace
from aura.storage.store import ObjectStore
from aura.storage.stored_cache import StoredCache
from tests.conftest import REPOSITORY

CONTENT = b"the bytes of a shard, " * 1000


@pytest.fixture
def here(tmp_path: Path) -> ObjectStore:
    return ObjectStore((tmp_path / "objects").as_uri())


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    path = tmp_path / "shard"
    path.write_bytes(CONTENT)
    return path


def object_of(stored: store.Stored) -> Path:
    return Path(stored.uri.removeprefix("file://"))


def test_what_was_put_lies_under_its_hash_and_comes_back(here, shard):
    stored = here.put(shard)
    assert stored.uri == f"{here.url}/sha256/{stored.sha256[:2]}/{stored.sha256[2:]}"
    with store.fetched(stored, "make it") as copy:
        assert copy.read() == CONTENT
    assert store.read_range(stored.uri, 4, 9) == CONTENT[4:9]


def test_what_is_there_is_not_sent_again_and_what_is_damaged_is(here, shard):
    path = object_of(here.put(shard))
    os.utime(path, (1, 1))
    here.put(shard)
    assert path.stat().st_mtime == 1
    for damage in (CONTENT[:-1], b"X" + CONTENT[1:], b""):
        path.write_bytes(damage)
        here.put(shard)
        assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("damage", [None, CONTENT[:-1], CONTENT + b"!", b"X" + CONTENT[1:], b""])
def test_no_byte_of_a_missing_or_altered_object_is_used(here, shard, damage):
    stored = here.put(shard)
    object_of(stored).unlink() if damage is None else object_of(stored).write_bytes(damage)
    assert not store.is_intact(stored)
    with (
        pytest.raises(UserError, match=f"{stored.uri} is not there with .* run: make it --force"),
        store.fetched(stored, "make it"),
    ):
        pytest.fail("an altered object was given away")


def test_an_object_that_is_damaged_for_a_moment_is_fetched_again(here, shard, monkeypatch):
    stored, honest, asked = here.put(shard), store.read_range, []

    def flaky(uri: str, start: int, end: int) -> bytes:
        asked.append(start)
        return honest(uri, start, end)[::-1] if len(asked) == 1 else honest(uri, start, end)

    monkeypatch.setattr(store, "read_range", flaky)
    with store.fetched(stored, "make it") as copy:
        assert copy.read() == CONTENT


def test_many_writers_of_one_object_leave_it_whole_and_nothing_else(here, shard, tmp_path):
    with ThreadPoolExecutor(8) as pool:
        (stored,) = set(pool.map(lambda _: here.put(shard), range(40)))
    assert [path for path in (tmp_path / "objects").rglob("*") if path.is_file()] == [object_of(stored)]


def test_a_url_that_cannot_be_used_is_one_message(shard):
    with pytest.raises(UserError, match=r"nope://there/sha256/.*Protocol not known: nope"):
        ObjectStore("nope://there").put(shard)


def test_a_cache_in_a_store_is_a_cache(here, monkeypatch):
    monkeypatch.delenv("AURA_CACHE", raising=False)
    cache, key = ShardPlace(here).cache(), action_key("an action")
    assert isinstance(cache, StoredCache)
    assert cache.get(key) is None
    cache.put(key, {"n": list(range(20000))}, {"bytes": b"\0data", "empty": b"", "large": b"large" * 900_000})
    entry = cache.get(key)
    assert entry.record == {"n": list(range(20000))}, "a header may be longer than what is read first"
    assert (entry.read("bytes"), entry.read("empty")) == (b"\0data", b"")
    assert entry.read("large") == b"large" * 900_000
    assert cache.stats().entries == 1
    cache.prune_own(0)
    assert cache.stats().entries == 1, "one machine's limit is not everyone's"
    assert cache.prune(0).entries == 1
    assert entry.read("bytes") is None
    assert cache.get(key) is None


def test_damage_in_a_stored_cache_counts_as_a_miss(here, tmp_path):
    cache, key = StoredCache(Path("cache"), here), action_key("an action")
    cache.put(key, {"n": 1}, {"part": b"x" * 50})
    (path,) = (path for path in (tmp_path / "objects/cache").rglob("*") if path.is_file())
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        for damaged in (whole[:place], whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]):
            path.write_bytes(damaged)
            entry = cache.get(key)
            assert entry is None or entry.read("part") is None
            assert cache.get(key) is None, "a damaged entry is removed"
            cache.put(key, {"n": 1}, {"part": b"x" * 50})


def test_a_shared_cache_is_pruned_only_to_a_stated_size(here, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("AURA_CACHE", raising=False)
    monkeypatch.chdir(tmp_path)
    text = (REPOSITORY / "params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("store: null", f"store: {here.url}"))
    cache_stats()
    ShardPlace(here).cache().put(action_key(1), {}, {"part": b"x" * 2000})
    cache_stats()
    with pytest.raises(UserError, match=f"{here.url}/cache is shared by all who use the store.*--max-gb N"):
        prune_cache(None)
    prune_cache(0.0)
    said = capsys.readouterr().out.replace("\n", " ")
    assert f"{here.url}/cache: 0 entries, 0 bytes" in said
    assert f"{here.url}/cache: 1 entries, 2.1 kB" in said
    assert "removed 1 entries, 2.1 kB" in said


def test_the_environments_folder_comes_before_the_store(here, tmp_path, monkeypatch):
    monkeypatch.setenv("AURA_CACHE", str(tmp_path / "mine"))
    assert ShardPlace(here).cache().address == str(tmp_path / "mine")

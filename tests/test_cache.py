import errno
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest

from aura.cache import Cache, action_key, code_key
from tests.conftest import REPOSITORY


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def entry_file(cache: Cache) -> Path:
    (found,) = cache.folder.glob("[0-9a-f][0-9a-f]/*")
    return found


def test_what_was_put_comes_back(cache, tmp_path):
    (tmp_path / "file").write_bytes(b"from a file" * 200_000)
    key = action_key("an action")
    assert cache.get(key) is None
    cache.put(key, {"n": 1}, {"bytes": b"\0data", "empty": b"", "file": tmp_path / "file"})
    entry = cache.get(key)
    assert entry.record == {"n": 1}
    assert entry.read("bytes") == b"\0data"
    assert entry.read("empty") == b""
    assert entry.place("file", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "file").read_bytes()
    assert (tmp_path / "copy").samefile(tmp_path / "file"), "it takes no more disk"
    assert cache.stats().bytes > (tmp_path / "file").stat().st_size


@pytest.mark.parametrize("damage", [b"other", b"", None])
def test_a_damaged_or_lost_file_is_a_miss(cache, tmp_path, damage):
    key, file = action_key("an action"), tmp_path / "file"
    file.write_bytes(b"whole")
    cache.put(key, {}, {"file": file})
    if damage is None:
        cache.file(key, "file").unlink()
    else:
        file.write_bytes(damage)  # an output that was altered in place
    assert not cache.get(key).place("file", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    assert cache.get(key) is None
    assert not list(cache.folder.glob("[0-9a-f][0-9a-f]/*"))


def test_without_links_files_are_copied(cache, tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "another file system")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    (tmp_path / "file").write_bytes(b"whole")
    cache.put(action_key(1), {}, {"file": tmp_path / "file"})
    (tmp_path / "file").write_bytes(b"altered")
    assert cache.get(action_key(1)).place("file", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"whole"


@pytest.mark.parametrize("damage", ["cut", "longer", "flipped", "emptied"])
def test_damage_anywhere_counts_as_a_miss_and_is_mended_by_the_next_put(cache, damage):
    key = action_key("an action")
    cache.put(key, {"n": 1}, {"part": b"x" * 50})
    whole = entry_file(cache).read_bytes()
    for place in range(0, len(whole), 7):
        damaged = {
            "cut": whole[:place],
            "longer": whole + b"!" * (place + 1),
            "flipped": whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :],
            "emptied": b"",
        }[damage]
        entry_file(cache).write_bytes(damaged)
        entry = cache.get(key)
        assert entry is None or entry.read("part") is None
        assert cache.get(key) is None, "a damaged entry is removed"
        cache.put(key, {"n": 1}, {"part": b"x" * 50})
        assert cache.get(key).read("part") == b"x" * 50


def test_an_entry_that_goes_while_it_is_used_counts_as_a_miss(cache, tmp_path):
    key = action_key("an action")
    (tmp_path / "file").write_bytes(b"whole")
    cache.put(key, {}, {"part": b"data", "file": tmp_path / "file"})
    entry = cache.get(key)
    cache.prune(0)
    assert entry.read("part") is None
    assert not entry.place("file", tmp_path / "copy")
    assert not [path for path in cache.folder.rglob("*") if path.is_file()]


def test_prune_keeps_the_most_recently_used_under_the_bound(cache):
    keys = [action_key(number) for number in range(5)]
    for number, key in enumerate(keys):
        cache.put(key, {}, {"part": b"x" * 1000})
        os.utime(cache.path(key), (1000 + number, 1000 + number))
    cache.get(keys[0])
    size = cache.stats().bytes // 5
    removed = cache.prune(2 * size)
    assert (removed.entries, removed.bytes) == (3, 3 * size)
    assert cache.stats().bytes <= 2 * size
    assert [number for number, key in enumerate(keys) if cache.get(key)] == [0, 4]


def test_prune_removes_what_a_killed_writer_left_but_not_a_living_ones_file(cache, tmp_path, monkeypatch):
    key, other = action_key(1), action_key(2)
    (tmp_path / "file").write_bytes(b"whole")
    cache.put(key, {}, {"file": tmp_path / "file"})
    cache.put(other, {}, {"file": tmp_path / "file"})
    cache.path(other).unlink()  # killed between its file and its entry
    half, folder = cache.folder / "partial/half", cache.folder / "partial/folder"
    half.write_bytes(b"half")
    folder.mkdir()
    cache.prune(1e9)
    assert half.exists()
    assert folder.exists()
    assert cache.file(other, "file").exists()
    tomorrow = time.time() + 25 * 3600
    monkeypatch.setattr(time, "time", lambda: tomorrow)
    cache.prune(1e9)
    assert not half.exists()
    assert not folder.exists()
    assert not cache.file(other, "file").exists()
    assert cache.get(key).place("file", tmp_path / "copy")


def test_a_writer_that_fails_leaves_nothing(cache, tmp_path):
    with pytest.raises(FileNotFoundError):
        cache.put(action_key(1), {}, {"part": tmp_path / "absent"})
    assert not [path for path in cache.folder.rglob("*") if path.is_file()]


def test_a_killed_writer_leaves_the_old_entry_or_the_new(cache):
    """kill -9 while one key is written over and over: whatever is there is whole."""
    code = (
        "import sys; from pathlib import Path; from aura.cache import Cache\n"
        "cache = Cache(Path(sys.argv[1]))\n"
        "while True:\n cache.put('ab' * 16, {}, {'part': b'x' * 3_000_000}); print(flush=True)"
    )
    for _ in range(5):
        with subprocess.Popen(
            [sys.executable, "-c", code, cache.folder], cwd=REPOSITORY, stdout=subprocess.PIPE
        ) as writer:
            writer.stdout.readline()
            writer.kill()
        assert cache.get("ab" * 16).read("part") == b"x" * 3_000_000


def test_concurrent_writers_and_readers_see_whole_entries(cache):
    keys = [action_key(number) for number in range(3)]

    def work(number: int) -> None:
        for _ in range(30):
            key = keys[number % 3]
            cache.put(key, {"key": key}, {"part": bytes([number]) * 5000})
            entry = cache.get(keys[(number + 1) % 3])
            found = entry and entry.read("part")
            assert found is None or (len(found) == 5000 and len(set(found)) == 1)
            cache.prune(10_000)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert not list(cache.folder.glob("partial/*"))


def test_a_key_follows_code_and_library_versions(tmp_path):
    module = ModuleType("mine")
    module.__file__ = str(tmp_path / "mine.py")
    (tmp_path / "mine.py").write_text("one")
    before = code_key([module], ["numpy"])
    assert code_key([module], ["numpy"]) == before
    assert code_key([module], ["pyarrow"]) != before
    (tmp_path / "mine.py").write_text("two")
    assert code_key([module], ["numpy"]) != before

import errno
import itertools
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest

from aura.core.keys import action_key, code_key
from aura.storage.cache import Cache
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
        "import sys; from pathlib import Path; from aura.storage.cache import Cache\n"
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


def test_an_entry_in_another_ones_place_is_a_miss_and_removed(cache, tmp_path):
    """Every pair of entries of all kinds: swapped with their files, the files alone, or the entries alone."""
    kinds = {"none": {}, "bytes": {"part": b"x"}, "file": {"part": "f"}, "both": {"part": b"x", "other": "f"}}
    names = [(kind, number) for kind in kinds for number in range(2)]
    trusted = 0
    for one, other in itertools.permutations(names, 2):
        for what in ("whole", "entry", "files"):
            for kind, number in (one, other):
                file = tmp_path / "source"
                file.unlink(missing_ok=True)
                file.write_bytes(b"%d" % number)
                parts = {name: file if value == "f" else value * (number + 1) for name, value in kinds[kind].items()}
                cache.put(action_key(kind, number), [kind, number], parts)
            keys = action_key(*one), action_key(*other)
            swap(cache, *keys, what)
            for key, wrong in zip(keys, ((other, one)), strict=True):
                entry = cache.get(key)
                if entry is None:
                    assert not cache.path(key).exists(), "damage is removed"
                    continue
                trusted += what != "files" or tuple(entry.record) == wrong
                for name, (start, _, _) in entry.parts.items():
                    content = entry.read(name) if start is not None else (entry.file(name) or tmp_path).is_file()
                    trusted += (
                        start is None
                        and bool(content)
                        and cache.file(key, name).read_bytes() != b"%d" % entry.record[1]
                    )
            cache.prune(0)
    assert trusted == 0


def swap(cache: Cache, one: str, other: str, what: str) -> None:
    """Put the files of two entries in each other's place."""
    taken = {}
    for key in (one, other):
        for path in cache.path(key).parent.glob(f"{key}*"):
            is_entry = path.name == key
            if what == "whole" or is_entry == (what == "entry"):
                taken[key, path.name.removeprefix(key)] = path.read_bytes()
                path.unlink()
    for (key, suffix), content in taken.items():
        target = cache.path(other if key == one else one)
        target.with_name(f"{target.name}{suffix}").write_bytes(content)


RUINS = {
    "absent": lambda _: None,
    "folder": lambda path: path.mkdir(),
    "full folder": lambda path: (path / "in/it").mkdir(parents=True),
    "FIFO": os.mkfifo,
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "empty": lambda path: path.touch(),
    "zeros": lambda path: path.write_bytes(bytes(100)),
    "a size of many digits": lambda path: path.write_bytes(b"aura-cache-3 %s 0\n" % (b"9" * 5000)),
    "a size of 18 digits": lambda path: path.write_bytes(b"aura-cache-3 %s 0\n" % (b"9" * 18)),
}


@pytest.mark.parametrize("ruin", RUINS)
def test_whatever_stands_in_the_place_of_a_part_of_the_cache_is_a_miss(tmp_path, capsys, ruin):
    """Entries, parts that are files, the folders of both, `partial`, the cache itself, and its spare folder."""
    key, file = action_key("an action"), tmp_path / "file"
    file.write_bytes(b"whole")
    places = ("KEY", "KEY.file", "..", "../../partial", "../..", "SPARE", "../.. SPARE")
    for number, place in enumerate(places):
        cache = Cache(tmp_path / f"{number}/cache", spare=tmp_path / f"{number}/spare")
        cache.put(key, {"n": 1}, {"part": b"data", "file": file})
        for name in place.split():
            target = Path(os.path.normpath(cache.path(key) / name.removeprefix("KEY")))
            target = {"KEY.file": cache.file(key, "file"), "SPARE": cache.spare}.get(name, target)
            if target.is_dir():
                shutil.rmtree(target)
            target.unlink(missing_ok=True)
            RUINS[ruin](target)
        for _ in range(2):
            entry = cache.get(key)
            if entry is not None:
                assert entry.record == {"n": 1}
                assert entry.read("part") in (b"data", None)
                kept = entry.file("file")
                assert kept is None or kept.read_bytes() == b"whole"
            cache.stats()
            cache.prune(1e9)
            cache.put(key, {"n": 1}, {"part": b"data", "file": file})
        entry = cache.get(key)
        assert entry is None or entry.read("part") == b"data"
        assert entry is not None or "SPARE" in place, place
        cache.remove(key)
    assert capsys.readouterr().err.count("nothing is kept for the next run") <= 1


def test_entries_that_a_power_cut_left_empty_zeroed_or_short_are_misses(cache, tmp_path):
    """Entries and their files are not synced, so each length of what a file system may have written must be a miss."""
    key, file = action_key("an action"), tmp_path / "file"
    for target in (cache.path(key), cache.file(key, "file")):
        for length in range(0, 150, 7):
            for kept in (True, False):
                file.unlink(missing_ok=True)
                file.write_bytes(b"a whole shard" * 20)
                cache.put(key, {"n": 1}, {"part": b"data" * 10, "file": file})
                whole = target.read_bytes()
                assert length < len(whole)
                target.unlink()
                target.write_bytes(whole[:length] + (b"" if kept else bytes(len(whole) - length)))
                entry = cache.get(key)
                if target == cache.path(key):
                    assert entry is None or entry.read("part") is None
                else:
                    assert entry.file("file") is None
                assert cache.get(key) is None

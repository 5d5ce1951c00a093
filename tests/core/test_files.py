"""Outputs are whole or absent, also after a power cut: what is renamed into place was synced before."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aura.core import files
from tests.conftest import REPOSITORY


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Path]]:
    """Every sync and rename, in order, with the path that is synced or renamed."""
    seen: list[tuple[str, Path]] = []

    def noted(call: Callable[..., object], kind: str) -> Callable[..., object]:
        def run(first: int | Path, *others: object) -> object:
            place = Path(f"/proc/self/fd/{first}").readlink() if isinstance(first, int) else Path(first)
            seen.append((kind, place))
            return call(first, *others)

        return run

    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, noted(getattr(os, name), "sync"))
    monkeypatch.setattr(files, "_exchanged", noted(files._exchanged, "rename"))
    for name in ("rename", "replace"):
        real = getattr(Path, name)
        monkeypatch.setattr(Path, name, lambda path, target, real=real: noted(real, "rename")(path, target))
    return seen


@pytest.mark.parametrize("before", [False, True])
def test_all_of_a_folder_is_synced_before_its_rename_and_its_parents_after(tmp_path, events, before):
    out = tmp_path / "new/deep/out"
    if before:
        out.mkdir(parents=True)
        (out / "old").touch()
    with files.replaced_folder(out) as folder:
        (folder / "in").mkdir()
        (folder / "in/shard").write_bytes(b"shard")
        files.write_json(folder / "manifest.json", {})
    last = max(place for place, (kind, _) in enumerate(events) if kind == "rename")
    assert events[last] == ("rename", folder)
    synced = {path for kind, path in events[:last] if kind == "sync"}
    assert synced.issuperset({folder, folder / "in", folder / "in/shard", folder / "manifest.json"})
    assert ("sync", out.parent) in events[last:]
    if not before:
        assert synced.issuperset({tmp_path, tmp_path / "new"}), "the parents that were made"
    assert sorted(path.name for path in out.iterdir()) == ["in", "manifest.json"]
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_a_file_is_synced_before_its_rename_and_its_folder_after(tmp_path, events):
    files.write_bytes(tmp_path / "params.yaml", b"new")
    assert events == [
        ("sync", tmp_path / ".params.yaml.partial"),
        ("rename", tmp_path / ".params.yaml.partial"),
        ("sync", tmp_path),
    ]


def test_an_old_folder_is_there_until_the_new_one_is(tmp_path, monkeypatch):
    """The exchange is one step: no removal or other rename goes before it."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").touch()
    exchanged = files._exchanged

    def looked(one: Path, other: Path) -> bool:
        assert (out / "old").exists()
        done = exchanged(one, other)
        if not done:
            pytest.skip("this file system cannot exchange two names")
        assert (out / "new").exists()
        return done

    monkeypatch.setattr(files, "_exchanged", looked)
    with files.replaced_folder(out) as folder:
        (folder / "new").touch()


def test_a_file_system_that_cannot_exchange_names(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_exchanged", lambda *_: False)
    for number in range(2):
        with files.replaced_folder(tmp_path / "out") as folder:
            (folder / str(number)).touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "1"]


WRITER = """
import sys, time
from pathlib import Path
from aura.core.files import replaced_folder
with replaced_folder(Path(sys.argv[1])) as folder:
    (folder / "half").touch(); print(flush=True); time.sleep(60)
"""


def test_what_a_killed_writer_left_goes_and_what_a_living_one_writes_stays(tmp_path, monkeypatch):
    out = tmp_path / "out"
    monkeypatch.setattr(files, "_PATIENCE", 0.2)
    command = [sys.executable, "-c", WRITER, str(out)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()
        (unfinished,) = tmp_path.iterdir()
        assert files.leftovers(out) == []
        with files.replaced_folder(out):
            pass
        assert (unfinished / "half").exists(), "its writer lives"
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert files.leftovers(out) == [unfinished]
    (tmp_path / ".out.partial").mkdir()  # as earlier versions named it
    others = [tmp_path / ".out.other.partial", tmp_path / ".other.partial"]
    for other in others:
        other.mkdir()
    with files.replaced_folder(out):
        pass
    assert sorted(tmp_path.iterdir()) == sorted([out, *others])


def test_writers_of_one_file_at_once_leave_it_whole(tmp_path):
    path, contents = tmp_path / "file", [bytes([number]) * 100_000 for number in range(8)]

    def write(content: bytes) -> None:
        for _ in range(10):
            with files.replaced_file(path) as file:
                file.write(content[:50_000])
                file.write(content[50_000:])
            assert path.read_bytes() in contents

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, contents))
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_in_the_place_of_a_folder_stays(tmp_path):
    (tmp_path / "out").write_text("a user's")
    with pytest.raises(NotADirectoryError), files.replaced_folder(tmp_path / "out"):
        pass
    assert [path.read_text() for path in tmp_path.iterdir()] == ["a user's"]

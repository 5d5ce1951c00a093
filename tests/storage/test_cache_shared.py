"""One action cache for several accounts: entries follow the umask, and what may not be read is a miss."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from aura.storage.cache import Cache
from tests.conftest import REPOSITORY
from tests.extract.program import Program

KEY = "ab" + "0" * 30
GROUP = 54321
PROGRAM = """
import os, sys
from pathlib import Path
from aura.storage.cache import Cache
folder, account, umask, action = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3], 8), sys.argv[4]
os.setgroups([GROUP]); os.setgid(account); os.setuid(account); os.umask(umask)
cache, part = Cache(folder / "cache"), folder / f"of-{account}"
if action == "put":
    part.write_text("a shard")
    cache.put("ab" + "0" * 30, {"by": account}, {"data": b"bytes", "shard": part})
entry = cache.get("ab" + "0" * 30)
if entry is None:
    print("miss")
else:
    file = entry.file("shard")
    print(entry.record["by"], (entry.read("data") or b"-").decode(), file.read_text() if file else "-")
"""


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that a group shares; pytest's own are closed to other accounts."""
    folder = Path(tempfile.mkdtemp())
    os.chown(folder, -1, GROUP)
    folder.chmod(0o2775)
    (folder / "cache").mkdir()
    (folder / "cache").chmod(0o2775)
    yield folder
    shutil.rmtree(folder)


def as_account(folder: Path, account: int, umask: str, action: str) -> str:
    program = PROGRAM.replace("GROUP", str(GROUP))
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder), str(account), umask, action],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take two accounts")
def test_two_accounts_share_a_cache_as_their_umask_says(shared: Path):
    assert as_account(shared, 54001, "002", "put") == "54001 bytes a shard"
    assert as_account(shared, 54002, "002", "get") == "54001 bytes a shard"
    entry = Cache(shared / "cache").path(KEY)
    assert (entry.stat().st_mode & 0o777, entry.stat().st_gid) == (0o664, GROUP)
    entry.chmod(0o600)
    assert as_account(shared, 54002, "002", "get") == "miss"
    assert as_account(shared, 54002, "002", "put") == "54002 bytes a shard", "made again in its place"
    entry.chmod(0o640)
    assert as_account(shared, 54001, "002", "get") == "54002 bytes a shard", "readable, though not to be marked as used"
    Cache(shared / "cache").file(KEY, "shard").chmod(0o600)
    assert as_account(shared, 54001, "002", "get") == "54002 - -"


@pytest.mark.parametrize(("umask", "mode"), [(0o002, 0o664), (0o022, 0o644), (0o077, 0o600)])
def test_an_entry_has_the_mode_that_the_umask_gives(tmp_path: Path, umask: int, mode: int):
    before = os.umask(umask)
    try:
        Cache(tmp_path).put(KEY, {}, {"data": b"bytes"})
    finally:
        os.umask(before)
    assert Cache(tmp_path).path(KEY).stat().st_mode & 0o777 == mode
    assert list((tmp_path / "partial").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_a_miss_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A folder below a file can be made by nobody, root included."""
    (tmp_path / "file").touch()
    cache = Cache(tmp_path / "file/cache", spare=tmp_path / "spare")
    assert cache.get(KEY) is None
    cache.put(KEY, {"n": 1}, {"data": b"bytes", "shard": tmp_path / "file"})
    cache.put("cd" * 16, {}, {})
    entry = cache.get(KEY)
    assert (entry.record, entry.read("data"), entry.file("shard").read_bytes()) == ({"n": 1}, b"bytes", b"")
    assert capsys.readouterr().err.count("takes no entry here (Not a directory)") == 1
    cache.prune(0)
    assert cache.get(KEY) is None
    with pytest.raises(NotADirectoryError):
        Cache(tmp_path / "file/cache").put(KEY, {}, {})


def test_extraction_ends_well_where_its_cache_cannot_be_written(tmp_path: Path):
    """Large files are taken apart into the cache, so the run needs one all the same."""
    program = Program(tmp_path, {"kind": "txt", "documents": "line"}, max_document_bytes=2000)
    (program.data / "large.txt").write_text("".join(f"line number {n} is long enough to be kept\n" for n in range(200)))
    (program.data / "small.txt").write_text("a short text that is long enough to be kept")
    for _ in range(2):
        done = program.run(AURA_CACHE=str(program.data / "small.txt/cache"))
        assert done.returncode == 0, done.stderr
        assert program.manifest()["totals"]["documents"] == 201
    assert "2 cached" in done.stdout
    assert "takes no entry" not in done.stderr, "it was said by the first run"

"""One action cache for several accounts: entries follow the umask, and what may not be read is a miss."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from aura.cache import Cache
from tests.conftest import REPOSITORY

KEY = "ab" + "0" * 30
GROUP = 54321
PROGRAM = """
import os, sys
from pathlib import Path
from aura.cache import Cache
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

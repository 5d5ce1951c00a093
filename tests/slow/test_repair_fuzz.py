"""`aura repair` after random damages of all that DVC and aura keep: no traceback, one run suffices, and DVC works."""

import ctypes
import os
import random
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dvc.repo import Repo

from aura.core.errors import UserError
from aura.project.repair import Report, repair
from tests.project.test_repair import END, tiny_project

pytestmark = pytest.mark.slow

TRIES = 200
_RIGHTS_OF_ROOT = 0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: root reads every file by them


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with DVC's settings."""
    folder = Path(tempfile.mkdtemp())
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "DVC_SITE_CACHE_DIR", "DVC_GLOBAL_CONFIG_DIR"):
        monkeypatch.setenv(name, str(folder))
    monkeypatch.setenv("DVC_SYSTEM_CONFIG_DIR", str(folder / "system"))
    yield folder
    shutil.rmtree(folder)


@contextmanager
def unreadable_files() -> Iterator[None]:
    """Files without permissions cannot be read, by root neither."""
    libc, header = ctypes.CDLL(None, use_errno=True), (ctypes.c_uint32 * 2)(0x20080522, 0)
    rights = (ctypes.c_uint32 * 6)()
    assert libc.capget(header, rights) == 0
    effective = rights[0]
    rights[0] &= ~_RIGHTS_OF_ROOT
    assert libc.capset(header, rights) == 0
    try:
        yield
    finally:
        rights[0] = effective
        assert libc.capset(header, rights) == 0


def pristine(folder: Path) -> None:
    """A built project with a tracked folder that no stage makes."""
    project = tiny_project(folder)
    (folder / "data").mkdir()
    (folder / "data/one").write_text("the user's")
    project.run("dvc", "add", "-q", "data")
    project.run("dvc", "repro", "-q")
    (folder / ".aura").mkdir()
    (folder / ".dvc/tmp/rwlock").write_text("{}")


def targets(project: Path) -> list[Path]:
    """Every file that a crash may catch."""
    kept = [path for path in (project / ".dvc/cache").rglob("*") if path.is_file()]
    kept += [path for path in (project / ".aura").rglob("*") if path.is_file()]
    others = ("dvc.lock", "dvc.lock", ".dvc/tmp/rwlock", ".dvc/tmp/btime", "data.dvc", "dvc.yaml")
    return [*sorted(kept), *(project / name for name in others)]


def damage(path: Path, others: list[Path], rng: random.Random) -> str:
    """Damage one file as its owner, or what is in its place, could be; returns how."""
    there = path.is_file()
    content = path.read_bytes() if there and os.access(path, os.R_OK, effective_ids=True) else b""
    mode = path.stat().st_mode if there else 0o644
    kind = rng.choice(["cut", "emptied", "flipped", "swapped", "folder", "full folder", "unreadable", "link", "gone"])
    if path.is_dir() and not path.is_symlink():
        return "a folder already"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if kind in ("folder", "full folder"):
        path.mkdir()
        if kind == "full folder":
            (path / "inner").write_bytes(content)
        return kind
    if kind == "link":
        path.symlink_to(rng.choice(["nowhere", path.name]))
        return kind
    if kind == "gone":
        return kind
    if kind == "cut":
        content = content[: rng.randrange(len(content) + 1)]
    elif kind == "emptied":
        content = b""
    elif kind == "flipped" and content:
        at = rng.randrange(len(content))
        content = content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]
    elif kind == "swapped":
        other = rng.choice(others)
        content = other.read_bytes() if other.is_file() and os.access(other, os.R_OK, effective_ids=True) else b""
    path.write_bytes(content)
    path.chmod(0 if kind == "unreadable" else stat.S_IMODE(mode))
    return kind


def repaired(told: list[str]) -> Report | None:
    """What a repair said; None where it asked for something that is to be done by hand first."""
    try:
        return repair()
    except UserError as error:
        told.append(str(error))
        return None


def one_try(pristine: Path, folder: Path, seed: int) -> str:
    shutil.copytree(pristine, folder, symlinks=True)
    os.chdir(folder)
    repair()  # its record is among what is damaged
    rng = random.Random(seed)  # noqa: S311 - damages, not secrets
    there = targets(folder)
    chosen = rng.sample(there, rng.choice([1, 1, 2, 3, 5]))
    done = [f"{path.relative_to(folder)} {damage(path, there, rng)}" for path in chosen]
    told: list[str] = []
    report = repaired(told)
    if report is None:
        assert told[-1].count("\n") < 3, (done, told)
        return told[-1]
    again = repaired(told)
    assert again, (done, told)
    assert again.done == [], (done, report.done, again.done)
    with Repo(".") as repo:
        repo.status()
    if seed % 8 == 0:
        with Repo(".") as repo:
            repo.reproduce()
        assert Path("end.txt").read_text() == END, done
    return ""


def test_random_damages(place: Path, monkeypatch: pytest.MonkeyPatch):
    pristine(place / "pristine")
    monkeypatch.chdir(place)
    with unreadable_files():
        asked = [one_try(place / "pristine", place / str(seed), seed) for seed in range(TRIES)]
    os.chdir(place)
    assert sum(map(bool, asked)) < TRIES / 4, asked

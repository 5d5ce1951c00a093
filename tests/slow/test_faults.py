"""Bad networks: every push and pull ends complete and verified, or says what is missing; never is a byte wrong."""

import hashlib
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.bucket import Bucket, clone, connect, contents, copy_small
from tests.conftest import Project
from tests.proxy import FAULTS, Proxy

pytestmark = pytest.mark.slow

SEEDS = range(50)
TRIES = 6  # of a command, until it must have got through


def until_complete(project: Project, *command: str) -> int:
    """Run a command again and again, as its message says, until it succeeds; returns the number of failures."""
    for failures in range(TRIES):
        done = project.run(*command, check=False)
        if done.returncode == 0:
            return failures
        assert "Traceback" not in done.stderr
        assert "error: this machine and gs://" in done.stderr
        assert "run" in done.stderr.splitlines()[-1]
        _no_wrong_byte(project.folder / ".dvc/cache")
    raise AssertionError(f"{command} did not get through: {done.stderr}")


def _no_wrong_byte(folder: Path) -> None:
    for path in (folder / "files/md5").glob("??/*"):
        expected = (path.parent.name + path.name).removesuffix(".dir")
        assert hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == expected, path


def push_and_pull(seed: int, template: Path, folder: Path, program: Path) -> tuple[int, Proxy]:
    """One machine pushes and another pulls, each through a network with the faults of `seed`."""
    here = copy_small(template, folder / "here")
    proxy = Proxy("", seed, share=0.2)
    bucket = Bucket(folder / "buckets", proxy)
    try:
        here = connect(here, proxy.address)
        there = clone(here, folder / "there")
        for project in (here, there):
            project.environment |= {"AURA_STALL_SECONDS": "1", "PYTHONPATH": str(program)}
        failures = until_complete(here, "aura", "push")
        # A bit turned in a request's name may leave an object that no one asks for; those that are asked for are right.
        stored, cached = bucket.objects(), contents(here.folder / ".dvc/cache")
        assert len(cached) == 13
        assert all(stored[name].read_bytes() == content for name, content in cached.items())
        failures += until_complete(there, "aura", "pull")
        _no_wrong_byte(there.folder / ".dvc/cache")
        assert contents(there.folder / "data") == contents(here.folder / "data")
        assert not list((there.folder / ".dvc/cache").glob(".arriving-*"))
    finally:
        bucket.stop()
        proxy.stop()
        shutil.rmtree(folder)
    return failures, proxy


def test_fifty_bad_networks(small_template: Path, tmp_path: Path):
    program = Path(__file__).parents[2]
    with ThreadPoolExecutor(10) as pool:  # most of the time is spent on waiting between tries
        runs = [pool.submit(push_and_pull, seed, small_template, tmp_path / str(seed), program) for seed in SEEDS]
        results = [run.result() for run in runs]
    seen = sum((proxy.seen for _, proxy in results), start=Counter())
    print(f"{sum(failures for failures, _ in results)} commands had to be run again; faults: {dict(seen)}")
    assert set(seen) == set(FAULTS), "every kind of fault must have happened"
    assert min(seen.values()) >= 10

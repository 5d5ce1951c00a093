"""A bucket as a source, read by processes of their own: killed and gone on, on a cluster, and through `aura source`."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aura.sources import bucket, url_pins
from tests.bucket import BUCKET, Bucket, client_environment, contents
from tests.conftest import Project
from tests.extract.program import Program
from tests.proxy import Proxy
from tests.slow.test_cluster import Cluster

TEXT = "a happy document in a bucket, long enough to be worth cleaning and counting. " * 40

pytestmark = pytest.mark.slow


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Bucket, Proxy]]:
    """A bucket of some 12 MB, more than is worth doing without workers: 300 small objects and two large ones."""
    proxy = Proxy("")
    server = Bucket(tmp_path / "gcs", proxy)
    for name, value in client_environment(server.address).items():
        monkeypatch.setenv(name, value)
    for number in range(300):
        server.overwrite(f"texts/{number:03d}.txt", f"{number} {TEXT * 3}".encode())
    for name in ("large", "larger"):
        server.overwrite(f"texts/{name}.txt", "\n".join(f"{number} {name} {TEXT}" for number in range(1500)).encode())
    proxy.requests = 0
    yield server, proxy
    server.stop()
    proxy.stop()


def program(folder: Path, in_place: bool, server: Bucket) -> Program:
    made = Program(folder, {"kind": "txt"} | ({"path": "data/mine.pin.json"} if in_place else {}), shards=8)
    if in_place:
        url = f"gs://{BUCKET}/team/texts"
        url_pins.write(folder / "data/mine.pin.json", url, bucket.look(url, bool))
    else:
        for name, path in server.objects().items():
            (made.data / name.removeprefix("texts/")).write_bytes(path.read_bytes())
    return made


def test_a_killed_run_goes_on_and_ends_in_the_bytes_of_a_copy(far: tuple[Bucket, Proxy], tmp_path: Path):
    server, proxy = far
    copy, place = program(tmp_path / "copy", False, server), program(tmp_path / "place", True, server)
    assert copy.run().returncode == 0
    cache = str(tmp_path / "cache")
    proxy.requests = 0
    with place.start(AURA_CACHE=cache) as running:
        while proxy.requests < 150 and running.poll() is None:
            time.sleep(0.01)
        os.killpg(running.pid, signal.SIGKILL)
        running.communicate()
    assert running.returncode == -signal.SIGKILL
    done = place.run(AURA_CACHE=cache)
    assert done.returncode == 0, done.stderr
    out = "data/extracted/mine"
    assert contents(place.folder / out) == contents(copy.folder / out)
    assert not (place.folder / "data/raw").exists()
    proxy.requests = 0
    assert place.run(AURA_CACHE=cache).returncode == 0
    assert proxy.requests == 0
    assert contents(place.folder / out) == contents(copy.folder / out)


def test_workers_of_a_cluster_read_for_themselves(far: tuple[Bucket, Proxy], tmp_path: Path):
    server, _ = far
    copy, place = program(tmp_path / "copy", False, server), program(tmp_path / "place", True, server)
    assert copy.run().returncode == 0
    (tmp_path / "cluster").mkdir()
    cluster = Cluster(tmp_path / "cluster")
    try:
        done = place.run(DASK_SCHEDULER_ADDRESS=cluster.address)
        assert done.returncode == 0, done.stderr
    finally:
        cluster.stop()
    assert contents(place.folder / "data/extracted/mine") == contents(copy.folder / "data/extracted/mine")


def test_a_bucket_is_added_built_and_scanned(far: tuple[Bucket, Proxy], project: Project):
    server, proxy = far
    project.environment |= client_environment(server.address)
    said = project.run("aura", "source", "add", "far", f"gs://{BUCKET}/team/texts").stdout
    assert "added far: 302 txt objects" in said
    assert proxy.requests <= 4, "listed, and nothing read"
    assert project.ran(project.run("dvc", "repro", "extract@far").stdout) == {"extract@far"}
    assert not (project.folder / "data/raw").exists()
    assert project.ran(project.run("dvc", "repro", "extract@far").stdout) == set()
    server.overwrite("texts/007.txt", b"a changed document, long enough to stay")
    server.delete("texts/008.txt")
    failed = project.run("dvc", "repro", "-f", "extract@far", check=False)
    assert failed.returncode == 0, "all of it is known"
    assert "301 objects" in project.run("aura", "source", "scan", "far").stdout
    proxy.requests = 0
    project.run("dvc", "repro", "extract@far")
    assert proxy.requests == 1, "one object is new"
    project.run("aura", "source", "remove", "far")

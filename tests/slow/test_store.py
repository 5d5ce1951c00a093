"""The pipeline with its shards in a real object store: the bytes of a run without one, through kills and faults."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from aura.core import checksums
from aura.core.files import sha256_file
from aura.storage.placement import LIST, shards
from tests.bucket import Bucket, connect
from tests.conftest import Project
from tests.extract.program import Program
from tests.proxy import Proxy
from tests.slow.test_cluster import TEXT, Cluster

STORE = "gs://aura-tests/team/store"
FOLDERS = (
    *(f"data/extracted/{name}" for name in ("books", "posts", "pinned", "sample")),
    *(f"data/{name}/{split}" for name in ("corpus", "tokens") for split in ("train", "held_out")),
)
SAME = ("models/spm", "models/lm", "models/hf", "reports/validate/metrics.json", "reports/pretrain/metrics.json")

pytestmark = pytest.mark.slow


def use_store(folder: Path) -> None:
    yaml, path = YAML(), folder / "params.yaml"
    values = yaml.load(path)
    values["store"] = STORE
    yaml.dump(values, path)


def recorded(folder: Path) -> dict[str, str]:
    """What the record of a folder says, or would: that of a split of tokens is in the folder above."""
    return {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in folder.rglob("*")
        if path.is_file() and path.name != checksums.NAME
    }


def hashes(folder: Path, folders: tuple[str, ...] = FOLDERS) -> dict[str, str]:
    found = [shard for name in folders for shard in shards(folder / name, "make it", recorded(folder / name))]
    return {shard.path.relative_to(folder).as_posix(): shard.sha256() for shard in found}


def files(folder: Path, names: tuple[str, ...]) -> dict[str, str]:
    paths = [
        path for name in names for path in ([folder / name] if name.endswith("json") else (folder / name).rglob("*"))
    ]
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in paths if path.is_file()}


class Unsteady(Proxy):
    """Faults that a connection by TLS can have: it notices turned bits itself, and ends."""

    def choose(self) -> tuple[int, str | int | None, float]:
        number, fault, place = super().choose()
        return number, "reset" if fault in ("flip sent", "flip received") else fault, place


@pytest.fixture
def proxy(bucket: Bucket) -> Iterator[Proxy]:
    """Another way to the bucket, whose requests are counted."""
    proxy = Unsteady(bucket.endpoint, seed=1)
    yield proxy
    proxy.stop()


def test_the_pipeline_on_a_store_and_a_cluster_ends_in_the_bytes_of_a_plain_run(
    built: Project, bucket: Bucket, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Extraction on two Dask workers, each a process that writes to the store; then every stage up to the model."""
    plain = built.copy(tmp_path / "plain")
    shutil.rmtree(plain.folder / ".aura")
    for number in range(2600):  # more than is worth extracting without workers
        (plain.folder / "data/books" / f"more-{number}.txt").write_text(f"{number} {TEXT}", encoding="utf-8")
    stored = connect(plain.copy(tmp_path / "stored"), bucket.address)
    plain.run("dvc", "repro", "-q")
    use_store(stored.folder)
    (tmp_path / "workers").mkdir()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.address)
    monkeypatch.setenv("AURA_CACHE", "")
    workers = Cluster(tmp_path / "workers")
    stored.environment["DASK_SCHEDULER_ADDRESS"] = workers.address
    try:
        stored.run("dvc", "repro", "-q", "extract@books")
    finally:
        workers.stop()
    del stored.environment["DASK_SCHEDULER_ADDRESS"]
    assert proxy.requests > 10, "the workers write to the store themselves"
    stored.run("dvc", "repro", "-q")
    assert hashes(stored.folder) == hashes(plain.folder)
    assert files(stored.folder, SAME) == files(plain.folder, SAME)
    manifests = tuple(f"{folder}/manifest.json" for folder in ("data/corpus", "data/tokens", "data/extracted/books"))
    assert files(stored.folder, manifests) == files(plain.folder, manifests)
    outputs = {path.name for name in FOLDERS for path in (stored.folder / name).iterdir()}
    assert outputs == {LIST, "manifest.json", checksums.NAME}, "DVC tracks lists, and no shard"
    assert not (stored.folder / ".aura/cache").exists()


@pytest.fixture
def program(tmp_path: Path) -> Program:
    made = Program(tmp_path / "program", {"kind": "txt"}, shards=4)
    for number in range(300):
        (made.data / f"{number}.txt").write_text(f"{number} {TEXT}", encoding="utf-8")
    return made


def test_killed_at_any_request_the_next_run_sends_what_is_missing_and_ends_in_the_same_bytes(
    program: Program, bucket: Bucket, proxy: Proxy
):
    mine = ("data/extracted/mine",)
    assert program.run().returncode == 0
    expected = hashes(program.folder, mine)
    use_store(program.folder)
    place = {"STORAGE_EMULATOR_HOST": proxy.address}
    assert program.run(**place).returncode == 0
    requests = proxy.requests
    for name in bucket.objects():
        bucket.delete(name)
    shutil.rmtree(program.folder / "data/extracted")
    killed, kept = 0, {}
    for number in range(0, requests, max(1, requests // 10)):
        first = proxy.requests
        with program.start(**place) as running:

            def kill(request: int, first: int = first, number: int = number, pid: int = running.pid) -> None:
                if request == first + number:
                    os.killpg(pid, signal.SIGKILL)

            proxy.on_request = kill
            killed += running.wait(timeout=200) == -signal.SIGKILL
            proxy.on_request = lambda _: None
        assert not (program.folder / mine[0]).exists() or hashes(program.folder, mine) == expected
        there = {name: path for name, path in bucket.objects().items() if "/sha256/" in name}
        for name, path in there.items():
            assert sha256_file(path) == name.partition("sha256/")[2].replace("/", ""), "an object is whole or absent"
        assert kept.items() <= {name: path.stat().st_mtime_ns for name, path in there.items()}.items(), "sent again"
        kept = {name: path.stat().st_mtime_ns for name, path in there.items()}
    assert killed >= 5
    assert program.run(**place).returncode == 0
    assert hashes(program.folder, mine) == expected


def test_a_bad_network_costs_time_and_a_store_that_is_gone_is_one_message(
    program: Program, bucket: Bucket, proxy: Proxy
):
    mine = ("data/extracted/mine",)
    assert program.run().returncode == 0
    expected = hashes(program.folder, mine)
    use_store(program.folder)
    proxy.share = 0.15
    done = program.run(STORAGE_EMULATOR_HOST=proxy.address, AURA_STALL_SECONDS="1")
    assert done.returncode == 0, done.stderr
    assert sum(proxy.seen.values()) > 3
    assert hashes(program.folder, mine) == expected
    bucket.stop()
    (program.data / "7.txt").write_text("a changed document, long enough to be kept")
    done = program.run(STORAGE_EMULATOR_HOST=bucket.address)
    assert done.returncode == 1
    assert f"error: {STORE}/" in done.stderr
    assert "Check the address and the network, then run the same command again." in done.stderr
    assert "Traceback" not in done.stderr
    assert hashes(program.folder, mine) == expected, "the last state stays until the next is whole"

"""Equal bytes up to the tokens, whatever does the work: cores, Dask, Ray or ranks, with and without a store."""

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from aura import core
from aura.core import parallel
from aura.core.errors import UserError
from aura.core.files import sha256_file
from tests.bucket import free_port
from tests.conftest import REPOSITORY, Project, new_project
from tests.core.deadly import tries
from tests.slow.test_cluster import Cluster
from tests.slow.test_store import FOLDERS, hashes

STAGES = (
    *(f"extract@{name}" for name in ("sample", "books", "posts", "pinned")),
    *("select", "train_tokenizer", "validate", "encode"),
)
MANIFESTS = tuple(f"{name}/manifest.json" for name in (*FOLDERS[:4], "data/corpus", "data/tokens"))
WORLD = 3
LOOPBACK = "127.0.0.1"

pytestmark = pytest.mark.slow


class Ray:
    """A Ray cluster of this machine: one node, of two CPUs, and its client server; `code` is where its aura is."""

    def __init__(self, folder: Path, code: Path) -> None:
        pytest.importorskip("ray", reason="the extra `ray` is not installed: pip install -e '.[ray]'")
        self.token = secrets.token_hex(16)
        port, client = free_port(), free_port()
        self.address = f"ray://{LOOPBACK}:{client}"
        options = {
            "node-ip-address": LOOPBACK,
            "port": str(port),
            "ray-client-server-port": str(client),
            "num-cpus": "2",
            "include-dashboard": "false",
            "object-store-memory": "100000000",
            "temp-dir": str(folder),
        }
        command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--disable-usage-stats"]
        command += [f"--{name}={value}" for name, value in options.items()]
        patience = {"RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S": "120"}  # on a busy machine
        variables = os.environ | self.environment | patience | {"PYTHONPATH": str(code)}
        self.log = folder.with_suffix(".log")
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=code, env=variables, stdout=log, stderr=log, start_new_session=True
            )
        while "Ray runtime started" not in self.log.read_text():
            assert self._process.poll() is None, self.log.read_text()
            time.sleep(0.1)

    @property
    def environment(self) -> dict[str, str]:
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}

    def stop(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The mini project, whose stages take no work for too small to share."""
    project = new_project(tmp_path_factory.mktemp("engines") / "template")
    for path in (project.folder / "aura").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        path.write_text(re.sub(r"^SMALL = [\d_]+", "SMALL = 0", text, flags=re.MULTILINE), encoding="utf-8")
    project.edit_params(extract={"shards": 4, "max_document_bytes": 20_000})
    return project


@pytest.fixture(scope="session")
def expected(template: Project, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    project = template.copy(tmp_path_factory.mktemp("expected") / "project")
    on_cores(project, "0")
    return outputs(project)


def outputs(project: Project) -> dict[str, str]:
    """SHA-256 of every shard, wherever it lies, of the manifests, and of the tokenizer."""
    manifests = [project.folder / name for name in MANIFESTS]
    others = [*manifests, *(project.folder / "models/spm").iterdir()]
    found = {path.relative_to(project.folder).as_posix(): sha256_file(path) for path in others}
    return found | hashes(project.folder)


def program(stage: str) -> list[str]:
    module, _, source = stage.partition("@")
    return [sys.executable, "-m", f"aura.stages.{module}", *([source] if source else [])]


def on_cores(project: Project, cores: str) -> None:
    for stage in STAGES:
        project.run("taskset", "-c", cores, *program(stage))


def on_dask(project: Project) -> None:
    (project.folder.parent / "dask").mkdir()
    cluster = Cluster(project.folder.parent / "dask", project.folder)
    project.environment["DASK_SCHEDULER_ADDRESS"] = cluster.address
    try:
        on_cores(project, "0,1")
    finally:
        cluster.stop()


def on_ray(project: Project, folder: Path) -> None:
    cluster = Ray(folder, project.folder)
    project.environment |= cluster.environment
    set_key(project, "cluster", cluster.address)
    try:
        on_cores(project, "0,1")
    finally:
        cluster.stop()


def on_ranks(project: Project) -> None:
    """Ranks at once, one of which is killed and run again; then one process, which finds all that they made."""

    def start(stage: str, number: int) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "aura", "work", "--world", str(WORLD), "--rank", str(number), "--wait", stage]
        return subprocess.Popen(command, cwd=project.folder, env=project.environment, start_new_session=True)

    for stage in STAGES:
        if stage != "validate":
            ranks = [start(stage, number) for number in range(WORLD)]
            time.sleep(1)  # it may be anywhere, or have ended
            os.killpg(ranks[0].pid, signal.SIGKILL)
            ranks[0].wait()
            ranks[0] = start(stage, 0)
            assert [rank.wait(timeout=200) for rank in ranks] == [0] * WORLD
        done = project.run(*program(stage))
        if stage.startswith("extract@"):
            assert "(0 extracted" in done.stdout
    assert not list(project.folder.rglob("*.partial"))


def set_key(project: Project, key: str, value: str) -> None:
    yaml, path = YAML(), project.folder / "params.yaml"
    values = yaml.load(path)
    values[key] = value
    yaml.dump(values, path)


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """A folder with a short name, for Ray's sockets."""
    folder = Path(f"/tmp/ray-{secrets.token_hex(4)}")  # noqa: S108 - made by Ray, and of this test alone
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.with_suffix(".log").unlink(missing_ok=True)


@pytest.mark.parametrize("store", [False, True], ids=["disk", "store"])
@pytest.mark.parametrize("engine", ["2 cores", "Dask", "Ray", "ranks"])
def test_every_engine_makes_the_same_bytes(template, expected, tmp_path, ray_folder, engine, store):
    project = template.copy(tmp_path / "project")
    if store:
        set_key(project, "store", (tmp_path / "store").as_uri())
    if engine == "2 cores":
        on_cores(project, "0,1")
    elif engine == "Dask":
        on_dask(project)
    elif engine == "Ray":
        on_ray(project, ray_folder)
    else:
        on_ranks(project)
    assert outputs(project) == expected


DEADLY = """
import math, sys
from pathlib import Path
from aura.core import console, parallel
from tests.core.deadly import Task, run

def main():
    tasks = [Task(f"task-{number}", Path(sys.argv[1]), {5: math.inf, 6: 1}.get(number, 0)) for number in range(8)]
    with parallel.executor(sys.argv[2]) as pool:
        print(*parallel.ordered_map(pool, run, tasks))

console.run(main)
"""


def test_on_ray_a_call_that_ends_its_worker_each_time_is_named(tmp_path: Path, ray_folder: Path):
    (tmp_path / "tries").mkdir()
    cluster = Ray(ray_folder, REPOSITORY)
    variables = os.environ | cluster.environment | {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", DEADLY, str(tmp_path / "tries"), cluster.address]
    try:
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=200)
    finally:
        cluster.stop()
    assert done.stderr.startswith("error: task-5: expected tests.core.deadly.run to end; it ended a Ray worker"), done
    tried = tries(tmp_path / "tries")
    assert (tried["task-5"], tried["task-6"]) == (3, 2)


@pytest.mark.parametrize("address", ["ray://10.0.0.1:10001", "ray://127.0.0.1:10001"])
def test_ray_without_tls_or_tokens_is_refused(address, monkeypatch):
    pytest.importorskip("ray", reason="the extra `ray` is not installed: pip install -e '.[ray]'")
    for name in ("RAY_USE_TLS", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="expected RAY_USE_TLS=1"), parallel.executor(address):
        pass


def test_without_ray_the_message_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "aura.core.ray_cluster", raising=False)
    monkeypatch.delattr(core, "ray_cluster", raising=False)
    with pytest.raises(UserError, match="pip install"), parallel.executor("ray://127.0.0.1:10001"):
        pass


def entries(project: Project) -> dict[str, int]:
    """The inode of each entry of the action cache: another one where the entry was written again."""
    folders = (project.folder / ".aura/cache").glob("[0-9a-f][0-9a-f]")
    return {path.name: path.stat().st_ino for folder in folders for path in folder.iterdir()}


WORKERS, KEYS_OF_A_TASK = 2, 3  # a task of extract keeps a shard, its accounts and its place, one after the other


@pytest.mark.parametrize("victim", ["driver", "worker", "scheduler"])
@pytest.mark.parametrize("stage", ["extract@books", "select", "train_tokenizer", "encode"])
def test_after_a_kill_no_finished_task_is_done_again(template, expected, tmp_path, stage, victim):
    """Whatever is killed after the first results of a stage, the next run ends in the same bytes."""
    project = template.copy(tmp_path / "project")
    time.sleep(2.1)  # files that are younger have no stamp, so a second run of extract notes one
    for before in STAGES[: STAGES.index(stage)]:
        project.run(*program(before))
    known = len(entries(project))
    (tmp_path / "dask").mkdir()
    cluster = Cluster(tmp_path / "dask", project.folder)
    variables = project.environment | {"DASK_SCHEDULER_ADDRESS": cluster.address}
    try:
        with subprocess.Popen(program(stage), cwd=project.folder, env=variables, start_new_session=True) as driver:
            while len(entries(project)) == known:
                assert driver.poll() is None
                time.sleep(0.002)
            process = {"driver": driver, "worker": cluster.workers[0], "scheduler": cluster.scheduler}[victim]
            process.kill()
            ended = driver.wait(timeout=200)
    finally:
        cluster.stop()
    assert (ended == 0) == (victim == "worker")
    kept = entries(project)
    project.run(*program(stage))
    now = entries(project)
    again = {name.partition(".")[0] for name, inode in kept.items() if now[name] != inode}
    assert len(again) <= (WORKERS * KEYS_OF_A_TASK if stage == "extract@books" else 0)  # of tasks that were under way
    for after in STAGES[STAGES.index(stage) + 1 :]:
        project.run(*program(after))
    assert outputs(project) == expected

"""kill -9 in the middle of a request of push, pull, publish and fetch: the next run completes, with no harm done."""

import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.bucket import PREFIX, Bucket, clone, connect, contents, copy_small
from tests.conftest import REPOSITORY, Project, copy_tree
from tests.proxy import Proxy

pytestmark = pytest.mark.slow

KILLS = 10  # of each command
VERSION = "tokenizer@v1.1.0"


class Scene:
    """A bucket behind a proxy, and what a command and its check need, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder, self.proxy = folder, Proxy("")
        self.bucket = Bucket(folder / "buckets", self.proxy)

    def __enter__(self) -> "Scene":
        return self

    def __exit__(self, *_: object) -> None:
        self.bucket.stop()
        self.proxy.stop()
        shutil.rmtree(self.folder)

    def kill_at(self, project: Project, command: list[str], number: int) -> bool:
        """Run a command until it waits for the answer to its request `number`, and kill it with all its children.

        Returns whether there was such a request; some runs need one or two fewer.
        """
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        first = self.proxy.requests
        process = subprocess.Popen(
            command, cwd=project.folder, env=project.environment, start_new_session=True, **quiet
        )

        def kill(request: int) -> None:
            if request == first + number:
                os.killpg(process.pid, signal.SIGKILL)

        self.proxy.on_request = kill
        status = process.wait(timeout=240)
        self.proxy.on_request = lambda _: None
        assert status in (0, -signal.SIGKILL)
        return status != 0


def in_scene(project: Project, scene: Scene) -> Project:
    connect(project, scene.proxy.address).environment["PYTHONPATH"] = str(REPOSITORY)
    return project


def ten_kills(
    tmp_path: Path,
    prepare: Callable[[Scene], Project],
    command: list[str],
    check: Callable[[Scene, Project, bool], None],
) -> None:
    """Count the command's requests undisturbed; then kill it at ten of them, each time in a fresh scene.

    `check` is called after the kill (False), and after the next run has completed (True).
    """
    with Scene(tmp_path / "undisturbed") as scene:
        project = prepare(scene)
        before = scene.proxy.requests
        project.run(*command)
        total = scene.proxy.requests - before
        check(scene, project, True)

    def one(place: int, number: int) -> None:
        with Scene(tmp_path / str(place)) as scene:
            project = prepare(scene)
            killed = scene.kill_at(project, command, number)
            if killed:
                check(scene, project, False)
                project.run(*command)
                check(scene, project, True)
        if not killed:
            one(place, number // 2)

    moments = random.Random(20261122).choices(range(total), k=KILLS)  # noqa: S311 - moments, not secrets
    with ThreadPoolExecutor(4) as pool:
        for run in [pool.submit(one, place, number) for place, number in enumerate(moments)]:
            run.result()


def test_push(small_template: Path, tmp_path: Path):
    def check(scene: Scene, project: Project, done: bool) -> None:
        objects = scene.bucket.objects()
        expected = contents(project.folder / ".dvc/cache")
        for name, path in objects.items():
            assert path.read_bytes() == expected[name]
        if any(name.endswith(".dir") for name in objects) or done:
            assert set(objects) == {name for name in expected if name.startswith("files/")}

    ten_kills(
        tmp_path, lambda scene: in_scene(copy_small(small_template, scene.folder / "p"), scene), _aura("push"), check
    )


def test_pull(small_template: Path, tmp_path: Path):
    whole = contents(small_template / "data")

    def prepare(scene: Scene) -> Project:
        here = in_scene(copy_small(small_template, scene.folder / "here"), scene)
        here.run("aura", "push")
        return in_scene(clone(here, scene.folder / "there"), scene)

    def check(scene: Scene, project: Project, done: bool) -> None:
        cached, stored = contents(project.folder / ".dvc/cache/files"), scene.bucket.root / PREFIX / "files"
        for name, content in cached.items():
            assert content == (stored / name).read_bytes()
        arrived = contents(project.folder / "data")
        assert all(whole[name] == content for name, content in arrived.items())
        assert len(arrived) == len(whole) or not done

    ten_kills(tmp_path, prepare, _aura("pull"), check)


def publisher(published_template: Path) -> Callable[[Scene], Project]:
    """The mini project with everything built, and nothing in the bucket."""

    def prepare(scene: Scene) -> Project:
        for name in ("project", "project.git"):
            copy_tree(published_template / name, scene.folder / name)
        return in_scene(Project(scene.folder / "project"), scene)

    return prepare


def test_publish(published_template: Path, tmp_path: Path):
    def check(scene: Scene, project: Project, done: bool) -> None:
        here = project.run("git", "tag", "-l", VERSION).stdout.strip()
        there = project.run("git", "ls-remote", "origin", f"refs/tags/{VERSION}").stdout.strip()
        assert (here and there) or not done
        if here or there:  # visible, so all of it is in the bucket
            stored = [path.read_bytes() for path in scene.bucket.objects().values()]
            for content in contents(project.folder / "models/spm").values():
                assert content in stored

    ten_kills(tmp_path, publisher(published_template), _aura("publish", "v1.1.0"), check)


def test_fetch(published_template: Path, tmp_path: Path):
    def prepare(scene: Scene) -> Project:
        project = publisher(published_template)(scene)
        shutil.copytree(published_template / "buckets", scene.folder / "buckets", dirs_exist_ok=True)
        return project

    def check(_: Scene, project: Project, done: bool) -> None:
        fetched = project.folder / "fetched"
        assert fetched.exists() or not done
        if fetched.exists():
            assert contents(fetched) == contents(project.folder / "models/spm")

    ten_kills(tmp_path, prepare, _aura("fetch", "v1.0.0", "--output", "fetched"), check)


def _aura(*arguments: str) -> list[str]:
    return ["aura", *arguments]

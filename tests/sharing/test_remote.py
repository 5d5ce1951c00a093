"""The remote: set without secrets, checked for real, and each refusal in one line that says what to do."""

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aura.core import dvc_environment
from aura.core.errors import UserError
from aura.sharing import remote, transfer
from tests.bucket import BUCKET, URL, Bucket, copy_small
from tests.conftest import REPOSITORY, Project


@pytest.fixture
def project(small_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    project = copy_small(small_template, tmp_path / "project")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.chdir(project.folder)
    return project


@pytest.mark.usefixtures("project")
def test_a_folder_is_made_where_its_parent_is_there(tmp_path: Path, capsys):
    remote.set_url("../store")
    assert capsys.readouterr().err == f"made the folder {tmp_path}/store\n"
    remote.set_url("../store")
    assert capsys.readouterr().err == ""
    with pytest.raises(UserError, match=r"there is no folder ../stoer, which is to hold it"):
        remote.set_url("../stoer/shared")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file is no folder"):
        remote.set_url("../file")


@contextmanager
def refusing(status: int) -> Iterator[str]:
    """A server that answers every request with `status`."""

    class Refusal(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            body = json.dumps({"error": {"code": status, "message": "no"}}).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - as the library calls them

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusal) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (401, f"gs://{BUCKET} does not know you .401.. Log in: gcloud auth application-default login"),
        (403, f"gs://{BUCKET} does not let you do this .403.. Ask its owner for the role roles/storage.objectUser"),
        (404, f"{URL} is not there .404.. Check the bucket's name"),
    ],
)
@pytest.mark.usefixtures("project")
def test_a_refusal_is_one_line(monkeypatch: pytest.MonkeyPatch, status: int, says: str):
    with refusing(status) as address:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        with remote.open_repo() as repo:
            for action in (lambda: transfer.push([]), lambda: transfer.pull([]), remote.DvcRemote(repo).check):
                with pytest.raises(UserError, match=f"^{says}[^\n]*$"):
                    action()


def test_a_refusal_ends_the_command_with_a_status(project: Project):
    with refusing(403) as address:
        project.environment["STORAGE_EMULATOR_HOST"] = address
        project.environment["PYTHONPATH"] = str(REPOSITORY)
        done = project.run("python", "-m", "aura", "push", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: gs://")
    assert done.stderr.count("\n") == 1


@pytest.mark.usefixtures("project")
def test_a_wrong_bucket_of_a_real_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    bucket = Bucket(tmp_path / "buckets")
    try:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", bucket.address)
        remote.set_url("gs://no-such-bucket/team")
        for action in (transfer.push, transfer.pull):
            with pytest.raises(UserError, match="gs://no-such-bucket/team is not there"):
                action([])
    finally:
        bucket.stop()


def test_set_writes_the_default_remote_and_keeps_what_is_private_apart(project: Project):
    project.run("dvc", "remote", "modify", "--local", "store", "credentialpath", "key.json")
    remote.set_url("gs://other/prefix/")
    written = (project.folder / ".dvc/config").read_text()
    assert "url = gs://other/prefix\n" in written
    assert "verify = True" in written
    assert "remote = store" in written
    assert "key.json" not in written
    assert "key.json" in (project.folder / ".dvc/config.local").read_text()


@pytest.mark.usefixtures("project")
def test_check_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    bucket = Bucket(tmp_path / "buckets")
    try:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", bucket.address)
        with remote.open_repo() as repo:
            remote.DvcRemote(repo).check()
        assert bucket.objects() == {}
    finally:
        bucket.stop()


@pytest.mark.parametrize(
    "url", ["bucket", "gs://", "http://host/x", "gs://user:SECRET@bucket/x", "gs://b/x?token=SECRET"]
)
@pytest.mark.usefixtures("project")
def test_an_address_that_is_none_or_holds_a_secret_is_refused(url: str):
    with pytest.raises(UserError, match="expected gs://BUCKET/PREFIX") as refusal:
        remote.set_url(url)
    assert "user:SECRET" not in str(refusal.value)


def test_a_folder_is_a_remote_too(project: Project, tmp_path: Path):
    remote.set_url("../store")
    assert str(tmp_path) not in (project.folder / ".dvc/config").read_text()
    assert len(transfer.push([]).names) == 13
    assert transfer.push([]).names == set()
    assert len(list((tmp_path / "store/files/md5").glob("??/*"))) == 13
    assert project.run("dvc", "push").stdout == "Everything is up to date.\n"


def test_without_a_remote_it_says_how_to_set_one(project: Project):
    (project.folder / ".dvc/config").write_text("")
    with pytest.raises(UserError, match=r"no remote is set. Set one: aura remote set"):
        transfer.push([])


def test_dvcs_index_is_kept_where_nobody_else_can_write(tmp_path: Path, small_template: Path):
    """DVC loads pickles from there; by default it is a folder that every user of the machine may write to."""
    project = copy_small(small_template, tmp_path / "project")
    del project.environment["DVC_SITE_CACHE_DIR"]
    project.environment |= {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": ""}
    program = "from aura.sharing.remote import open_repo\nwith open_repo() as repo: print(repo.site_cache_dir)"
    place = Path(project.run(sys.executable, "-c", program).stdout.strip())
    private = tmp_path / "home/.cache/aura/dvc"
    assert private in place.parents
    assert private.stat().st_mode & 0o077 == 0


def test_what_the_user_set_stays(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", "/elsewhere")
    dvc_environment.prepare()
    assert os.environ["DVC_SITE_CACHE_DIR"] == "/elsewhere"


def test_make_setup_gives_plain_dvc_the_same_surroundings():
    """This environment's Python prepares itself when it starts."""
    environment = {name: value for name, value in os.environ.items() if name != "DVC_SITE_CACHE_DIR"}
    program = "import os; print(os.environ.get('DVC_SITE_CACHE_DIR'))"
    found = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip().endswith("/aura/dvc")

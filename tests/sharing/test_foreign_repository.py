"""Of a repository that is not ours, a fetch takes files and a place, and obeys nothing else."""

import http.server
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aura.core.bounded import bounded_yaml
from aura.core.errors import UserError
from aura.sharing import versions
from tests.bucket import URL
from tests.conftest import Project

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))


@pytest.fixture
def listener() -> Iterator[tuple[str, list[str]]]:
    """An address of somebody else, and what was asked of it."""
    asked: list[str] = []

    class Listener(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.path} {self.headers.get('authorization')}")
            self.send_response(404)
            self.end_headers()

        do_POST = do_PUT = do_HEAD = do_GET  # noqa: N815 - as the library calls them

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listener) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()


def release_again(project: Project, message: str | None = None, **files: str) -> None:
    """Release v1.0.0 anew, with other files or another card, as its owner can."""
    card = message or project.run("git", "tag", "-l", "--format=%(contents)", "tokenizer@v1.0.0").stdout
    for name, content in files.items():
        path = project.folder / name
        path.unlink(missing_ok=True)
        path.write_text(content)
    project.run("git", "add", "-A", "-f", *files, ".")
    project.run("git", "commit", "-q", "--allow-empty", "-m", "again")
    project.run("git", "tag", "-f", "--cleanup=verbatim", "-am", card, "tokenizer@v1.0.0")
    project.run("git", "push", "-q", "-f", "origin", "tokenizer@v1.0.0")


def config(**options: str) -> str:
    lines = [f"    {name} = {value}" for name, value in ({"url": URL} | options).items()]
    return "\n".join(
        ["[core]", "    remote = store", "    site_cache_dir = /nowhere", "['remote \"store\"']", *lines, ""]
    )


@pytest.fixture
def address(published: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What strangers know the published project by; the working directory is another folder."""
    assert published.folder == tmp_path / "project"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return f"file://{tmp_path}/project.git"


@pytest.mark.parametrize("as_folder", [False, True])
def test_nobody_is_asked_but_the_bucket_itself(
    published: Project, address: str, listener: tuple[str, list[str]], tmp_path: Path, as_folder: bool
):
    """An `endpointurl` would get the caller's token, a `credentialpath` would be read."""
    place, asked = listener
    hostile = config(endpointurl=place, credentialpath="/etc/passwd", projectname="theirs")
    release_again(published, **{".dvc/config": hostile})
    folder = versions.fetch("v1.0.0", str(published.folder) if as_folder else address, tmp_path / "out")
    assert (folder / "spiece.model").read_bytes() == (published.folder / "models/spm/spiece.model").read_bytes()
    assert asked == []


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/x", "s3://bucket/x", "ssh://host/x", "gs://u:p@bucket/x", "gs://b/x?y", "../../x", ""]
)
def test_a_remote_of_another_kind_is_refused(published: Project, address: str, url: str):
    release_again(published, **{".dvc/config": config(url=url)})
    with pytest.raises(UserError, match="expected gs://BUCKET/PREFIX or an absolute folder"):
        versions.fetch("v1.0.0", address, None)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("dvc.yaml", "artifacts: {tokenizer: {path: ../../etc}}"),
        ("dvc.yaml", "artifacts: {tokenizer: {path: /etc}}"),
        ("dvc.yaml", "artifacts: [1]"),
        ("dvc.yaml", "{"),
        ("dvc.yaml", BOMB),
        ("dvc.lock", BOMB),
        ("dvc.lock", "stages: {a: {outs: [{path: models/spm, md5: ../../x}]}}"),
        ("dvc.lock", "[" * 5000),
        (".dvc/config", "[core\n"),
        (".dvc/config", "[core]\nremote = other\n"),
    ],
)
def test_what_it_says_wrong_is_one_line_and_soon(published: Project, address: str, name: str, content: str):
    release_again(published, **{name: content})
    began = time.monotonic()
    with pytest.raises(UserError, match=r"tokenizer@v1\.0\.0 of file://|no path below a folder|expected an MD5"):
        versions.fetch("v1.0.0", address, None)
    assert time.monotonic() - began < 20


def test_links_are_not_followed(published: Project, address: str):
    """`dvc.yaml` leads to a file that never ends; what git keeps of it is the name."""
    (published.folder / "dvc.yaml").unlink()
    (published.folder / "dvc.yaml").symlink_to("/dev/zero")
    card = published.run("git", "tag", "-l", "--format=%(contents)", "tokenizer@v1.0.0").stdout
    published.run("git", "commit", "-qam", "link")
    published.run("git", "tag", "-f", "--cleanup=verbatim", "-am", card, "tokenizer@v1.0.0")
    published.run("git", "push", "-q", "-f", "origin", "tokenizer@v1.0.0")
    with pytest.raises(UserError, match=r"dvc\.yaml"):
        versions.fetch("v1.0.0", address, None)


def test_bytes_of_another_sha256_than_the_card_says_are_refused(published: Project, address: str):
    card = published.run("git", "tag", "-l", "--format=%(contents)", "tokenizer@v1.0.0").stdout
    digest = versions.listed(address)[0].card["sha256"]["spiece.model"]
    release_again(published, message=card.replace(digest, "f" * 64))
    for _ in range(2):  # nor is it taken from what was fetched before
        with pytest.raises(UserError, match=r"expected spiece\.model with the SHA-256 ffff"):
            versions.fetch("v1.0.0", address, None)


def test_a_card_that_swells_is_none():
    began = time.monotonic()
    assert bounded_yaml(BOMB) is None
    assert bounded_yaml("a: &a 1\nb: *a") == {"a": 1, "b": 1}
    assert time.monotonic() - began < 5


def test_a_name_or_message_that_is_no_utf_8_ends_no_listing(published: Project, address: str):
    message = b"title\n\nmetrics: {vocab_size: \xff\xfe}\n"
    command = ["git", "tag", "-f", "--cleanup=verbatim", "-a", "-F", "-", "tokenizer@v1.0.0"]
    subprocess.run(command, input=message, cwd=published.folder, env=published.environment, check=True)
    published.run("git", "push", "-q", "-f", "origin", "tokenizer@v1.0.0")
    assert [entry.version for entry in versions.listed(address)] == ["v1.0.0"]

"""Sources behind URLs of every form: buckets, web servers, memory, archives; what is pinned is what is read."""

import functools
import gzip
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from aura.core.errors import UserError
from aura.sources import bucket, url_pins
from aura.sources.addresses import Address
from aura.sources.listing import list_files
from aura.sources.options import JsonSource, TxtSource
from tests.bucket import Bucket, client_environment, free_port


def txt(name: str) -> bool:
    return name.endswith((".txt", ".md"))


def fetched(url: str, folder: Path, source: type = TxtSource, kind: str = "txt") -> dict[str, bytes]:
    """What a source at a URL reads, by name, through its pin."""
    pin = folder / "mine.pin.json"
    url_pins.write(pin, url, bucket.look(url, txt if kind == "txt" else lambda name: name.endswith(".jsonl")))
    return {file.name: file.read() for file in list_files(source(kind=kind, path=str(pin)))}


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Lists folders and sends files with a length and a date, and no ETag."""

    def log_message(self, *arguments: object) -> None:
        pass


class Bare(Quiet):
    """Sends files of no known length, in chunks, as servers do that make them on the way."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.send_response(405)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        place = Path(self.translate_path(self.path))
        if place.is_dir() or not place.exists():
            super().do_GET()
            return
        content = place.read_bytes()
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content))


@pytest.fixture(params=[Quiet, Bare])
def web(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a web server on this machine, and the folder that it serves."""
    folder = tmp_path / "served"
    (folder / "texts/deep").mkdir(parents=True)
    for name in ("a.txt", "deep/b.txt", "with space & 100%.txt", "ümlaut#1.txt", "notes.md", "other.pdf"):
        (folder / "texts" / name).write_text(f"a text in {name}")
    handler = functools.partial(request.param, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("end", ["", "/"])
def test_a_folder_of_a_web_server(web: tuple[str, Path], end: str, tmp_path: Path):
    address, folder = web
    expected = {name: f"a text in {name}".encode() for name in ("a.txt", "deep/b.txt", "notes.md")}
    expected |= {name: f"a text in {name}".encode() for name in ("with space & 100%.txt", "ümlaut#1.txt")}
    assert fetched(f"{address}/texts{end}", tmp_path) == expected
    versions = [state.version for state in bucket.look(f"{address}/texts{end}", txt).values()]
    assert all(version.startswith("sha256:") for version in versions)
    (folder / "texts/a.txt").write_text("A text in a.txt")
    (tmp_path / "raw/mine/a.txt").unlink()
    with pytest.raises(UserError, match=r"a\.txt is not what was pinned: expected 15 bytes \(sha256:"):
        list_files(TxtSource(kind="txt", path=str(tmp_path / "mine.pin.json")))


@pytest.mark.parametrize("name", ["a.txt", "deep/b.txt", "other.pdf", "with%20space%20&%20100%25.txt", "a.txt?dl=1"])
def test_one_object_of_a_web_server(web: tuple[str, Path], name: str, tmp_path: Path):
    address, folder = web
    plain = urllib.request.unquote(name.partition("?")[0])
    assert fetched(f"{address}/texts/{name}", tmp_path) == {Path(plain).name: (folder / "texts" / plain).read_bytes()}


def test_a_pattern_of_a_web_server(web: tuple[str, Path], tmp_path: Path):
    assert list(fetched(f"{web[0]}/texts/*.txt", tmp_path)) == ["a.txt", "with space & 100%.txt", "ümlaut#1.txt"]


def test_what_a_web_server_does_not_have(web: tuple[str, Path]):
    assert bucket.look(f"{web[0]}/nothing/", txt) == {}


@pytest.fixture
def memory() -> Iterator[None]:
    from fsspec.implementations.memory import MemoryFileSystem

    system = MemoryFileSystem()
    for name in ("a.txt", "b.md", "deep/a.txt", "deep/c.pdf"):
        system.pipe(f"/texts/{name}", name.encode())
    yield
    system.rm("/texts", recursive=True)


FORMS = {
    "texts": {"a.txt", "b.md", "deep/a.txt"},
    "texts/": {"a.txt", "b.md", "deep/a.txt"},
    "texts/a.txt": {"a.txt"},
    "texts/deep/c.pdf": {"c.pdf"},
    "texts/*.txt": {"a.txt"},
    "texts/**/*.txt": {"a.txt", "deep/a.txt"},
    "texts/d*": {"deep/a.txt"},
    "texts/?.[mt]*": {"a.txt", "b.md"},
    "t*/a.txt": {"texts/a.txt"},
}


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize(("form", "names"), FORMS.items())
def test_folders_objects_and_patterns_in_memory_and_on_a_disk(form: str, names: set[str], tmp_path: Path):
    found = fetched(f"memory://{form}", tmp_path)
    assert set(found) == names
    for name in ("a.txt", "b.md", "deep/a.txt", "deep/c.pdf"):
        (tmp_path / "disk/texts" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "disk/texts" / name).write_text(name)
    (tmp_path / "other").mkdir()
    assert fetched(f"file://{tmp_path}/disk/{form}", tmp_path / "other") == found


def test_an_archive_is_a_folder(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "texts.zip", "w") as archive:
        archive.writestr("a.txt", "a text")
        archive.writestr("deep/b.txt", "another")
    expected = {"a.txt": b"a text", "deep/b.txt": b"another"}
    assert fetched(f"zip://::{tmp_path}/texts.zip", tmp_path) == expected
    assert list(fetched(f"zip://*.txt::{tmp_path}/texts.zip", tmp_path)) == ["a.txt"]


def test_a_folder_that_is_called_like_a_pattern(tmp_path: Path):
    (tmp_path / "disk/part[1]").mkdir(parents=True)
    (tmp_path / "disk/part[1]/a.txt").write_text("a text")
    assert fetched(f"file://{tmp_path}/disk/part[1]", tmp_path) == {"a.txt": b"a text"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    server = Bucket(tmp_path_factory.mktemp("gcs") / "buckets", name="texts")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in client_environment(server.address).items():
            patch.setenv(name, value)
        yield server
    server.stop()


def upload(store: Bucket, name: str, content: bytes, encoding: str | None) -> None:
    """Put an object with its metadata, as `gcloud storage cp --gzip-local` does."""
    boundary, metadata = b"aura", {"name": name} | ({"contentEncoding": encoding} if encoding else {})
    parts = (b"application/json", json.dumps(metadata).encode()), (b"text/plain", content)
    body = b"".join(b"--%s\r\nContent-Type: %s\r\n\r\n%s\r\n" % (boundary, *part) for part in parts)
    request = urllib.request.Request(  # noqa: S310 - this machine
        f"{store.endpoint}/upload/storage/v1/b/texts/o?uploadType=multipart",
        data=body + b"--aura--",
        headers={"Content-Type": "multipart/related; boundary=aura"},
    )
    urllib.request.urlopen(request, timeout=10).close()  # noqa: S310


def test_an_object_that_its_bucket_decompresses_is_pinned_as_stored_and_read_as_meant(store: Bucket, tmp_path: Path):
    text = b"a text, and a longer one than that\n" * 400
    packed = gzip.compress(text)
    upload(store, "packed/a.txt", packed, "gzip")
    upload(store, "packed/plain.txt", text, None)
    upload(store, "packed/named.txt.gz", packed, "gzip")  # compressed once, the header by mistake
    upload(store, "packed/twice.txt.gz", gzip.compress(packed), "gzip")
    upload(store, "packed/without.txt.gz", packed, None)
    url, pin = "gs://texts/packed", tmp_path / "mine.pin.json"
    objects = bucket.look(url, lambda name: name.endswith((".txt", ".gz")))
    assert objects["a.txt"][0] == len(packed)
    url_pins.write(pin, url, objects)

    def read() -> dict[str, bytes]:
        files = list_files(TxtSource(kind="txt", path=str(pin)))
        return {
            file.name: gzip.decompress(data) if file.name.endswith(".gz") else data
            for file in files
            for data in [file.read()]
        }

    assert read() == dict.fromkeys(objects, text)
    assert not (tmp_path / "raw").exists(), "no copy on this disk"
    upload(store, "packed/plain.txt", b"changed", None)
    url_pins.write(pin, url, bucket.look(url, lambda name: name.endswith((".txt", ".gz"))))
    assert read()["plain.txt"] == b"changed"
    upload(store, "packed/a.txt", gzip.compress(text + b"!"), "gzip")
    with pytest.raises(UserError, match="is not what was pinned"):
        read()


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        (gzip.compress(b"a text" * 400)[:-9], "truncated gzip"),
        (gzip.compress(b"a text" * 400)[:10] + b"\xff" * 50, "damaged gzip"),
        (gzip.compress(bytes(70_000_000), 1), "decompresses to more than 200 times its size"),
    ],
    ids=["truncated", "damaged", "bomb"],
)
def test_an_encoded_object_that_cannot_be_decompressed_is_named(
    store: Bucket, tmp_path: Path, stored: bytes, words: str
):
    upload(store, "broken/a.txt", stored, "gzip")
    pin = tmp_path / "mine.pin.json"
    url_pins.write(pin, "gs://texts/broken", bucket.look("gs://texts/broken", bool))
    [file] = list_files(TxtSource(kind="txt", path=str(pin)))
    with pytest.raises(UserError, match=rf"texts/broken/a\.txt is stored with Content-Encoding: gzip.*{words}"):
        file.read()


def test_one_object_and_a_pattern_of_a_bucket(store: Bucket, tmp_path: Path):
    for name in ("a.jsonl", "b.jsonl", "c.txt"):
        upload(store, f"forms/{name}", b'{"text": "a text"}', None)
    assert list(fetched("gs://texts/forms/a.jsonl", tmp_path, JsonSource, "json")) == ["a.jsonl"]
    assert list(fetched("gs://texts/forms/*.jsonl", tmp_path, JsonSource, "json")) == ["a.jsonl", "b.jsonl"]


@pytest.mark.parametrize(
    "url",
    [
        "https://me:hunter2@example.org/texts",
        "https://hunter2@example.org/texts",
        "https://example.org/texts/a.txt?X-Amz-Signature=hunter2&x=1",
        "https://example.org/a.txt?sig=hunter2",
        "https://example.org/a.txt?access_token=hunter2",
        "s3://AKIA:hunter2@bucket/texts",
        "ftp://me:hunter2@example.org/texts",
        "zip://*.txt::https://me:hunter2@example.org/texts.zip",
        "https://me:a@hunter2@example.org/texts",
        "simplecache::https://example.org/a.txt?sig=a:hunter2&x=hunter2",
    ],
)
def test_a_secret_in_an_address_is_neither_written_nor_shown(url: str):
    with pytest.raises(UserError, match="the address holds a user, password or key") as raised:
        bucket.look(url, txt)
    assert "hunter2" not in str(raised.value)
    with pytest.raises(UserError) as raised:
        bucket.names(url)
    assert "hunter2" not in str(raised.value)


def test_a_hub_that_cannot_be_reached_is_said(tmp_path: Path):
    """Another process, because huggingface_hub reads its variables once."""
    program = (
        "from aura.sources import bucket\nfrom aura.core.errors import UserError\n"
        "try:\n    bucket.look('hf://datasets/owner/name', bool)\nexcept UserError as error:\n    print(error)"
    )
    for variables in ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": f"http://127.0.0.1:{free_port()}"}):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path)} | variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.startswith("hf://datasets/owner/name: "), done.stderr
        assert "offline" in done.stdout or "connect" in done.stdout.lower(), done.stdout


def test_a_missing_library_is_named():
    with pytest.raises(UserError, match="s3fs"):
        bucket.look("s3://bucket/texts", txt)


def test_an_object_without_an_md5_has_its_generation():
    """As one that was uploaded in parts and composed; its etag changes with its metadata."""
    told = {"size": 5, "etag": "CKih16GjycICEAI=", "generation": "1795799320814942", "crc32c": "yZRlqg=="}
    address = Address("gs://texts", None, "texts")
    assert address.described("texts/a.txt", told) == (5, "generation:1795799320814942")
    assert address.described("texts/a.txt", told | {"md5Hash": "XrY="}) == (5, "md5Hash:XrY=")


def test_hashes_are_those_of_the_bytes(tmp_path: Path):
    (tmp_path / "a.txt").write_text("a text")
    [state] = bucket.look(f"file://{tmp_path}", txt).values()
    assert (state.size, state.version) == (6, f"sha256:{hashlib.sha256(b'a text').hexdigest()}")

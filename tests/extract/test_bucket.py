"""Sources behind a URL, against a real object store on this machine."""

import ftplib
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from aura.core.errors import UserError
from aura.extract.options import TxtSource
from aura.extract.sources import bucket
from aura.extract.sources.listing import list_files
from aura.storage.store import explained
from tests.bucket import Bucket, client_environment

URL = "gs://texts/books"


@pytest.fixture(scope="module")
def buckets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folders that the store serves as buckets."""
    folder = tmp_path_factory.mktemp("gcs") / "buckets"
    server = Bucket(folder, name="texts")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in client_environment(server.address).items():
            patch.setenv(name, value)
        yield folder
    server.stop()


@pytest.fixture
def system(buckets: Path):
    assert buckets.is_dir()
    from fsspec.core import url_to_fs

    found, _ = url_to_fs(URL)
    for place in found.find("texts"):
        found.rm(place)
    for name in ("a.txt", "deep/b.txt", "notes.md", "other.pdf"):
        found.pipe(f"texts/books/{name}", f"a text in {name}".encode())
    return found


def names(pin: Path) -> dict[str, str]:
    source = TxtSource(kind="txt", path=str(pin))
    return {file.name: file.path.read_text() for file in list_files(source)}


def txt(name: str) -> bool:
    return name.endswith((".txt", ".md"))


def test_a_bucket_is_fetched_once_and_again_only_what_changed(system, tmp_path):
    pin = tmp_path / "mine.pin.json"
    bucket.write_pin(pin, URL, bucket.look(URL, txt))
    found = names(pin)
    assert found == {name: f"a text in {name}" for name in ("a.txt", "deep/b.txt", "notes.md")}
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "raw/mine").rglob("*.txt")}
    system.pipe("texts/books/a.txt", b"changed")
    system.rm("texts/books/notes.md")
    assert names(pin) == found, "a pin stands until it is moved"
    bucket.write_pin(pin, URL, bucket.look(URL, txt))
    assert names(pin) == {"a.txt": "changed", "deep/b.txt": "a text in deep/b.txt"}
    unchanged = tmp_path / "raw/mine/deep/b.txt"
    assert unchanged.stat().st_mtime_ns == before[unchanged]


def test_what_was_fetched_before_an_interruption_is_kept(system, tmp_path):
    pin = tmp_path / "mine.pin.json"
    bucket.write_pin(pin, URL, bucket.look(URL, txt))
    system.pipe("texts/books/deep/b.txt", b"changed behind the pin")
    with pytest.raises(UserError, match=r"deep/b\.txt is not what was pinned: expected 20 bytes"):
        names(pin)
    partial = tmp_path / "raw/.mine.partial"
    kept = {path.name: path.stat().st_mtime_ns for path in partial.glob("*.*") if path.name != bucket.RECORD}
    assert "a.txt" in kept
    assert not (tmp_path / "raw/mine").exists()
    system.pipe("texts/books/deep/b.txt", b"a text in deep/b.txt")
    assert len(names(pin)) == 3
    assert kept.items() <= {path.name: path.stat().st_mtime_ns for path in (tmp_path / "raw/mine").iterdir()}.items()


@pytest.mark.usefixtures("system")
def test_an_altered_file_is_fetched_again(tmp_path):
    pin = tmp_path / "mine.pin.json"
    bucket.write_pin(pin, URL, bucket.look(URL, txt))
    names(pin)
    (tmp_path / "raw/mine/a.txt").write_text("cut")
    assert names(pin)["a.txt"] == "a text in a.txt"


def test_any_fsspec_url_will_do(tmp_path):
    (tmp_path / "far/deep").mkdir(parents=True)
    (tmp_path / "far/deep/a.txt").write_text("a text")
    pin = tmp_path / "mine.pin.json"
    bucket.write_pin(pin, f"file://{tmp_path}/far", bucket.look(f"file://{tmp_path}/far", txt))
    assert names(pin) == {"deep/a.txt": "a text"}


@pytest.mark.usefixtures("buckets")
@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("gs://no-such-bucket/x", "not found"),
        ("nothing://x/y", "Protocol not known"),
        ("s3://x/y", "Install that package"),
        ("http://127.0.0.1:1/texts/", "Cannot connect"),
        ("ftp://127.0.0.1:1/texts", "refused"),
        ("reference://x", "by its address alone"),
        ("data:text/plain,x", "NotImplementedError"),
    ],
)
def test_what_cannot_be_had_is_one_message(url, words):
    with pytest.raises(UserError, match=words):
        bucket.look(url, txt)


class LibrarysOwn(Exception):
    """As paramiko, botocore and others define them: no OSError."""


@pytest.mark.parametrize("error", [LibrarysOwn, ftplib.error_perm, zipfile.BadZipFile, tarfile.ReadError, zlib.error])
def test_what_libraries_raise_is_one_message_and_a_mistake_of_the_program_is_not(error: type[Exception]):
    with pytest.raises(UserError, match=r"far://x: the reason"), explained("far://x"):
        raise error("the reason")
    with pytest.raises(KeyError), explained("far://x"):
        raise KeyError("a mistake")


@pytest.mark.parametrize("damage", ["cut", "flipped", "encrypted"])
def test_a_damaged_archive_is_one_message(tmp_path: Path, damage: str):
    archive = tmp_path / "texts.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.txt", "a text")
    data = bytearray(archive.read_bytes())
    if damage == "encrypted":
        data[6] |= 1
        data[data.index(b"PK\x01\x02") + 8] |= 1
    else:
        data[36] ^= 1
    archive.write_bytes(data[:50] if damage == "cut" else data)
    with pytest.raises(UserError, match=r"not a zip file|Bad CRC|encrypted"):
        bucket.look(f"zip://::{archive}", txt)


def test_a_name_as_long_as_names_can_be_is_fetched(tmp_path: Path):
    name = f"{'x' * 251}.txt"
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / name).write_text("a text")
    pin = tmp_path / "mine.pin.json"
    bucket.write_pin(pin, f"file://{tmp_path}/far", bucket.look(f"file://{tmp_path}/far", txt))
    assert [file.name for file in list_files(TxtSource(kind="txt", path=str(pin)))] == [name]

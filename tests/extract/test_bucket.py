"""Sources behind a URL: what can go wrong, and those whose objects are fetched first."""

import ftplib
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from aura.core.errors import UserError
from aura.sources import bucket, copies, url_pins
from aura.sources.listing import list_files
from aura.sources.options import TxtSource
from aura.storage.store import explained
from tests.bucket import Bucket, client_environment


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
def far(tmp_path: Path) -> Path:
    """A folder behind a URL that tells no versions, so that what is in it is fetched."""
    folder = tmp_path / "far"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.txt", "deep/b.txt", "notes.md", "other.pdf"):
        (folder / name).write_text(f"a text in {name}")
    return folder


def pinned(far: Path) -> Path:
    pin = far.parent / "mine.pin.json"
    url_pins.write(pin, f"file://{far}", bucket.look(f"file://{far}", txt))
    return pin


def names(pin: Path) -> dict[str, str]:
    source = TxtSource(kind="txt", path=str(pin))
    return {file.name: file.path.read_text() for file in list_files(source)}


def txt(name: str) -> bool:
    return name.endswith((".txt", ".md"))


def test_objects_without_a_version_are_fetched_once_and_again_only_what_changed(far, tmp_path):
    pin = pinned(far)
    found = names(pin)
    assert found == {name: f"a text in {name}" for name in ("a.txt", "deep/b.txt", "notes.md")}
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "raw/mine").rglob("*.txt")}
    (far / "a.txt").write_text("changed")
    (far / "notes.md").unlink()
    assert names(pin) == found, "a pin stands until it is moved"
    pinned(far)
    assert names(pin) == {"a.txt": "changed", "deep/b.txt": "a text in deep/b.txt"}
    unchanged = tmp_path / "raw/mine/deep/b.txt"
    assert unchanged.stat().st_mtime_ns == before[unchanged]


def test_what_was_fetched_before_an_interruption_is_kept(far, tmp_path):
    pin = pinned(far)
    (far / "deep/b.txt").write_text("changed behind the pin")
    with pytest.raises(UserError, match=r"deep/b\.txt is not what was pinned: expected 20 bytes"):
        names(pin)
    partial = tmp_path / "raw/.mine.partial"
    kept = {path.name: path.stat().st_mtime_ns for path in partial.glob("*.*") if path.name != copies.RECORD}
    assert "a.txt" in kept
    assert not (tmp_path / "raw/mine").exists()
    (far / "deep/b.txt").write_text("a text in deep/b.txt")
    assert len(names(pin)) == 3
    assert kept.items() <= {path.name: path.stat().st_mtime_ns for path in (tmp_path / "raw/mine").iterdir()}.items()


def test_an_altered_file_is_fetched_again(far, tmp_path):
    pin = pinned(far)
    names(pin)
    (tmp_path / "raw/mine/a.txt").write_text("cut")
    assert names(pin)["a.txt"] == "a text in a.txt"


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
    url_pins.write(pin, f"file://{tmp_path}/far", bucket.look(f"file://{tmp_path}/far", txt))
    assert [file.name for file in list_files(TxtSource(kind="txt", path=str(pin)))] == [name]

"""Objects in a bucket are read where they are: as a copy would be, without a request too many, and nothing altered."""

import bz2
import gzip
import io
import json
import os
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aura.core.errors import UserError
from aura.extract.extract import Work, extract
from aura.project import whole_params
from aura.sources import bucket, object_reader, url_pins
from aura.sources.documents import parquet
from aura.sources.input_files import chosen_by
from aura.sources.listing import list_files
from aura.sources.object_reader import Stored
from aura.sources.options import JsonSource, ParquetSource, Source, TxtSource
from aura.storage.cache import Cache
from tests.bucket import Bucket, client_environment
from tests.conftest import REPOSITORY
from tests.extract.hub_server import refusing_hub
from tests.proxy import Proxy

SOURCES = {"txt": TxtSource, "json": JsonSource, "parquet": ParquetSource}


class Far:
    """A bucket behind a proxy that counts requests, and a folder of the same content."""

    def __init__(self, folder: Path) -> None:
        self.proxy = Proxy("")
        self.server = Bucket(folder / "buckets", self.proxy, name="texts")

    def put(self, name: str, content: bytes) -> None:
        query = urllib.parse.urlencode({"uploadType": "media", "name": name})
        self.ask("POST", f"/upload/storage/v1/b/texts/o?{query}", content)

    def remove(self, name: str) -> None:
        self.ask("DELETE", f"/storage/v1/b/texts/o/{urllib.parse.quote(name, safe='')}")

    def ask(self, method: str, path: str, data: bytes | None = None) -> None:
        """Ask the server itself, and not through the proxy."""
        request = urllib.request.Request(self.server.endpoint + path, data, method=method)  # noqa: S310 - this machine
        urllib.request.urlopen(request, timeout=10).close()  # noqa: S310

    def requests(self) -> int:
        """Count the requests since this was called last."""
        count, self.proxy.requests = self.proxy.requests, 0
        return count


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    found = Far(tmp_path_factory.mktemp("far"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in client_environment(found.server.address).items():
            patch.setenv(name, value)
        yield found
    found.server.stop()
    found.proxy.stop()


def chance_of(seed: int) -> Random:
    return Random(seed)  # noqa: S311 - texts, not secrets


def pin_of(path: Path, url: str, kind: str) -> Path:
    url_pins.write(path, url, bucket.look(url, chosen_by(kind, None)))
    return path


def build(source: Source, out: Path, cache: Path, **options: Any) -> tuple[dict[str, Any], dict[str, bytes], Work]:
    """What extraction makes: its manifest, all of its files, and the work."""
    found = whole_params.load(REPOSITORY / "params.yaml").extract
    given = {"lexicon": str(REPOSITORY / found.lexicon), "max_document_bytes": 200_000} | options
    _, work = extract("mine", source, found.model_copy(update=given), out, Cache(cache))
    made = {path.name: path.read_bytes() for path in out.iterdir()}
    return json.loads(made["manifest.json"]), made, work


def texts(number: int, seed: int) -> list[str]:
    chance = chance_of(seed)
    words = ["the", "of", "and", "a", "to", "in", "is", "you", "that", "it", "he", "was", "for", "on", "are"]
    return [" ".join(chance.choices(words, k=chance.randint(3, 60))) + f" {seed}.{row}" for row in range(number)]


def table(rows: list[str], **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"id": range(len(rows)), "text": rows}), sink, **options)
    return sink.getvalue()


def lines(rows: list[str]) -> bytes:
    return b"".join(json.dumps({"text": row}).encode() + b"\n" for row in rows)


def mixed() -> dict[str, dict[str, bytes]]:
    """Files of each kind: small, large, empty, compressed, damaged, hidden, and with names of all sorts."""
    noise = chance_of(1).randbytes(3000)
    packed = gzip.compress(lines(texts(2000, 3)))
    return {
        "txt": {
            "a.txt": b"a plain text of some length",
            "deep/er/b.md": "ein Text mit Umlauten: \u00e4\u00f6\u00fc".encode(),
            "empty.txt": b"",
            "noise.txt": noise,
            "large.txt": "\n".join(texts(4_000, 2)).encode(),
            "small.txt.bz2": bz2.compress(b"a compressed text of some length"),
            "cut.txt.gz": gzip.compress(b"a text that is cut short" * 50)[:-9],
            ".hidden/c.txt": b"hidden",
            ".d.txt": b"hidden, too",
            "what? #1 & 100%.txt": b"a text with a name of signs",
            'it\'s "so" [1]*.txt': b"another text with a name of signs",
            "\u00fcml\u00e4ut\u3000.txt": b"a text with a name in other letters",
            "a\nb.txt": b"a text with a line end in its name",
            "sea.txt/plain.txt": b"a folder that is called like a file",
        },
        "json": {
            "one.json": json.dumps([{"text": text} for text in texts(5, 4)]).encode(),
            "many.jsonl.gz": packed,
            "cut.jsonl.gz": packed[:-500],
            "broken.jsonl": lines(texts(3, 5)) + b'{"text": \n' + lines(texts(3, 6)),
            "empty.jsonl": b"",
        },
        "parquet": {
            "small.parquet": table(texts(10, 7)),
            "large.parquet": table(texts(4_000, 8), row_group_size=1_500, use_dictionary=False),
            "none.parquet": table([]),
            "cut.parquet": table(texts(100, 9))[:-20],
            "empty.parquet": b"",
        },
    }


@pytest.mark.parametrize("kind", SOURCES)
def test_what_is_read_in_place_is_what_a_copy_gives(
    far: Far, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
):
    """Equal documents, names, losses and accounts, to the byte, and no copy on this disk."""
    monkeypatch.setattr(object_reader, "PORTION", 60_000)
    monkeypatch.setattr(object_reader, "LEAST", 10_000)
    files = mixed()[kind]
    for name, content in files.items():
        far.put(f"{kind}/{name}", content)
        place = tmp_path / "copy" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    model = SOURCES[kind]
    everything = bucket.look(f"gs://texts/{kind}", bool)  # hidden ones, too
    pin = tmp_path / "mine.pin.json"
    url_pins.write(pin, f"gs://texts/{kind}", everything)
    cache = tmp_path / "cache"
    expected = build(model(kind=kind, path=str(tmp_path / "copy")), tmp_path / "out", tmp_path / "copys cache")
    far.requests()
    found = build(model(kind=kind, path=str(pin)), tmp_path / "out", cache)
    assert found[:2] == expected[:2]
    assert far.requests() >= sum(map(bool, files.values())) - 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "copy", "copys cache", "mine.pin.json", "out"]

    again = build(model(kind=kind, path=str(pin)), tmp_path / "out", cache)
    assert again[:2] == expected[:2]
    assert far.requests() == 0, "unchanged objects are not asked for"
    name, content = next(iter(files.items()))
    far.put(f"{kind}/{name}", content)  # the same bytes, written anew
    url_pins.write(pin, f"gs://texts/{kind}", bucket.look(f"gs://texts/{kind}", bool))
    far.requests()
    assert build(model(kind=kind, path=str(pin)), tmp_path / "out", cache)[:2] == expected[:2]
    assert far.requests() == 0, "their MD5 is the same"


def test_only_what_changed_is_read(far: Far, tmp_path: Path):
    for number in range(50):
        far.put(f"some/{number:02d}.txt", f"a text with the number {number}".encode())
    source = TxtSource(kind="txt", path=str(pin_of(tmp_path / "mine.pin.json", "gs://texts/some", "txt")))
    build(source, tmp_path / "out", tmp_path / "cache")
    far.put("some/07.txt", b"a changed text")
    pin_of(Path(source.path), "gs://texts/some", "txt")
    far.requests()
    assert build(source, tmp_path / "out", tmp_path / "cache")[2].files_extracted == 1
    assert far.requests() == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a text that was changed", "is not what was pinned: expected 24 bytes .md5Hash:.*, got 23 .md5Hash:.*scan"),
        (b"A text in the first place", "is not what was pinned: expected 24 bytes"),
        (None, "gone since it was pinned.*aura source scan NAME"),
    ],
)
def test_an_object_that_is_another_one_than_was_pinned_is_named(
    far: Far, tmp_path: Path, content: bytes | None, words: str
):
    far.put("moved/a.txt", b"a text in the firstplace")
    far.put("moved/b.txt", b"a text that stays as it is")
    source = TxtSource(kind="txt", path=str(pin_of(tmp_path / "mine.pin.json", "gs://texts/moved", "txt")))
    if content is None:
        far.remove("moved/a.txt")
    else:
        far.put("moved/a.txt", content)
    with pytest.raises(UserError, match=rf"gs://texts/moved/a\.txt .*{words}"):
        build(source, tmp_path / "out", tmp_path / "cache")
    far.put("moved/a.txt", b"a text in the firstplace")  # put back: other generation, pinned bytes
    assert build(source, tmp_path / "out", tmp_path / "cache")[0]["totals"]["documents"] == 2


def test_a_change_between_two_portions_is_noticed(far: Far, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(object_reader, "PORTION", 1000)
    monkeypatch.setattr(object_reader, "LEAST", 500)
    content = chance_of(2).randbytes(20_000)
    far.put("long/a.bin", content)
    [state] = bucket.look("gs://texts/long", bool).values()
    assert object_reader.read("gs://texts/long/a.bin", state) == content
    with object_reader.stream("gs://texts/long/a.bin", state) as stream:
        assert stream.read(3000) == content[:3000]
        far.put("long/a.bin", bytes(20_000))
        with pytest.raises(UserError, match="is not what was pinned"):
            stream.read()


def test_a_parquet_object_that_changes_is_no_damaged_one(far: Far, monkeypatch: pytest.MonkeyPatch):
    """The error passes through pyarrow as it is: nothing of the object counts as lost."""
    monkeypatch.setattr(object_reader, "PORTION", 20_000)
    monkeypatch.setattr(object_reader, "LEAST", 5_000)
    content = table(texts(4_000, 10), row_group_size=500, use_dictionary=False, compression=None)
    far.put("rows/a.parquet", content)
    [state] = bucket.look("gs://texts/rows", bool).values()
    with object_reader.stream("gs://texts/rows/a.parquet", state) as stream:
        rows = parquet.texts(stream, ["text"])
        assert next(rows) == texts(1, 10)[0].encode()
        far.put("rows/a.parquet", content[::-1])
        with pytest.raises(UserError, match="is not what was pinned"):
            list(rows)


def test_any_way_of_reading_gives_the_bytes(far: Far, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(object_reader, "PORTION", 1000)
    monkeypatch.setattr(object_reader, "LEAST", 100)
    content, chance = chance_of(3).randbytes(12_345), chance_of(4)
    far.put("ways/a.bin", content)
    [state] = bucket.look("gs://texts/ways", bool).values()
    with object_reader.stream("gs://texts/ways/a.bin", state) as stream:
        for _ in range(80):
            if chance.random() < 0.5:
                stream.seek(chance.randint(0, 12_500))
            start, size = stream.tell(), chance.choice([1, 10, 300, 2500])
            assert stream.read(size) == content[start : start + size]
        assert stream.seek(-5, os.SEEK_END) == 12_340
        assert stream.read() == content[-5:]


def test_bytes_that_are_not_those_of_the_hash_are_refused(far: Far):
    far.put("hash/a.bin", b"some bytes")
    [state] = bucket.look("gs://texts/hash", bool).values()
    wrong = state._replace(version="md5Hash:AAAAAAAAAAAAAAAAAAAAAA==")
    with pytest.raises(UserError, match="is not what was pinned"):
        object_reader.read("gs://texts/hash/a.bin", wrong)


def test_what_arrives_altered_is_fetched_again_or_refused(far: Far, monkeypatch: pytest.MonkeyPatch):
    """As on a connection that flips bits: a small object is tried again, of a large one nothing counts."""
    content = chance_of(5).randbytes(5000)
    far.put("flips/a.bin", content)
    [state] = bucket.look("gs://texts/flips", bool).values()
    right, flips = object_reader._bucket_bytes, iter([True, True, False, True])

    def flipped(place: str, start: int, end: int, generation: str) -> bytes:
        data = right(place, start, end, generation)
        return data[:-1] + bytes([data[-1] ^ 1]) if next(flips) else data

    monkeypatch.setattr(object_reader, "_bucket_bytes", flipped)
    assert object_reader.read("gs://texts/flips/a.bin", state) == content
    monkeypatch.setattr(object_reader, "LEAST", 5)
    monkeypatch.setattr(object_reader, "PORTION", 4999)
    flips = iter([True, False])
    with pytest.raises(UserError, match="did not arrive as it is stored"):
        object_reader.read("gs://texts/flips/a.bin", state)


@pytest.mark.slow
def test_a_bad_network_costs_requests_and_no_document(far: Far, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AURA_STALL_SECONDS", "1")
    for number in range(30):
        far.put(f"bad/{number:02d}.txt", f"a text with the number {number}".encode())
    source = TxtSource(kind="txt", path=str(pin_of(tmp_path / "mine.pin.json", "gs://texts/bad", "txt")))
    monkeypatch.setattr(far.proxy, "share", 0.3)
    assert build(source, tmp_path / "out", tmp_path / "cache")[0]["totals"]["documents"] == 30
    assert far.proxy.seen


def test_an_object_that_may_not_be_read_is_named(monkeypatch: pytest.MonkeyPatch):
    with refusing_hub(403, "") as address:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        with pytest.raises(UserError, match=r"^gs://texts/a\.txt: access refused .*Log in"):
            object_reader.read("gs://texts/a.txt", Stored(5, "md5Hash:AAAAAAAAAAAAAAAAAAAAAA==", "1"))


def test_a_file_of_the_hub_that_may_not_be_read_is_named(monkeypatch: pytest.MonkeyPatch):
    from huggingface_hub import constants

    with refusing_hub(403, "GatedRepo") as address:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        place = f"hf://datasets/team/own@{'0' * 40}/a.parquet"
        with pytest.raises(
            UserError, match=rf"^{place}: the Hub refuses access \(403\)\. Each machine .*hf auth login"
        ):
            object_reader.read(place, Stored(5, "blob:1"))


def test_a_pin_without_generations_is_read(far: Far, tmp_path: Path):
    """As it was written before; the generation is asked for."""
    far.put("old/a.txt", b"a text with a pin of old")
    [(name, state)] = bucket.look("gs://texts/old", bool).items()
    url_pins.write(tmp_path / "mine.pin.json", "gs://texts/old", {name: Stored(state.size, state.version)})
    assert '["a.txt", 24, "md5Hash:' in (tmp_path / "mine.pin.json").read_text()
    [file] = list_files(TxtSource(kind="txt", path=str(tmp_path / "mine.pin.json")))
    far.requests()
    assert file.read() == b"a text with a pin of old"
    assert far.requests() <= 4  # gcsfs asks whether it is a folder, too


def test_a_store_without_generations_is_asked_at_the_end(tmp_path: Path):
    """Any other store that tells versions: here one in memory, whose objects may change while they are read."""
    import fsspec
    from fsspec.implementations.memory import MemoryFileSystem

    class Tagged(MemoryFileSystem):
        protocol = "tagged"
        store: ClassVar[dict[str, Any]] = {}
        pseudo_dirs: ClassVar[list[str]] = [""]
        tag = '"1"'

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return str(super()._strip_protocol(path.replace("tagged://", "memory://")))

        def info(self, path: str, **options: Any) -> dict[str, Any]:
            return super().info(path, **options) | {"ETag": self.tag}

        def find(self, path: str, **options: Any) -> Any:
            return {name: info | {"ETag": self.tag} for name, info in super().find(path, **options).items()}

    fsspec.register_implementation("tagged", Tagged, clobber=True)
    Tagged().pipe("/texts/a.txt", b"a text in memory")
    pin = pin_of(tmp_path / "mine.pin.json", "tagged://texts", "txt")
    assert "ETag:" in pin.read_text()
    [file] = list_files(TxtSource(kind="txt", path=str(pin)))
    assert file.read() == b"a text in memory"
    Tagged.tag = '"2"'
    with pytest.raises(UserError, match=r"tagged://texts/a\.txt is not what was pinned"):
        file.read()
    assert not (tmp_path / "raw").exists()

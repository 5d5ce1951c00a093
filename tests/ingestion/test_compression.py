import gzip
import json
import lzma
import os

import pyarrow as pa
import pytest

from aura import params
from aura.cache import Cache
from aura.ingestion import extract as module
from aura.ingestion.compression import FREE_BYTES, MAX_RATIO, Damaged, decompressed, plain_name
from aura.ingestion.txt_loader import load_json_corpus, load_text_corpus
from tests.conftest import REPOSITORY

COMPRESS = {
    "gz": lambda data: gzip.compress(data, compresslevel=1, mtime=0),
    "xz": lambda data: lzma.compress(data, preset=0),
    "zst": lambda data: pa.compress(data, "zstd", asbytes=True),
}
METHODS = {"gz": "gzip", "xz": "xz", "zst": "zstd"}
NOISE = os.urandom(1_500_000)  # several blocks in every format


@pytest.fixture(params=sorted(COMPRESS))
def ending(request):
    return request.param


def reason(name: str, data: bytes) -> str:
    with pytest.raises(Damaged) as caught:
        decompressed(name, data)
    return str(caught.value)


def test_what_went_in_comes_out_in_one_stream_or_several(ending):
    for content in (b"x", NOISE):
        packed = COMPRESS[ending](content)
        assert decompressed(f"a.txt.{ending}", packed) == content
        assert decompressed(f"A.TXT.{ending.upper()}", packed * 2) == content * 2
        assert decompressed("a.txt", packed) == packed


@pytest.mark.parametrize("cut", [-1, -9, 700_000, 7])
def test_a_file_cut_short_is_lost_wherever_the_cut_is(ending, cut):
    assert reason(f"a.txt.{ending}", COMPRESS[ending](NOISE)[:cut]) == f"truncated {METHODS[ending]}"


def test_a_second_stream_cut_short_loses_the_file_too(ending):
    packed = COMPRESS[ending](NOISE)
    assert reason(f"a.txt.{ending}", packed + packed[:1000]) == f"truncated {METHODS[ending]}"


def test_a_file_of_another_kind_is_damaged(ending):
    assert reason(f"a.txt.{ending}", b"this is plain text and no archive") == f"damaged {METHODS[ending]}"


def test_a_byte_changed_in_the_middle_is_noticed():
    """By checksums, which `pa.compress` leaves out; the `zstd` program writes them."""
    for ending in ("gz", "xz"):
        packed = bytearray(COMPRESS[ending](NOISE))
        packed[700_000] ^= 0xFF
        assert reason(f"a.txt.{ending}", bytes(packed)) == f"damaged {METHODS[ending]}"


def test_a_bomb_is_given_up_at_the_limit(ending):
    bomb = COMPRESS[ending](bytes(FREE_BYTES + 10))
    assert MAX_RATIO * len(bomb) < FREE_BYTES
    assert reason(f"a.txt.{ending}", bomb) == "decompresses to more than 200 times its size and 64 MB"
    assert len(decompressed(f"a.txt.{ending}", COMPRESS[ending](bytes(FREE_BYTES)))) == FREE_BYTES


def test_names_lose_one_suffix_of_compression():
    assert [plain_name(name) for name in ("a.jsonl.gz", "a.TXT.XZ", "a.gz.txt", "a")] == [
        *("a.jsonl", "a.TXT", "a.gz.txt", "a")
    ]


def test_the_manifest_counts_by_hand(tmp_path, ending):
    """A whole, a cut, an empty and a plain file; and one of which nothing is left after decompression."""
    folder = tmp_path / "txt"
    folder.mkdir()
    text = b"a happy document that is long enough\n" * 100
    packed = COMPRESS[ending](text)
    cases = {
        f"cut.txt.{ending}": packed[:-1],
        f"empty.txt.{ending}": b"",
        f"hollow.md.{ending}": COMPRESS[ending](b""),
        "plain.txt": text,
        f"whole.txt.{ending}": packed,
    }
    for name, data in cases.items():
        (folder / name).write_bytes(data)
    (folder / f"other.pdf.{ending}").write_bytes(packed)
    found = params.load(REPOSITORY / "params.yaml").extract
    settings = found.model_copy(update={"lexicon": str(REPOSITORY / found.lexicon)})
    source = params.TxtSource(kind="txt", path=str(folder))
    module.extract("mine", source, settings, tmp_path / "out", Cache(tmp_path / "cache"))
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    files = {file["file"]: file for file in manifest["files"]}
    assert {name: file["bytes_read"] for name, file in files.items()} == {name: len(cases[name]) for name in cases}
    assert [file["bytes_decompressed"] for file in files.values()] == [0, 0, 0, len(text), len(text)]
    assert [file["lost"] for file in files.values()] == [
        *({f"truncated {METHODS[ending]}": 1}, {"empty": 1}, {"empty": 1}, {}, {})
    ]
    assert manifest["totals"]["bytes_decompressed"] == 2 * len(text)
    assert manifest["totals"]["documents"] == 2


def test_compressed_text_and_json_load_like_plain(tmp_path, ending):
    (tmp_path / f"a.jsonl.{ending}").write_bytes(COMPRESS[ending](b'{"text": "one"}\n{"text": "two"}\n'))
    (tmp_path / f"b.json.{ending}").write_bytes(COMPRESS[ending](b'[{"text": "three"}]'))
    (tmp_path / f"c.txt.{ending}").write_bytes(COMPRESS[ending](b"four"))
    (tmp_path / f"d.txt.{ending}").write_bytes(b"no archive")
    assert [text for text, _ in load_json_corpus(tmp_path)] == ["one", "two", "three"]
    assert [text for text, _ in load_text_corpus(tmp_path)] == ["four"]

import bz2
import gzip
import json
import lzma
import os
import shutil
import subprocess
import zlib

import pyarrow as pa
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.extract import extract as module
from aura.one_shot.loaders import load_json_corpus, load_text_corpus
from aura.project import whole_params
from aura.sources.documents.compression import (
    FREE_BYTES,
    MAX_RATIO,
    Damaged,
    as_stream,
    blocks,
    decompressed,
    plain_name,
)
from aura.sources.options import TxtSource
from aura.storage.cache import Cache
from tests.conftest import REPOSITORY

COMPRESS = {
    "bz2": lambda data: bz2.compress(data, 1),
    "gz": lambda data: gzip.compress(data, compresslevel=1, mtime=0),
    "xz": lambda data: lzma.compress(data, preset=0),
    "zst": lambda data: pa.compress(data, "zstd", asbytes=True),
}
METHODS = {"bz2": "bzip2", "gz": "gzip", "xz": "xz", "zst": "zstd"}
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


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60), st.binary(max_size=20), st.integers(0, 60), st.integers(0, 255), st.binary(max_size=12))
def test_gzip_is_lost_for_the_reason_that_python_gives(content, other, place, change, behind):
    packed = bytearray(gzip.compress(content, mtime=0) + gzip.compress(other, mtime=0))
    packed[place % len(packed)] ^= change
    for data in (bytes(packed), bytes(packed) + behind, bytes(packed[:place]), behind + bytes(packed)):
        try:
            expected = gzip.decompress(data)
        except (EOFError, OSError, zlib.error):
            assert reason("a.gz", data) if data else True
        else:
            assert decompressed("a.gz", data) == expected


def test_a_byte_changed_in_the_middle_is_noticed():
    """By checksums, which `pa.compress` leaves out; the `zstd` program writes them."""
    for ending in ("bz2", "gz", "xz"):
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
    found = whole_params.load(REPOSITORY / "params.yaml").extract
    settings = found.model_copy(update={"lexicon": str(REPOSITORY / found.lexicon)})
    source = TxtSource(kind="txt", path=str(folder))
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


def program(*command: str, data: bytes) -> bytes:
    """What one of the formats' own programs makes of `data`."""
    if not shutil.which(command[0]):
        pytest.skip(f"there is no {command[0]} on this machine")
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout


SKIPPED = b"\x53\x2a\x4d\x18\x05\0\0\0notes"  # a frame of zstd with five bytes for somebody else
LINES = b"".join(b"line %d of a text that is compressed in an odd but legal shape\n" % number for number in range(9000))
SHAPES = {
    "zst": [
        *(["zstd", "-q", *options] for options in (["-1"], ["-19", "--check"], ["--no-check", "--ultra", "-22"])),
        *(
            ["zstd", "-q", *options]
            for options in (["--long=27"], ["--long=31"], ["-T2", "-B4096"], ["--no-content-size"])
        ),
    ],
    "xz": [
        *(["xz", "-c", *options] for options in (["-0"], ["--check=none"], ["--check=sha256"], ["--block-size=5000"])),
        ["xz", "-c", "--x86", "--lzma2=dict=64MiB"],
    ],
    "lzma": [["xz", "-c", "--format=lzma"]],
    "gz": [["gzip", "-c", "-1"], ["gzip", "-c", "-9", "-n"]],
    "bz2": [["bzip2", "-c", "-1"], ["bzip2", "-c", "-9"]],
}


@pytest.mark.parametrize(
    ("ending", "command"), [(end, command) for end, commands in SHAPES.items() for command in commands]
)
def test_what_the_programs_write_is_read_as_they_read_it(tmp_path, ending, command):
    packed = program(*command, data=LINES)
    assert decompressed(f"a.txt.{ending}", packed) == LINES
    assert program(command[0], "-dc", *(["--long=31"] if ending == "zst" else []), data=packed) == LINES
    path = tmp_path / f"a.txt.{ending}"
    path.write_bytes(packed)
    with path.open("rb") as file, as_stream(blocks(path.name, file)) as stream:
        assert stream.read() == LINES
    assert reason(path.name, packed[:-3]).startswith("truncated")


PADDING = {"zst": [b"", SKIPPED, SKIPPED * 3], "xz": [b"", bytes(4), bytes(4000)], "gz": [b""], "bz2": [b""]}
AT_THE_END = PADDING | {"gz": [b"", bytes(512)]}  # elsewhere the program takes zeros for garbage


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(PADDING)), st.lists(st.binary(max_size=40), min_size=1, max_size=4), st.data())
def test_streams_behind_each_other_with_padding_agree_with_the_programs(ending, contents, data):
    names = {"zst": "zstd", "xz": "xz", "gz": "gzip", "bz2": "bzip2"}
    parts = [COMPRESS[ending](content) + data.draw(st.sampled_from(PADDING[ending])) for content in contents]
    packed = b"".join(parts) + data.draw(st.sampled_from(AT_THE_END[ending]))
    assert decompressed(f"a.{ending}", packed) == program(names[ending], "-dc", data=packed) == b"".join(contents)


def test_a_file_is_read_by_its_beginning_where_its_name_is_wrong():
    for ending, pack in COMPRESS.items():
        assert decompressed("a.txt.gz", pack(LINES)) == LINES, ending


def test_a_sound_file_that_cannot_be_read_is_not_called_damaged(ending):
    packed = COMPRESS[ending](LINES)
    assert reason(f"a.txt.{ending}", packed + b"and a note") == f"{METHODS[ending]} with other bytes behind its end"
    if ending == "zst":
        words = zstandard.train_dictionary(2000, [b"sample %d of some words" % number for number in range(500)])
        compressed = zstandard.ZstdCompressor(dict_data=words).compress(LINES)
        assert reason("a.txt.zst", compressed) == f"zstd that needs dictionary {words.dict_id()}"
        above = b"\x28\xb5\x2f\xfd\0\xb0" + b"\x01\0\0"  # a window of 4 GB, and an empty last block
        assert reason("a.txt.zst", above) == "zstd with a window above 2 GB"
        assert reason("a.txt.zst", b"\x27\xb5\x2f\xfd" + bytes(20)) == "zstd of a version before 0.8"


def test_text_in_every_compression_is_found_by_its_suffix(tmp_path):
    endings = {"a.txt.bz2": "bz2", "b.TXT.ZST": "zst", "c.md.zstd": "zst", "d.txt.xz": "xz", "e.txt.GZ": "gz"}
    for name, ending in endings.items():
        (tmp_path / name).write_bytes(COMPRESS[ending](name.encode()))
    (tmp_path / "f.txt.lzma").write_bytes(lzma.compress(b"f.txt.lzma", lzma.FORMAT_ALONE))
    assert [text for text, _ in load_text_corpus(tmp_path)] == sorted([*endings, "f.txt.lzma"])

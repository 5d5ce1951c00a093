"""Planted faults, counted by hand, against the manifest of the extraction program."""

import gzip
import json
import os
import socket
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from tests.extract.program import Program, unprivileged

TEXT = b"a happy document that is long enough to be kept\n"
BOTH, LARGE = "malformed JSON + no text key", "JSON record of more than 200,000 bytes"
LIMIT = 100_000  # bytes of a document; files above half of it are extracted in blocks


def zstd(data: bytes) -> bytes:
    return pa.compress(data, "zstd", asbytes=True)


def plant_txt(folder: Path) -> dict[str, dict[str, int]]:
    """Fill a folder; returns what must be lost, counted by hand. Everything else is one document a file."""
    noise = os.urandom(40_000).hex().encode()
    (folder / "good.txt").write_bytes(TEXT)
    (folder / "same.txt").write_bytes(TEXT)  # a duplicate is extracted: `select` decides over all sources
    (folder / "good.md.gz").write_bytes(gzip.compress(TEXT, mtime=0))
    (folder / "name\nwith a newline.txt").write_bytes(TEXT)
    (folder / "linked.txt").symlink_to(folder / "good.txt")
    Path(os.fsdecode(os.fsencode(folder) + b"/latin-\xe9.txt")).write_bytes(TEXT)
    (folder / "deep").mkdir()
    (folder / "deep/up").symlink_to(folder)  # followed, it would never end
    (folder / "circle.txt").symlink_to(folder / "circle.txt")
    (folder / "dangling.txt").symlink_to(folder / "nowhere")
    (folder / "empty.txt").touch()
    (folder / "white.txt").write_bytes(b" \n\t")
    (folder / "short.txt").write_bytes(b"short")
    (folder / "invalid.txt").write_bytes(b"a long enough text, and then \xff\n")
    (folder / "truncated.txt.gz").write_bytes(gzip.compress(noise, mtime=0)[:-20])
    (folder / "truncated.txt.zst").write_bytes(zstd(noise)[:-20])
    (folder / "small-truncated.txt.zst").write_bytes(zstd(TEXT * 5)[:-5])
    (folder / "bomb.txt.gz").write_bytes(gzip.compress(bytes(70_000_000), mtime=0))
    (folder / "not.txt.xz").write_bytes(b"no archive")
    os.mkfifo(folder / "pipe.txt")
    with socket.socket(socket.AF_UNIX) as listening:
        here = Path.cwd()
        os.chdir(folder)  # the path of a socket has 108 bytes at most
        listening.bind("socket.txt")
        os.chdir(here)
    (folder / "ignored.pdf").write_bytes(b"of another kind")
    return {
        "deep/up": {"linked folder, not followed": 1},
        "circle.txt": {"unreadable: Too many levels of symbolic links": 1},
        "dangling.txt": {"unreadable: No such file or directory": 1},
        "empty.txt": {"empty": 1},
        "white.txt": {"empty": 1},
        "short.txt": {"too short": 1},
        "invalid.txt": {"invalid UTF-8": 1},
        "truncated.txt.gz": {"truncated gzip": 1},
        "truncated.txt.zst": {"truncated zstd": 1},
        "small-truncated.txt.zst": {"truncated zstd": 1},
        "bomb.txt.gz": {"decompresses to more than 200 times its size and 64 MB": 1},
        "not.txt.xz": {"damaged xz": 1},
        "pipe.txt": {"not a file: FIFO": 1},
        "socket.txt": {"not a file: socket": 1},
    }


def test_text_files_with_every_fault_are_accounted_for(tmp_path):
    program = Program(tmp_path, {"kind": "txt"}, max_document_bytes=LIMIT)
    expected = plant_txt(program.data)
    line = b"x" * (3 * LIMIT + 50)
    (program.data / "line.txt").write_bytes(line)  # one line longer than a document may be
    done = program.run()
    assert done.returncode == 0, done.stderr
    manifest = program.manifest()
    assert program.lost() == expected
    kept = Counter(row["doc"].partition("#")[0] for row in program.rows())
    good = ["good.txt", "same.txt", "good.md.gz", "name\nwith a newline.txt", "linked.txt", "latin-\\xe9.txt"]
    assert kept == dict.fromkeys(good, 1) | {"line.txt": 4}
    totals = manifest["totals"]
    assert totals["files"] == len(expected) + len(good) + 1
    assert totals["documents"] == len(good) + 4
    assert totals["cut"] == 3
    assert totals["lost"] == dict(sorted(sum(map(Counter, expected.values()), Counter()).items()))
    assert "".join(row["text"] for row in program.rows() if row["doc"].startswith("line.txt")) == line.decode()
    assert manifest["totals"]["bytes_kept"] == sum(len(row["text"].encode()) for row in program.rows())


def test_names_that_are_shown_alike_are_two_files(tmp_path):
    program = Program(tmp_path, {"kind": "txt"})
    for name in (b"\xff.txt", rb"\xff.txt"):
        Path(os.fsdecode(os.path.join(os.fsencode(program.data), name))).write_bytes(TEXT + repr(name).encode())  # noqa: PTH118 - bytes
    assert program.run().returncode == 0
    assert [(file["file"], file["documents"]) for file in program.manifest()["files"]] == [(r"\xff.txt", 1)] * 2


def record(number: int) -> bytes:
    return json.dumps({"text": f"a happy record that is long enough, number {number}"}).encode()


def test_json_files_with_every_fault_are_accounted_for(tmp_path):
    program = Program(tmp_path, {"kind": "json"}, max_document_bytes=LIMIT)
    many = [record(number) for number in range(4000)]  # 270 kB: in blocks
    files = {
        "lines.jsonl": (b"\n".join([*many[:9], b'{"text": ', b'{"id": 1}', *many[9:]]), 4000, BOTH),
        "array.json": (b"[%s]" % b", ".join([*many, b'{"id": 1}']), 4000, "no text key"),
        "broken.json": (b"[%s" % b",".join([*many[:3000], b"{oops}", *many[3000:]]), 3000, "malformed JSON"),
        "cut.json": (b"[%s" % b",".join(many)[:-3], 3999, "malformed JSON"),
        "small-cut.json": (b"[%s" % b",".join(many[:10])[:-3], 9, "malformed JSON"),
        "invalid.json": (b'[%s,{"text": "invalid \xff but long enough"}]' % many[0], 1, "invalid UTF-8"),
        "deep.json": (b"[" * 300_000 + b"]" * 300_000, 0, "JSON nested too deeply"),
        "small-deep.json": (b"[" * 9000 + b"]" * 9000, 0, "JSON nested too deeply"),
        "no-keys.json": (b'{"id": 1, "note": {"x": [1, 2]}}', 0, "no text key"),
        "object.json": (b'{"items": [%s]}' % b",".join(many), 0, LARGE),
        "long-line.jsonl": (b'{"text": "%s"}\n%s' % (b"x" * 500_000, many[0]), 1, LARGE),
        "empty.json": (b"", 0, "empty"),
        "surrogate.jsonl": (rb'{"text": "a lone \ud800 surrogate in a text"}', 0, "invalid UTF-8"),
    }  # fmt: skip
    for name, (data, _, _) in files.items():
        (program.data / name).write_bytes(data)
    done = program.run()
    assert done.returncode == 0, done.stderr
    assert {file["file"]: file["documents"] for file in program.manifest()["files"]} == {
        name: documents for name, (_, documents, _) in files.items()
    }
    assert program.lost() == {name: dict.fromkeys(reason.split(" + "), 1) for name, (_, _, reason) in files.items()}
    rows = Counter(row["doc"].partition("#")[0] for row in program.rows())
    assert rows == {name: documents for name, (_, documents, _) in files.items() if documents}


@pytest.mark.parametrize(
    ("source", "name", "data", "place"),
    [
        ("json", "b.jsonl", record(1) + b"\n\n{oops\n", "line 3: malformed JSON"),
        ("json", "b.json", b"[%s, 7]" % record(1), "item 2: no text key"),
        ("txt", "b.txt", b"long enough, but \xff", "document 1, byte 17 of its text: invalid UTF-8"),
        ("txt", "b.txt.gz", gzip.compress(TEXT, mtime=0)[:-1], "truncated gzip"),
    ],
)
def test_on_bad_file_fail_stops_at_the_first_that_is_met_with_its_name_and_place(tmp_path, source, name, data, place):
    program = Program(tmp_path, {"kind": source}, on_bad_file="fail")
    good = {"json": ("a.jsonl", record(0)), "txt": ("a.txt", TEXT)}[source]
    for file, content in (good, (name, data), (f"c{name}", data)):
        (program.data / file).write_bytes(content)
    done = program.run()
    assert done.returncode == 1
    (said,) = done.stderr.splitlines()
    assert f": {place}. Fix or remove the file" in said
    assert said.startswith((f"error: {name}:", f"error: c{name}:"))
    assert program.run().stderr.splitlines() == [said], "the same one each time"
    assert not (tmp_path / "data/extracted").exists() or not list((tmp_path / "data/extracted").iterdir())


@pytest.mark.parametrize("times", [1, 2 * LIMIT // len(TEXT)])
def test_a_file_without_permission_is_counted(tmp_path, times):
    """Where tests run as root, who may read everything, the program runs without that right."""
    program = Program(tmp_path, {"kind": "txt"}, max_document_bytes=LIMIT)
    for name in ("good.txt", "secret.txt"):
        (program.data / name).write_bytes(TEXT * times)
    (program.data / "secret.txt").chmod(0)
    done = program.run(prefix=unprivileged(program.data / "secret.txt"))
    assert done.returncode == 0, done.stderr
    assert program.lost() == {"secret.txt": {"unreadable: Permission denied": 1}}
    if not os.access(program.data / "secret.txt", os.R_OK):
        (program.data / "secret.txt").chmod(0o600)
    assert program.run().returncode == 0
    assert program.lost() == {}, "what could not be read is tried again, though the file may be as it was"

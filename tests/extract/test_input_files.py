"""Which files of a folder are read, what is said of the others, and when a loss is worth a warning."""

import json
import os
from pathlib import Path

import pytest

from aura.core.errors import UserError
from aura.extract.losses import remedy
from aura.one_shot.loaders import load_json_corpus, load_text_corpus, read_documents
from aura.project import source_folders
from aura.sources.documents.regular_files import of_the_system, read_regular
from aura.sources.input_files import HIDDEN, LEADS_OUT
from aura.sources.listing import list_files
from aura.sources.options import JsonSource, TxtSource
from tests.extract.program import Program

LINE = json.dumps({"text": "a record that is surely long enough to be kept"}).encode() + b"\n"
TEXT = b"a document that is surely long enough to be kept\n"


def put(folder: Path, *names: str, data: bytes = TEXT) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def test_the_suffixes_of_json_lines_are_read_in_any_case(tmp_path):
    put(tmp_path, "a.ndjson", "b.JSONLINES", "c.jsonl.bz2.no", "d.NDJSON", data=LINE)
    assert len(load_json_corpus(tmp_path)) == 3


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a.csv", "turn tables into Parquet"),
        ("a.tsv.gz", "turn tables into Parquet"),
        ("CC-MAIN.warc.wet.gz", "take the text out of WARC records"),
        ("a.warc", "take the text out of WARC records"),
        ("a.zip", "zip://::FILE.zip"),
        ("a.tar.gz", "tar -xf"),
        ("a.7z", "7z x"),
        ("a.html", "turn them into .txt with trafilatura"),
        ("a.pdf", "turn them into .txt with pdftotext"),
        ("a.docx", "turn them into .txt with pandoc"),
        ("AA/wiki_00", '--kind json (or txt, parquet) --glob "**/*"'),
        ("a.rst", '--kind txt --glob "**/*.rst"'),
        (".git/config.txt", "nothing but 1 hidden files or folders"),
    ],
)
def test_a_folder_without_such_files_says_what_to_do(tmp_path, name, words):
    put(tmp_path, name)
    for attempt in (
        lambda: list_files(TxtSource(kind="txt", path=str(tmp_path))),
        lambda: source_folders.kind_of(str(tmp_path)),
        lambda: source_folders.source_files("parquet", tmp_path, None),
    ):
        with pytest.raises(UserError) as caught:
            attempt()
        assert words in str(caught.value)


def test_files_without_a_suffix_are_read_by_kind_and_glob(tmp_path):
    put(tmp_path, "AA/wiki_00", "AB/wiki_01", data=LINE)
    source = JsonSource(kind="json", path=str(tmp_path), glob="**/wiki_*")
    assert [file.name for file in list_files(source)] == ["AA/wiki_00", "AB/wiki_01"]


def test_hidden_files_and_folders_are_left_out_and_counted(tmp_path):
    program = Program(tmp_path, {"kind": "txt"}, on_bad_file="fail")
    hidden = [".git", ".ipynb_checkpoints", "._a.txt", "~$a.txt", "deep/.b.txt"]
    put(program.data, "a.txt", ".git/x.txt", ".git/y.txt", ".ipynb_checkpoints/a.txt", *hidden[2:], ".DS_Store")
    done = program.run()
    assert done.returncode == 0, done.stderr
    assert program.lost() == {name: {HIDDEN: 1} for name in hidden}
    assert [row["doc"] for row in program.rows()] == ["a.txt"]
    assert "warning" not in done.stderr
    files = list_files(TxtSource(kind="txt", path=str(program.data), glob=".git/*.txt"))
    assert [file.name for file in files if not file.problem] == [".git/x.txt", ".git/y.txt"], "asked for by name"
    assert source_folders.count(source_folders.source_files("txt", program.data, None)) == 1
    listed = source_folders.source_files("txt", program.data, None)
    assert source_folders.left_aside(str(program.data), listed) == f" (not read: 6 {HIDDEN})"


def test_a_file_in_memory_is_a_file():
    assert of_the_system("/dev/shm/corpus/a.txt") == ""  # noqa: S108 - a path in words
    assert of_the_system("/dev/shm") == of_the_system("/dev/mem") == "not a file: /dev"  # noqa: S108


def test_links_that_leave_the_source_are_not_followed_unless_allowed(tmp_path):
    program = Program(tmp_path, {"kind": "txt"})
    secret = put(tmp_path / "elsewhere", "key.txt", data=b"a private key that must not be read by anybody") / "key.txt"
    put(program.data, "a.txt")
    (program.data / "inside.txt").symlink_to("a.txt")
    (program.data / "out.txt").symlink_to(secret)
    (program.data / "twice.txt").symlink_to(program.data / "out.txt")
    for name in ("/proc/kmsg", "/dev/zero", "/proc/self/environ"):
        (program.data / f"{name.replace('/', '_')}.txt").symlink_to(name)
    os.mkfifo(tmp_path / "elsewhere/pipe")
    (program.data / "pipe.txt").symlink_to(tmp_path / "elsewhere/pipe")
    never = {
        "_dev_zero.txt": {"not a file: device": 1},
        "_proc_kmsg.txt": {"not a file: /proc": 1},
        "_proc_self_environ.txt": {"not a file: /proc": 1},
        "pipe.txt": {"not a file: FIFO": 1},
    }
    done = program.run()
    assert done.returncode == 0, done.stderr
    assert program.lost() == never | {"out.txt": {LEADS_OUT: 1}, "twice.txt": {LEADS_OUT: 1}}
    assert "links: anywhere" in done.stderr
    (tmp_path / "params.yaml").write_text(
        (tmp_path / "params.yaml").read_text().replace("kind: txt", "kind: txt\n      links: anywhere")
    )
    assert program.run().returncode == 0
    assert program.lost() == never
    assert sum("private key" in row["text"] for row in program.rows()) == 2


def test_a_file_that_becomes_a_fifo_does_not_hang(tmp_path):
    put(tmp_path, "a.txt")
    [file] = list_files(TxtSource(kind="txt", path=str(tmp_path)))
    (tmp_path / "a.txt").unlink()
    os.mkfifo(tmp_path / "a.txt")
    assert file.fingerprint() == ("unreadable: not a file: FIFO", 0)


def test_a_loss_above_a_tenth_is_warned_of_with_its_reasons_and_a_remedy(tmp_path):
    program = Program(tmp_path, {"kind": "txt"})
    put(program.data, *(f"good-{number}.txt" for number in range(20)))
    put(program.data, *(f"latin-{number}.txt" for number in range(8)), data=b"caf\xe9 au lait, et un texte assez long")
    put(program.data, *(f"short-{number}.txt" for number in range(9)), data=b"short")
    done = program.run()
    assert done.returncode == 0
    said = done.stderr.splitlines()
    assert said[0].startswith("warning: source mine lost 22% of its records")
    assert "8 invalid UTF-8" in said[0]
    assert "short" not in said[0]
    assert [line.split()[1] for line in said[1:6]] == [f"latin-{number}.txt" for number in range(5)]
    assert said[6].startswith("warning: 3 more files")
    assert "encoding: cp1252" in said[7]
    assert len(said) == 8
    warned = program.manifest()["warnings"]
    assert warned["files_above_a_tenth"] == 8
    assert warned["source"] == {
        "records": round(8 / 37, 4),
        "bytes": pytest.approx(0.2, abs=0.1),
        "reasons": {"invalid UTF-8": 8},
    }
    assert len(warned["worst"]) == 5


def test_what_is_meant_to_go_is_no_reason_to_warn(tmp_path):
    program = Program(tmp_path, {"kind": "txt", "documents": "line"})
    put(program.data, "a.txt", data=(TEXT * 40 + b"no\n" * 30) * 5)  # 43 % of the lines, and 4 % of the bytes
    put(program.data, "empty.txt", "white.txt", data=b" \n")
    done = program.run()
    assert done.returncode == 0
    assert done.stderr == ""
    assert "warnings" not in program.manifest()
    put(program.data, "b.txt", data=b"verse, too short\n" * 1000)
    said = program.run().stderr
    assert "source mine lost" in said
    assert "too short: lower extract.min_chars" in said


def test_one_large_document_among_many_small_ones_is_a_loss_of_bytes(tmp_path):
    program = Program(tmp_path, {"kind": "txt", "documents": "line"})
    put(program.data, "a.txt", data=TEXT * 100 + b"x" * 9000 + b"\xff\n")
    said = program.run().stderr
    assert "source mine lost 1% of its records, 65% of its bytes: 1 invalid UTF-8" in said


def test_what_is_read_into_memory_is_refused_for_the_reasons_of_extraction(tmp_path):
    put(tmp_path, "a.json", data=b"<!DOCTYPE html><html>")
    put(tmp_path, "b.json", data=b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    (tmp_path / "c.json").symlink_to("nowhere.json")
    source = JsonSource(kind="json", path=str(tmp_path))
    found = [lost.reason for _, lost in read_documents(source) if not isinstance(lost, str)]
    assert found == [
        "HTML page, not JSON: download it again",
        "Git LFS pointer, not the file: run git lfs pull",
        "unreadable: No such file or directory",
    ]


def test_what_warnings_advise_can_be_given_to_the_loaders_too(tmp_path):
    outside = put(tmp_path / "outside", "a.txt", data=b"caf\xe9")
    inside = put(tmp_path / "inside", "b.txt")
    (inside / "a.txt").symlink_to(outside / "a.txt")
    assert len(load_text_corpus(inside)) == 1
    assert load_text_corpus(inside, encoding="cp1252", follow_links=True)[0][0] == "café"
    with pytest.raises(UserError, match="encoding"):
        load_text_corpus(inside, encoding="no such")
    put(inside, "a.json", data=b'{"text": "caf\xe9", "more": {"text": "inner"}}')
    texts = [text for text, _ in load_json_corpus(inside, nested=True, encoding="cp1252")]
    assert texts == ["café", "inner"]


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        ("damaged Parquet", "write them again from what"),
        ("encrypted Parquet", "without encryption"),
        ("decompresses to more than 200 times its size and 64 MB", "Parquet: write it again"),
        ("gzip with other bytes behind its end", "cut off what is not gzip"),
        ("zstd with other bytes behind its end", "cut off what is not zstd"),
        ("zstd of a version before 0.8", "that version of zstd"),
        ("damaged gzip", "gzip -t"),
        ("invalid UTF-8", "--encoding cp1252"),
        (LEADS_OUT, "--follow_links"),
        ("no text key", "--text_key"),
    ],
)
def test_a_remedy_is_that_of_its_own_reason(reason, advice):
    assert advice in remedy(reason)


def test_a_whole_file_is_read_whatever_its_size_is_said_to_be(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 3_000_001)
    (tmp_path / "empty").touch()
    for place in (tmp_path / "a", tmp_path / "empty", Path("/proc/version")):  # the last says that it has no bytes
        assert read_regular(place) == place.read_bytes()
    with pytest.raises(OSError, match="folder"):
        read_regular(tmp_path)

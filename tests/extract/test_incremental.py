"""Extraction with a cache: the bytes of a build from scratch, for the work of the files that changed."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from aura.core.errors import UserError
from aura.corpus import shards
from aura.corpus.shards import ShardWriter
from aura.extract import assembly
from aura.extract import extract as extraction
from aura.extract.assembly import shard_count
from aura.extract.extract import TRANSFORMS, Work, extract
from aura.project import whole_params
from aura.sources import input_files, pins
from aura.sources.options import JsonSource, TxtSource
from aura.storage.cache import Cache
from tests.conftest import REPOSITORY

SOURCES = {
    "file": TxtSource(kind="txt", path="", documents="file"),
    "line": TxtSource(kind="txt", path="", documents="line"),
    "json": JsonSource(kind="json", path=""),
    "large": TxtSource(kind="txt", path="", documents="line"),
}
LARGE = {"max_document_bytes": 10_000}  # files of 1200 lines are cut into some chunks


def build(folder: Path, out: Path, cache: Path, kind: str = "file", **changes: Any) -> Work:
    found = whole_params.load(REPOSITORY / "params.yaml").extract
    chosen = {"lexicon": str(REPOSITORY / found.lexicon), "shards": 4, "min_chars": 5, **changes}
    chosen |= LARGE if kind == "large" else {}
    source = SOURCES[kind].model_copy(update={"path": str(folder)})
    return extract("mine", source, found.model_copy(update=chosen), out, Cache(cache))[1]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def write(folder: Path, number: int, version: int = 0, kind: str = "file") -> Path:
    """Write file `number` of a folder; its content is a function of the number and a version."""
    path = folder / f"{number % 7}" / f"{number}.{'jsonl' if kind == 'json' else 'txt'}"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"a happy line {line} of {number}, version {version}" for line in range(1200 if number % 40 == 0 else 3)]
    texts = [json.dumps({"text": line}) for line in lines] if kind == "json" else lines
    path.write_text("\n".join(texts), encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(700):
        write(tmp_path / "in", number)
    return tmp_path / "in"


EDIT = st.tuples(st.sampled_from(["add", "change", "rename", "remove", "break"]), st.integers(0, 119))


@pytest.mark.parametrize("kind", SOURCES)
@settings(max_examples=12, deadline=None)
@given(rounds=st.lists(st.lists(EDIT, min_size=1, max_size=6), min_size=2, max_size=4))
def test_after_any_edits_a_cached_build_equals_one_from_scratch(tmp_path_factory, kind, rounds):
    tmp_path = tmp_path_factory.mktemp("edits")
    folder, version = tmp_path / "in", 0
    for number in range(60):
        write(folder, number, kind=kind)
    build(folder, tmp_path / "out", tmp_path / "cache", kind)
    for edits in rounds:
        for edit, number in edits:
            version += 1
            present = sorted(path for path in folder.rglob("*") if path.is_file())
            victim = present[number % len(present)]
            match edit:
                case "add":
                    write(folder, number, version, kind)
                case "change":
                    write(folder, int(victim.stem.partition("-")[0]), version, kind)
                case "rename":
                    victim.rename(victim.with_stem(f"{number}-{version}"))
                case "remove" if len(present) > 1:
                    victim.unlink()
                case "break":
                    victim.write_bytes(b"" if version % 2 else b"\xff\xfe\xff")
        write(folder, 1, 0, kind)  # something readable is left
        build(folder, tmp_path / "out", tmp_path / "cache", kind)
        build(folder, tmp_path / "scratch", tmp_path / f"cache-{version}", kind)
        assert contents(tmp_path / "out") == contents(tmp_path / "scratch")


def test_only_what_changed_is_done_again(folder, tmp_path):
    assert build(folder, tmp_path / "out", tmp_path / "cache") == Work(700, 4)
    before = contents(tmp_path / "out")
    assert build(folder, tmp_path / "out", tmp_path / "cache") == Work(0, 0)
    assert contents(tmp_path / "out") == before
    for number in (5, 300, 699):
        write(folder, number, version=1)
    work = build(folder, tmp_path / "out", tmp_path / "cache")
    assert work.files_extracted == 3
    assert work.shards_written <= 3
    for number in (5, 300, 699):
        write(folder, number)
    assert build(folder, tmp_path / "out", tmp_path / "cache") == Work(0, 0), "an old state is still known"
    assert contents(tmp_path / "out") == before


def test_a_file_more_or_less_is_one_file_to_extract(folder, tmp_path):
    """A file's shard is fixed by its name: files that come and go do not shift the others."""
    build(folder, tmp_path / "out", tmp_path / "cache")
    rng, extracted = random.Random(0), []  # noqa: S311 - names, not secrets
    for number in range(20):
        (folder / f"{number % 7}/{rng.random()}.txt").write_text("a new document here", encoding="utf-8")
        (folder / f"{number % 7}/{number + 100}.txt").unlink(missing_ok=True)
        extracted.append(build(folder, tmp_path / "out", tmp_path / "cache").files_extracted)
    assert extracted == [1] * 20


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if all files had been written long ago."""
    monkeypatch.setattr(input_files, "_COARSEST_CLOCK", 0)


@pytest.mark.usefixtures("settled")
def test_no_file_is_opened_whose_stamp_is_as_it_was(folder, tmp_path, monkeypatch):
    build(folder, tmp_path / "out", tmp_path / "cache")
    write(folder, 5, version=1)
    opened: list[str] = []
    hash_file = input_files.hash_file
    monkeypatch.setattr(input_files, "hash_file", lambda path: opened.append(Path(path).name) or hash_file(path))
    assert build(folder, tmp_path / "out", tmp_path / "cache") == Work(1, 1)
    assert opened == ["5.txt"]
    assert build(folder, tmp_path / "out", tmp_path / "cache") == Work(0, 0)
    assert opened == ["5.txt"]


@pytest.mark.usefixtures("settled")
def test_a_pin_is_written_and_compared_without_opening_files_twice(folder, tmp_path, monkeypatch):
    cache, pin, opened = Cache(tmp_path / "cache"), tmp_path / "mine.pin.json", list[str]()
    hash_file = input_files.hash_file
    monkeypatch.setattr(input_files, "hash_file", lambda path: opened.append(Path(path).name) or hash_file(path))

    def files() -> list[input_files.InputFile]:
        return pins.with_digests(input_files.files_below(folder, input_files.chosen_by("txt", None)), cache)

    pins.write(pin, folder, files())
    assert len(opened) == 700
    opened.clear()
    pins.require_current(pin, files())
    assert opened == []
    write(folder, 5, version=1)
    with pytest.raises(UserError, match=r"changed 5/5\.txt"):
        pins.require_current(pin, files())
    pins.write(pin, folder, files())
    pins.require_current(pin, files())
    assert opened == ["5.txt"]


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("kind", ["file", "large"])
def test_a_pinned_file_that_changes_while_it_is_read_stops_the_run_and_leaves_no_trace(tmp_path, monkeypatch, kind):
    """Else the cache, and DVC, would know another text under the hash that the pin has."""
    folder, pin = tmp_path / "in", tmp_path / "mine.pin.json"
    for number in (39, 40):
        write(folder, number)
    pins.write(pin, folder, input_files.files_below(folder, input_files.chosen_by("txt", None)))
    list_files = extraction.list_files

    def listed(*arguments: Any) -> list[input_files.InputFile]:
        found = list_files(*arguments)
        write(folder, 40, version=1)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(extraction, "list_files", listed)
        with pytest.raises(UserError, match=r"40\.txt changed while it was read"):
            build(pin, tmp_path / "out", tmp_path / "cache", kind)
    write(folder, 40)
    build(pin, tmp_path / "out", tmp_path / "cache", kind)
    build(pin, tmp_path / "scratch", tmp_path / "cache-2", kind)
    assert contents(tmp_path / "out") == contents(tmp_path / "scratch")


def test_the_bad_file_that_stops_a_run_is_the_same_whatever_the_cache_has(folder, tmp_path):
    names = {assembly._number(name, 4): name for name in (f"{number}.txt" for number in range(100))}
    (folder / names[3]).write_bytes(b"\xff\xfe\xff")
    build(folder, tmp_path / "out", tmp_path / "cache")
    (folder / names[0]).write_bytes(b"\xff\xfe\xff")
    for cache in ("cache", "cache-2"):
        with pytest.raises(UserError, match=f"^{names[0]}: "):
            build(folder, tmp_path / "out", tmp_path / cache, on_bad_file="fail")


def test_files_that_are_shown_alike_may_change_places(tmp_path, monkeypatch):
    """Their rows in the latest shard, in several row groups, are then copied in another order."""
    monkeypatch.setattr(shards, "GROUP_DOCUMENTS", 2)
    names = [os.fsdecode(name) for name in (b"\xff.txt", rb"\xff.txt")]
    texts = ["\n".join(f"{adjective} line {number}" for number in range(5)) for adjective in ("a happy", "a merry")]
    (tmp_path / "in").mkdir()
    for order in (texts, texts[::-1], [texts[1], "another line"]):
        for name, text in zip(names, order, strict=True):
            (tmp_path / "in" / name).write_text(text, encoding="utf-8")
        build(tmp_path / "in", tmp_path / "out", tmp_path / "cache", "line")
        shutil.rmtree(tmp_path / "scratch", ignore_errors=True)
        build(tmp_path / "in", tmp_path / "scratch", tmp_path / f"cache-{order[1][:7]}", "line")
        assert contents(tmp_path / "out") == contents(tmp_path / "scratch")


def test_a_shard_written_again_does_not_alter_what_is_kept_of_it(tmp_path):
    """As by a Dask worker that repeats what another did before it went."""
    write(tmp_path / "in", 1)
    build(tmp_path / "in", tmp_path / "out", tmp_path / "cache", shards=1)
    (kept,) = (tmp_path / "cache").glob("[0-9a-f][0-9a-f]/*.parquet")
    before, link = kept.read_bytes(), tmp_path / "0000.parquet"
    link.hardlink_to(kept)
    writer = ShardWriter(link)
    for _ in range(2):
        writer.add(pq.read_table(kept))
    writer.close()
    assert kept.read_bytes() == before != link.read_bytes()


@pytest.mark.usefixtures("settled")
def test_a_file_that_looks_as_it_was_is_noticed(folder, tmp_path):
    """Its size and its time of modification are the same, as after `rsync --times` or `tar -x`."""
    (folder / "0/7.txt").write_text("a happy document here", encoding="utf-8")
    before = (folder / "0/7.txt").stat()
    build(folder, tmp_path / "out", tmp_path / "cache")
    (folder / "0/7.txt").write_text("a merry document here", encoding="utf-8")
    os.utime(folder / "0/7.txt", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert build(folder, tmp_path / "out", tmp_path / "cache").files_extracted == 1
    build(folder, tmp_path / "scratch", tmp_path / "cache-2")
    assert contents(tmp_path / "out") == contents(tmp_path / "scratch")


def test_a_file_written_a_moment_ago_has_no_stamp(folder, monkeypatch):
    """It may be written again in the same tick of the file system's clock."""
    (path,) = (folder / "0").glob("7.txt")
    assert input_files.input_file("7.txt", str(path)).stamp == 0
    monkeypatch.setattr(input_files, "_COARSEST_CLOCK", 0)
    assert input_files.input_file("7.txt", str(path)).stamp != 0
    assert input_files.input_file("7.txt", str(folder / "absent")).stamp == 0


@pytest.mark.parametrize("kind", ["file", "large"])
def test_with_twice_the_shards_nothing_is_extracted_again(folder, tmp_path, kind):
    build(folder, tmp_path / "out", tmp_path / "cache", kind, shards=4)
    assert build(folder, tmp_path / "out", tmp_path / "cache", kind, shards=8) == Work(0, 8)
    build(folder, tmp_path / "scratch", tmp_path / "cache-2", kind, shards=8)
    assert contents(tmp_path / "out") == contents(tmp_path / "scratch")


def test_shards_are_as_many_as_the_files_need():
    assert [shard_count("auto", size * 10**6) for size in (0, 138, 161, 553, 50_000)] == [16, 16, 32, 64, 4096]
    assert [shard_count("auto", size * 10**12) for size in (1, 2, 100)] == [4096, 8192, 524_288]
    assert shard_count(5, 10**12) == 5


def test_a_moved_folder_is_known(folder, tmp_path):
    build(folder, tmp_path / "out", tmp_path / "cache")
    folder.rename(tmp_path / "elsewhere")
    assert build(tmp_path / "elsewhere", tmp_path / "out", tmp_path / "cache") == Work(0, 0)


@pytest.mark.parametrize("change", [{"min_chars": 6}, {"invalid_text": "replace"}, {"shards": 5}, {"lexicon": "mine"}])
def test_another_option_misses(folder, tmp_path, change):
    build(folder, tmp_path / "out", tmp_path / "cache")
    if "lexicon" in change:
        (tmp_path / "mine").write_text("happy\tsadness\n", encoding="utf-8")
        change = {"lexicon": str(tmp_path / "mine")}
    assert build(folder, tmp_path / "out", tmp_path / "cache", **change).files_extracted == 700
    build(folder, tmp_path / "scratch", tmp_path / "cache-2", **change)
    assert contents(tmp_path / "out") == contents(tmp_path / "scratch")


def test_other_code_misses(folder, tmp_path):
    """A copy of the code that differs in a comment, on the same cache."""
    build(folder, tmp_path / "out", tmp_path / "cache")
    copied = shutil.ignore_patterns("__pycache__")
    for name in ("aura", "tests"):
        shutil.copytree(REPOSITORY / name, tmp_path / "code" / name, ignore=copied)
    shutil.copy(REPOSITORY / "params.yaml", tmp_path / "code")
    program = (
        "import sys; from pathlib import Path; from tests.extract.test_incremental import build\n"
        "if __name__ == '__main__': print(build(*map(Path, sys.argv[1:])).files_extracted)"
    )

    def extracted() -> str:
        return subprocess.run(
            [sys.executable, "-c", program, folder, tmp_path / "out", tmp_path / "cache"],
            cwd=tmp_path / "code", env=os.environ | {"PYTHONPATH": "."}, check=True, capture_output=True, text=True,
        ).stdout.strip()  # fmt: skip

    assert extracted() == "0"
    with (tmp_path / "code/aura/extract/cleaning.py").open("a") as file:
        file.write("# another thought\n")
    assert extracted() == "700"


def test_the_code_in_the_key_is_the_code_the_stage_depends_on():
    deps = YAML(typ="safe").load(REPOSITORY / "dvc.yaml")["stages"]["extract"]["do"]["deps"]
    folders = [REPOSITORY / dep for dep in deps if dep in ("aura/corpus", "aura/extract", "aura/sources")]
    listed = {path for folder in folders for path in folder.rglob("*.py") if path.name != "__init__.py"}
    # These look into no file: a pin says that a folder is as it was, and a dataset's rows are files by the time they
    # are extracted; warnings and advice are made of what was counted; the options' values are in the key themselves.
    idle = {"addresses", "bucket", "copies", "dataset_files", "hub", "hub_files", "listing", "losses", "materialise"}
    idle |= {"options", "other_suffixes", "pins", "url_pins"}
    idle |= {"set_hash"}  # hashes the corpus that `select` makes
    listed = {path for path in listed if path.stem not in idle}
    listed |= {REPOSITORY / "aura/core/unicode.py"}  # of the folder core, this alone decides what a text becomes
    assert {Path(str(module.__file__)) for module in TRANSFORMS} == listed


def test_libraries_in_the_key_are_those_the_stage_depends_on():
    stages = YAML(typ="safe").load(REPOSITORY / "dvc.yaml")["stages"]
    (versions,) = [entry["versions.json"] for entry in stages["extract"]["do"]["params"] if isinstance(entry, dict)]
    assert list(extraction.LIBRARIES) == versions


def test_damaged_entries_are_noticed_and_made_again(folder, tmp_path):
    build(folder, tmp_path / "out", tmp_path / "cache")
    before, rng = contents(tmp_path / "out"), random.Random(0)  # noqa: S311 - places, not secrets
    for _ in range(4):
        entries = [path for path in (tmp_path / "cache").glob("*/*") if path.parent.name != "partial"]
        for path in rng.sample(entries, len(entries) * 2 // 3):
            data = bytearray(path.read_bytes())
            data[rng.randrange(len(data))] ^= 1 + rng.randrange(255)
            path.write_bytes(data)
        write(folder, rng.randrange(700), version=0)
        build(folder, tmp_path / "out", tmp_path / "cache")
        assert contents(tmp_path / "out") == before
        assert build(folder, tmp_path / "out", tmp_path / "cache") == Work(0, 0)


def test_an_entry_with_damage_behind_its_header_is_made_again(folder, tmp_path):
    """Its header is whole, so it is found; its rows are not, which shows only when a shard needs them."""
    build(folder, tmp_path / "out", tmp_path / "cache")
    before = contents(tmp_path / "out")
    for path in (tmp_path / "cache").glob("[0-9a-f][0-9a-f]/*"):
        data = path.read_bytes()
        if b'"parquet"' in data[:100]:
            path.unlink()
        elif len(data) > 1000:
            path.write_bytes(data[:-9] + b"!" + data[-8:])
    assert build(folder, tmp_path / "out", tmp_path / "cache").files_extracted > 0
    assert contents(tmp_path / "out") == before


def test_with_no_room_at_all_the_result_is_the_same(folder, tmp_path):
    build(folder, tmp_path / "out", tmp_path / "cache")
    before = contents(tmp_path / "out")
    Cache(tmp_path / "cache").prune(0)
    assert Cache(tmp_path / "cache").stats().bytes == 0
    assert build(folder, tmp_path / "out", tmp_path / "cache") == Work(700, 4)
    assert contents(tmp_path / "out") == before


def test_work_done_before_a_kill_is_not_done_again(folder, tmp_path):
    """The whole process group is killed when a part of the shards is kept; the next run makes the rest."""
    for number in range(12_000):
        write(folder, number)
    program = (
        "import sys; from pathlib import Path; from tests.extract.test_incremental import build\n"
        "if __name__ == '__main__': build(*map(Path, sys.argv[1:]), shards=64)"
    )
    command = [sys.executable, "-c", program, folder, tmp_path / "out", tmp_path / "cache"]
    with subprocess.Popen(command, cwd=REPOSITORY, start_new_session=True) as running:
        while Cache(tmp_path / "cache").stats().entries < 3 * 10:  # three entries a shard
            assert running.poll() is None, "ended before it could be killed"
            time.sleep(0.005)
        os.killpg(running.pid, signal.SIGKILL)
    assert not (tmp_path / "out").exists()
    done = Cache(tmp_path / "cache").stats().entries // 3
    work = build(folder, tmp_path / "out", tmp_path / "cache", shards=64)
    assert work.shards_written <= 64 - done
    assert work.files_extracted < 12_000 - 100 * done
    build(folder, tmp_path / "scratch", tmp_path / "cache-2", shards=64)
    assert contents(tmp_path / "out") == contents(tmp_path / "scratch")


def test_two_runs_at_once_share_a_cache(folder, tmp_path):
    program = (
        "import sys; from pathlib import Path; from tests.extract.test_incremental import build\n"
        "if __name__ == '__main__': build(*map(Path, sys.argv[1:]))"
    )
    shutil.copytree(folder, tmp_path / "other")
    for number in range(0, 700, 3):
        write(tmp_path / "other", number, version=1)
    command = [sys.executable, "-c", program]
    runs = [
        subprocess.Popen([*command, tmp_path / where, tmp_path / f"out-{where}", tmp_path / "cache"], cwd=REPOSITORY)
        for where in ("in", "other")
    ]
    assert [run.wait() for run in runs] == [0, 0]
    for where in ("in", "other"):
        build(tmp_path / where, tmp_path / "scratch", tmp_path / f"cache-{where}")
        assert contents(tmp_path / f"out-{where}") == contents(tmp_path / "scratch")

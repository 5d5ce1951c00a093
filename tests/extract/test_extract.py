import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from aura.core import checksums
from aura.core.errors import UserError
from aura.extract.extract import extract
from aura.extract.options import Extract
from aura.project import whole_params
from aura.sources.input_files import chosen_by, files_below
from aura.sources.options import TxtSource
from aura.sources.pins import require_current, write
from aura.storage.cache import Cache
from tests.conftest import REPOSITORY


def settings(**changes: object) -> Extract:
    found = whole_params.load(REPOSITORY / "params.yaml").extract
    return found.model_copy(update={"lexicon": str(REPOSITORY / found.lexicon), "shards": 4, **changes})


def run(folder: Path, out: Path, documents: str = "file", **changes: object) -> dict[str, object]:
    source = TxtSource.model_validate({"kind": "txt", "path": str(folder), "documents": documents})
    return extract("mine", source, settings(**changes), out, Cache(out.with_name(f"{out.name}-cache")))[0]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def rows(folder: Path) -> list[dict[str, object]]:
    return [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "txt"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number}.txt").write_text(f"a happy document with the number {number}\n", encoding="utf-8")
    return folder


def test_every_document_arrives_once_with_its_file_and_affect(folder, tmp_path):
    totals = run(folder, tmp_path / "out")
    found = {row["doc"]: row for row in rows(tmp_path / "out")}
    assert totals["documents"] == len(found) == 40
    assert found["7.txt"]["text"] == "a happy document with the number 7"
    assert found["7.txt"]["affect"] == [1, 0, 0, 0, 0, 0, 0, 0]


def test_one_core_and_many_write_the_same_bytes(folder, tmp_path):
    """The order of results, not of workers, decides; batches are made small by many files."""
    for number in range(600):
        (folder / f"more-{number}.txt").write_text(f"document {number} " * (number % 7 + 3), encoding="utf-8")
    run(folder, tmp_path / "here")
    code = (
        "import os, sys; from pathlib import Path; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from tests.extract.test_extract import run; run(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    subprocess.run([sys.executable, "-c", code, folder, tmp_path / "one"], cwd=REPOSITORY, check=True)
    assert contents(tmp_path / "here") == contents(tmp_path / "one")


def test_a_changed_file_changes_only_its_shard(folder, tmp_path):
    run(folder, tmp_path / "out")
    before = contents(tmp_path / "out")
    (folder / "7.txt").write_text("something else altogether\n" * 100, encoding="utf-8")
    run(folder, tmp_path / "out")
    changed = {name for name, data in contents(tmp_path / "out").items() if before[name] != data}
    assert len(changed) == 3
    assert {"manifest.json", checksums.NAME} < changed


def test_losses_are_counted_by_hand(folder, tmp_path):
    (folder / "empty.txt").touch()
    (folder / "short.txt").write_text("too short", encoding="utf-8")
    (folder / "latin.txt").write_bytes("grün und weit genug".encode("latin-1"))
    (folder / "dangling.txt").symlink_to(folder / "nowhere")
    run(folder, tmp_path / "out")
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    expected = {"empty": 1, "too short": 1, "invalid UTF-8": 1, "unreadable: No such file or directory": 1}
    assert manifest["totals"]["lost"] == expected
    per_file: Counter[str] = Counter()
    for file in manifest["files"]:
        per_file.update(file["lost"])
        assert (file["documents"] == 1) != bool(file["lost"])
    assert dict(per_file) == expected
    assert manifest["totals"]["bytes_kept"] == sum(len(str(row["text"]).encode()) for row in rows(tmp_path / "out"))


def test_on_bad_file_fail_stops_with_the_name_and_leaves_the_old_output(folder, tmp_path):
    run(folder, tmp_path / "out")
    before = contents(tmp_path / "out")
    (folder / "latin.txt").write_bytes("grün und weit genug".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.txt: document 1, byte 2 of its text: invalid UTF-8"):
        run(folder, tmp_path / "out", on_bad_file="fail")
    assert contents(tmp_path / "out") == before
    assert not list(tmp_path.glob(".out*"))


def test_a_folder_with_no_readable_text_says_so(tmp_path):
    (tmp_path / "txt").mkdir()
    (tmp_path / "txt/a.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(UserError, match=r"No readable text in source mine .*: 1 file, no document kept"):
        run(tmp_path / "txt", tmp_path / "out")


def test_a_leftover_of_a_killed_run_is_replaced(folder, tmp_path):
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial/0000.parquet").write_bytes(b"half")
    run(folder, tmp_path / "out")
    assert len(rows(tmp_path / "out")) == 40


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "new.txt").write_text("new"), r"added new\.txt"),
        (lambda folder: (folder / "7.txt").unlink(), r"removed 7\.txt"),
        (lambda folder: (folder / "7.txt").write_text("x"), r"changed 7\.txt"),
    ],
)
def test_a_stale_pin_names_the_files_and_the_command(folder, tmp_path, change, words):
    pin = tmp_path / "mine.pin.json"
    write(pin, folder, files_below(folder, chosen_by("txt", None)))
    require_current(pin, files_below(folder, chosen_by("txt", None)))
    change(folder)
    with pytest.raises(UserError, match=rf"{words}.*aura source scan mine"):
        require_current(pin, files_below(folder, chosen_by("txt", None)))


def test_names_that_are_no_utf8_are_shown_with_escapes(folder, tmp_path):
    shutil.copy(folder / "7.txt", os.fsencode(folder) + b"/\xff.txt")
    run(folder, tmp_path / "out")
    assert "\\xff.txt" in {row["doc"] for row in rows(tmp_path / "out")}

"""Datasets come from local folders here: the same call as for the Hub, and no network."""

import json
import os
import subprocess
import sys
from pathlib import Path

import datasets
import pytest

from aura.core.errors import UserError
from aura.sources import hub
from aura.sources.hub import DatasetPin
from tests.conftest import REPOSITORY
from tests.extract.hub_server import refusing_hub

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def repository(folder: Path, files: int = 3, rows: int = 25) -> Path:
    """A dataset repository's folder: a few .jsonl files for its one split."""
    folder.mkdir(parents=True)
    for number in range(files):
        records = ({"text": f"a document, number {row} of file {number}", "id": row} for row in range(rows))
        (folder / f"train-{number}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def pin_of(folder: Path, split: str = "train", config: str | None = None, **options: object) -> DatasetPin:
    revision = hub.resolve(str(folder))
    return DatasetPin.model_validate(
        {"dataset": str(folder), "config": config, "split": split, "revision": revision, **options}
    )


def texts(pin: DatasetPin) -> list[str]:
    return [row["text"] for row in hub.iterate(hub.open_rows(pin), pin.title)]


def test_a_repository_folder_and_a_saved_dataset_give_the_same_rows(tmp_path):
    folder = repository(tmp_path / "repository")
    expected = texts(pin_of(folder))
    assert expected[0] == "a document, number 0 of file 0"
    assert len(expected) == 75
    saved = datasets.Dataset.from_list([{"text": text} for text in expected])
    saved.save_to_disk(tmp_path / "saved")
    datasets.DatasetDict({"train": saved}).save_to_disk(tmp_path / "splits")
    assert texts(pin_of(tmp_path / "saved")) == texts(pin_of(tmp_path / "splits")) == expected


def test_the_revision_of_a_folder_is_a_hash_of_names_and_contents(tmp_path):
    folder = repository(tmp_path / "repository")
    before = hub.resolve(str(folder))
    (folder / ".git").mkdir()
    (folder / ".git/HEAD").write_text("not data")
    assert before == hub.resolve(str(repository(tmp_path / "copy")))
    (folder / "train-0.jsonl").rename(folder / "train-9.jsonl")
    renamed = hub.resolve(str(folder))
    (folder / "train-9.jsonl").write_text('{"text": "another"}\n')
    assert len({before, renamed, hub.resolve(str(folder))}) == 3


def test_a_folder_that_changed_since_its_pin_is_refused(tmp_path):
    pin = pin_of(repository(tmp_path / "repository"))
    (tmp_path / "repository/train-0.jsonl").write_text('{"text": "another"}\n')
    with pytest.raises(UserError, match=r"not those that were pinned.*aura source scan"):
        hub.open_rows(pin)


def test_a_split_or_config_that_is_not_there_is_named_with_those_that_are(tmp_path):
    folder = repository(tmp_path / "repository")
    with pytest.raises(UserError, match=r"split nope\): Bad split: nope\. Available splits: \['train'\]"):
        hub.open_rows(pin_of(folder, split="nope"))
    with pytest.raises(UserError, match=r"BuilderConfig 'nope' not found\. Available: \['default'\]"):
        hub.open_rows(pin_of(folder, config="nope"))
    datasets.Dataset.from_list([{"text": "x"}], split="test").save_to_disk(tmp_path / "saved")
    with pytest.raises(UserError, match=r"Bad split: train\. Available splits: \['test'\]"):
        hub.open_rows(pin_of(tmp_path / "saved"))


def test_a_dataset_that_is_a_program_is_not_run(tmp_path):
    (tmp_path / "script").mkdir()
    (tmp_path / "script/script.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(UserError, match="made by a program, which is never run here"):
        hub.open_rows(pin_of(tmp_path / "script"))
    assert not (tmp_path / "ran").exists()


def test_a_pickle_is_no_dataset(tmp_path):
    """One that would leave a mark when loaded."""
    (tmp_path / "pickled").mkdir()
    code = f"cposix\nsystem\n(S'touch {tmp_path / 'ran'}'\ntR."
    for name in ("train.pkl", "data.pickle", "train.pt"):
        (tmp_path / "pickled" / name).write_text(code)
    with pytest.raises(UserError, match="data files"):
        hub.open_rows(pin_of(tmp_path / "pickled"))
    assert not (tmp_path / "ran").exists()


def test_damaged_rows_end_in_a_message(tmp_path):
    folder = repository(tmp_path / "repository")
    (folder / "train-1.jsonl").write_text('{"text": "fine"}\n{"text": \n')
    with pytest.raises(UserError, match=r"dataset .*repository .*JSON"):
        texts(pin_of(folder))


@pytest.mark.parametrize("revision", ["main", COMMIT[:12], COMMIT.upper()])
def test_a_pin_names_a_commit_and_no_branch(tmp_path, revision):
    path = tmp_path / "c4.pin.json"
    path.write_text(json.dumps({"dataset": "allenai/c4", "config": "en", "split": "train", "revision": revision}))
    with pytest.raises(UserError, match=rf"c4\.pin\.json: revision: .*got '{revision}'.*aura source remove c4"):
        hub.read_pin(path)


def test_a_pin_is_read_as_written(tmp_path):
    pin = DatasetPin(dataset="allenai/c4", config="en", split="train", revision=COMMIT, max_documents=10)
    hub.write_pin(tmp_path / "c4.pin.json", pin)
    assert hub.read_pin(tmp_path / "c4.pin.json") == pin


def message_of_the_hub(address: str, code: str) -> str:
    """What a program says that asks the Hub at `address`; in another process, for the address is read at import."""
    script = (
        "from aura.core import console; from aura.sources import hub; DatasetPin = hub.DatasetPin\n"
        f"pin = DatasetPin(dataset='allenai/c4', config='en', split='train', revision='{COMMIT}')\n"
        f"console.run(lambda: {code})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"HF_ENDPOINT": address, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (404, "RepoNotFound", "there is none of this name on the Hub, or it is private. Check the name"),
        (404, "RevisionNotFound", "it has no such revision. Look at its commits"),
        (403, "GatedRepo", "it is gated. Ask for access on its page, then give your token: hf auth login"),
        (401, "", "the Hub refuses access (401). Check your token"),
        (500, "", "the Hub cannot be reached"),
    ],
)
def test_a_hub_that_refuses_gives_one_line_that_says_what_to_do(status, code, words):
    with refusing_hub(status, code) as address:
        said = message_of_the_hub(address, "hub.open_rows(pin)")
    assert said.startswith(f"error: dataset allenai/c4 at revision {COMMIT}: ")
    assert words in said


def test_a_gated_dataset_whose_page_is_public_says_so_too():
    """The usual case: anybody may ask for its newest commit, and not for its files."""
    with refusing_hub(403, "GatedRepo", known=COMMIT) as address:
        said = message_of_the_hub(address, "hub.open_rows(pin)")
    assert said.startswith("error: dataset allenai/c4 (config en, split train): it is gated. Ask for access")


def test_without_a_network_nothing_waits_long():
    said = message_of_the_hub("http://127.0.0.1:9", "hub.resolve('allenai/c4')")
    assert "error: dataset allenai/c4: the Hub cannot be reached" in said
    assert "Check the network, then run the same command again." in said

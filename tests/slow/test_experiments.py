"""`dvc exp run -S` with one changed value per section of params.yaml."""

import json
import re

import pytest

from aura.storage.cache import Cache
from tests.conftest import Project
from tests.stages.test_pipeline import ALL

AFTER_SELECT = {"train_tokenizer", "validate", "encode", "conversations", "pretrain", "adapt", "export"}
EXTRACTS = {name for name in ALL if name.startswith("extract")}
pytestmark = pytest.mark.slow
CHANGES = {
    "extract.min_chars=400": EXTRACTS | {"select"} | AFTER_SELECT,
    "select.held_out=0.3": {"select"} | AFTER_SELECT,
    "train_tokenizer.vocab_size=650": AFTER_SELECT,
    "validate.max_fertility=55.0": {"validate"},
    "conversations.held_out=0.3": {"conversations", "adapt"},
    "encode.add_eos=false": {"encode", "pretrain", "adapt", "export"},
    "pretrain.steps=7": {"pretrain", "adapt", "export"},
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_experiment_runs_the_affected_stages_and_is_listed(project: Project, change: str):
    done = project.run("dvc", "exp", "run", "-n", "tried", "-S", change)
    assert project.ran(done.stdout) == CHANGES[change]
    shown = json.loads(project.run("dvc", "exp", "show", "--json").stdout)
    experiments = [entry for row in shown for entry in row["experiments"] or []]
    [tried] = [revision for entry in experiments for revision in entry["revs"]]
    assert tried["name"] == "tried"
    if change.startswith("pretrain"):
        told = project.run("aura", "experiments").stdout
        assert re.search(rf"^│   tried +│ {re.escape(change)} +│ +700 │", told, re.MULTILINE), told
    section, _, rest = change.partition(".")
    key, _, value = rest.partition("=")
    assert tried["data"]["params"]["params.yaml"]["data"][section][key] == json.loads(value)


def test_a_value_that_misses_a_gate_is_kept_with_its_measures(project: Project):
    change = ["-S", "validate.min_bytes_per_token=15.0", "-S", "validate.max_byte_fallback_share=0.0"]
    done = project.run("dvc", "exp", "run", "-n", "missed", *change, "validate")
    assert "bytes_per_token: expected min_bytes_per_token 15.0, got " in done.stderr
    assert "character_coverage" in done.stderr
    shown = json.loads(project.run("dvc", "exp", "show", "--json").stdout)
    [tried] = [revision for row in shown for entry in row["experiments"] or [] for revision in entry["revs"]]
    measures = tried["data"]["metrics"]["reports/validate/metrics.json"]["data"]
    assert (tried["name"], measures["missed_gates"]) == ("missed", 2)
    assert measures["bytes_per_token"] > 1
    refused = project.run("dvc", "repro", "encode", check=False)
    assert refused.returncode != 0
    assert "misses gates on held-out documents" in refused.stderr


def test_an_experiment_in_a_folder_of_its_own_works_on_tracked_sources(project: Project):
    for folder in ("books", "posts", "pinned"):
        project.run("dvc", "add", "-q", f"data/{folder}")
    project.run("git", "add", "-A")
    project.run("git", "commit", "-qm", "track the sources")
    before = (project.folder / "params.yaml").read_text()
    done = project.run("dvc", "exp", "run", "--temp", "-n", "aside", "-S", "pretrain.steps=7")
    assert "aside" in project.run("dvc", "exp", "list", "--name-only").stdout, done.stderr
    assert (project.folder / "params.yaml").read_text() == before


def test_an_experiment_aside_reads_a_pinned_folder_where_it_is(project: Project):
    """Nothing is tracked: two plain folders, which DVC is told to copy, and a pinned one, which it does not know of."""
    before = json.loads((project.folder / "data/extracted/pinned/manifest.json").read_text())
    copies = [part for name in ("books", "posts") for part in ("--copy-paths", f"data/{name}")]
    project.run("dvc", "exp", "run", "--temp", "-n", "aside", "-S", "extract.min_chars=400", *copies)
    assert "aside" in project.run("dvc", "exp", "list", "--name-only").stdout
    project.run("dvc", "exp", "apply", "aside")
    after = json.loads((project.folder / "data/extracted/pinned/manifest.json").read_text())
    assert [file["file"] for file in after["files"]] == [file["file"] for file in before["files"]]
    assert after != before


def test_the_second_experiment_of_a_sweep_extracts_and_counts_nothing(project: Project):
    """What is new in the action cache afterwards is encoded text alone, and nothing in it was made a second time."""
    store = Cache(project.folder / ".aura/cache")

    def entries() -> dict[str, int]:
        return {path.name: path.stat().st_ino for path in store.folder.glob("[0-9a-f][0-9a-f]/*")}

    project.run("dvc", "exp", "run", "-S", "train_tokenizer.vocab_size=650")
    before = entries()
    done = project.run("dvc", "exp", "run", "-S", "train_tokenizer.vocab_size=640")
    assert project.ran(done.stdout) == AFTER_SELECT
    after = entries()
    assert {name: after[name] for name in before} == before  # an entry that is made again is another file
    new = [entry for name in after.keys() - before.keys() if (entry := store.get(name))]
    assert {frozenset(entry.parts) for entry in new} == {frozenset({"ids", "documents"}), frozenset({"table"})}
    # The record of a table of units is its number of units, that of a shard has the number of tokens.
    assert all(isinstance(entry.record, int) or "tokens" in entry.record for entry in new)


def test_queued_experiments_keep_the_data_that_they_name(project: Project):
    """Two in the queue, each of another corpus; what only they need outlives `aura gc`."""
    cache = project.folder / ".dvc/cache"
    kept = []
    for number in (1, 2):
        (project.folder / "data/extra").mkdir(exist_ok=True)
        (project.folder / "data/extra/a.txt").write_text(f"only experiment {number} has this" * number)
        project.run("dvc", "add", "-q", "data/extra")
        project.run("git", "add", "-A")
        kept += [
            path for path in cache.rglob("*") if path.is_file() and f"experiment {number}".encode() in path.read_bytes()
        ]
        project.run("dvc", "exp", "run", "--queue", "-n", f"queued{number}", "-S", f"pretrain.steps={7 + number}")
        project.run("git", "reset", "-q", "--hard")
    assert len(kept) == 2
    project.run("git", "stash", "list")
    project.run("aura", "gc", "--delete", "--older-than", "0")
    assert all(path.exists() for path in kept)

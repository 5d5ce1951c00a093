"""Whatever stands in a file that somebody else may have written, reading it ends in a right result or one line."""

import copy
import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aura.core import checksums, files, libraries
from aura.core.bounded import mismatch
from aura.core.errors import UserError
from aura.encode import corpus_checks as checks
from aura.model import weights
from aura.project import lock_merge, source_entries, yaml_edits
from aura.select.select import require_listed
from aura.sources import materialise, pins, url_pins
from aura.sources.documents import nrc, sample
from aura.sources.hub import DatasetPin
from aura.storage import placement
from aura.tokens.token_shards import TokenShards
from aura.tpu import gcloud, settings, worker

WRONG = [None, True, -1, 1.5, 10**30, "x\x1b[2J", "", [], [[]], {}, {"": []}]
CONTENTS = [b"", b"\xff\xfe", b"[" * 3000, b"9" * 5000, b"null", b"[]", b'"x"', b"{", b"{}", b'{"a": ' * 500, b"\0"]


@dataclass(frozen=True)
class One:
    """A record."""

    name: str
    size: int | None
    share: float = 0.5


SHAPES = [
    ({"a": int, "b": [str]}, {"a": 1, "b": ["x", "y"], "more": None}),
    ({"rows": [(str, int)]}, {"rows": [["x", 1]]}),
    ({"sizes": {str: int}, "one": One}, {"sizes": {"x": 2}, "one": {"name": "n", "size": None, "share": 1}}),
    ({"a": {"b": {"c": bool}}}, {"a": {"b": {"c": True}}}),
]


def damaged(value: Any) -> Iterator[Any]:
    """Copies of a JSON value in which one part is missing, or something else."""
    yield from (copy.deepcopy(wrong) for wrong in WRONG)
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in list(inside):
        for other in damaged(part):
            changed = copy.deepcopy(value)
            changed[key] = other
            yield changed
        changed = copy.deepcopy(value)
        del changed[key]
        yield changed


@pytest.mark.parametrize(("shape", "value"), SHAPES)
def test_only_what_has_the_shape_passes(shape: Any, value: Any):
    assert mismatch(value, shape) is None
    told = [wrong for other in damaged(value) if (wrong := mismatch(other, shape))]
    assert len(told) > 20
    assert all(len(line) < 300 and "\n" not in line and line.isprintable() for line in told)


@pytest.mark.parametrize(
    ("shape", "value"),
    [
        ({"a": int}, {}),
        ({"a": int}, {"a": True}),
        ({"a": int}, {"a": 1 << 63}),
        ({"a": float}, {"a": "1"}),
        ([int], "1"),
    ],
)
def test_what_has_another_shape_does_not_pass(shape: Any, value: Any):
    assert mismatch(value, shape)


def of_pins(path: Path) -> object:
    return pins.folder_of(path), pins.require_current(path, [])


def of_bucket(path: Path) -> object:
    return url_pins.url_of(path), url_pins.read(path)


DATASET = DatasetPin(dataset="a/b", split="train", revision="0" * 40)
STORED = {"name": "x.parquet", "sha256": "0" * 64, "md5": "0" * 32, "size": 3, "uri": "file:///x"}
LOCK = {"schema": "2.0", "stages": {"a": {"cmd": "x", "outs": [{"path": "a", "md5": "0" * 32}]}}}
PIPELINE = {"stages": {"select": {"deps": ["data/extracted/x"]}, "train_tokenizer": {"frozen": True}}}
ROWS = {"pin": DATASET.model_dump(exclude_none=True), "text_keys": ["text"], "rows": 1, "shards": {"0": 1}}


def of_rows(path: Path) -> object:
    return materialise.is_complete(path.parent, DATASET, ["text"])


def of_shards(path: Path) -> object:
    return placement.shards(path.parent, "dvc repro", {"shards.json": files.sha256_file(path)})


def of_tokens(path: Path) -> object:
    checksums.write(path.parent)
    return TokenShards(path.parent, "x")


def of_corpus(path: Path) -> object:
    if not path.is_dir():
        with suppress(ValueError, TypeError, RecursionError):
            path.write_text(json.dumps(checksums.sealed(json.loads(path.read_bytes()))))
    return checks.read_corpus(path.parent)


def of_model(path: Path) -> object:
    checksums.write(path.parent)
    return weights.config(path.parent)


TOKENS = {"format": 1, "tokenizer": "x", "dtype": "uint16", "vocab_size": 9, "shards": []}
CORPUS = {"format": 1, "hash": {"train": "x"}, "files": []}
SIZES = dict.fromkeys(("vocab_size", "layers", "width", "heads", "kv_heads", "hidden"), 1)
MODEL = {"format": 2, "model": SIZES | {"tied_embeddings": True}, "tokenizer": "x", "seq_len": 8}
READERS: dict[str, tuple[str, Any, Callable[[Path], object]]] = {
    "passed": ("passed.json", {"tokenizer": "0" * 64}, lambda path: checks.require_passed(path, "0" * 64)),
    "config": (
        "spiece_config.json",
        {"corpus": {"hash": "x"}},
        lambda path: checks.require_same_corpus(path, "x"),
    ),
    "pin": ("a.pin.json", {"folder": "x", "files": []}, of_pins),
    "objects": ("a.pin.json", {"url": "gs://b/x", "objects": [["x", 1, "2"]]}, of_bucket),
    "shards": ("shards.json", {"format": 1, "shards": [STORED]}, of_shards),
    "rows": (materialise.RECORD, ROWS | {"stream": None, "complete": True}, of_rows),
    "sample": ("sample.pin.json", {"packages": {}}, sample.sample_files),
    "nrc": ("nrc.pin.json", {"version": "0"}, nrc.read),
    "tokens": ("manifest.json", TOKENS, of_tokens),
    "corpus": ("manifest.json", CORPUS, of_corpus),
    "model": ("config.json", MODEL, of_model),
    "lock": ("dvc.lock", LOCK, lambda path: lock_merge.stages_of(files.read_text(path))),
    "listed": ("dvc.yaml", PIPELINE, lambda path: require_listed(["x"], path)),
    "frozen": ("dvc.yaml", PIPELINE, checks.tokenizer_is_frozen),
    "deps": ("dvc.yaml", PIPELINE, lambda path: source_entries._deps(files.read_text(path))),
}


def outcome(read: Callable[[Path], object], path: Path) -> str:
    """The message of a `UserError`, or of an error of the disk that `console.run` words; "" for a result."""
    try:
        read(path)
    except UserError as error:
        return str(error)
    except OSError as error:
        return f"{error.filename}"
    return ""


@pytest.mark.parametrize("name", READERS)
def test_no_content_of_a_record_is_a_traceback(name: str, tmp_path: Path):
    file, right, read = READERS[name]
    path = tmp_path / file
    contents = [*CONTENTS, *(json.dumps(value).encode() for value in damaged(right))]
    told = []
    for content in contents:
        path.write_bytes(content)
        told.append(outcome(read, path))
    path.unlink()
    path.mkdir()
    told.append(outcome(read, path))
    assert sum(map(bool, told)) >= (2 if name == "frozen" else len(CONTENTS))  # most of them do not have that word
    assert max(map(len, told)) < 2000


def test_versions_json_must_name_every_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for content in [*CONTENTS, b'{"jax": 1}']:
        Path("versions.json").write_bytes(content)
        with pytest.raises(UserError, match=r"versions\.json"):
            libraries.require_locked()


@pytest.mark.parametrize("verb", ["status", "log", "stop", "pack", "hashes", "start", "install"])
def test_no_reply_of_a_worker_is_a_traceback(verb: str):
    right: dict[str, Any] = {"state": "done", "key": None, "process": 1, "coordinator": "x", "deaths": 0, "last": "x"}
    right |= {"text": "x", "offset": 1, "stopped": True, "sha256": "x", "refused": "x", "obstacle": None}
    texts = [json.dumps(value) for value in damaged({"a": "0"} if verb == "hashes" else right)]
    texts += [content.decode("utf-8", "replace") for content in CONTENTS] + ["x" * 10_000_000]
    refused = 0
    for text in texts:
        told = f"noise\n{worker.REPLY}{text}\n"
        try:
            assert isinstance(gcloud._reply(told, verb), dict)
        except gcloud._Again as error:
            refused += len(str(error)) < 300 and "\n" not in str(error)
    assert refused >= len(WRONG) + len(CONTENTS) - 4


def test_no_description_of_a_pod_is_a_traceback(monkeypatch: pytest.MonkeyPatch):
    node = {"acceleratorType": "x/v4-8", "runtimeVersion": "x", "networkConfig": {}, "labels": {}, "tags": []}
    right = {"state": {"state": "FAILED", "failedData": {"error": {"code": 8, "message": "x"}}}}
    right |= {"tpu": {"nodeSpec": [{"node": node, "multisliceParams": {"nodeCount": "2"}}]}, "guaranteed": {}}
    right |= {"networkEndpoints": [{"ipAddress": "10.0.0.1"}]}
    asked, printed = gcloud.Gcloud("us-central2-b", "test-project", pause=0.0), [""]
    monkeypatch.setattr(gcloud.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, printed[0], ""))
    monkeypatch.setattr(gcloud, "TRIES", 1)

    def described(text: str) -> tuple[Any, Any]:
        printed[0], found = text, []
        for ask in (asked.requested, asked.node):
            try:
                found.append(ask("pod"))
            except gcloud.Unreachable as error:
                found.append(str(error))
        return found[0], found[1]

    request, slice_ = described(json.dumps(right))
    assert (request.type, request.slices, request.state) == ("v4-8", 2, "FAILED")
    assert slice_.addresses == ["10.0.0.1"]
    found = [described(json.dumps(value)) for value in damaged(right)]
    found += [described(content.decode("utf-8", "replace")) for content in CONTENTS]
    assert {type(one) for pair in found for one in pair} == {gcloud.Request, gcloud.Node, str}
    told = [one for pair in found for one in pair if isinstance(one, str)]
    assert len(told) > len(WRONG) + len(CONTENTS)
    assert all("\n" not in line and len(line) < 1000 for line in told)


def test_a_variable_that_is_a_bomb_is_a_text():
    bomb = "a: &a [x]\n" + "".join(f"b{n}: [*a, *a]\n" for n in range(40))
    for text in ("[" * 3000, "9" * 5000, bomb, "\x00"):
        assert settings._number(text) == text


def test_yaml_that_cannot_be_read_is_not_edited():
    for text in ("[" * 3000, "a: " + "9" * 5000, "\x00"):
        with pytest.raises(UserError):
            yaml_edits.with_item(text, ("a",), "x", 0)

"""Names, cards and tokenizer files of others, whatever is in them, are taken whole or refused in one line."""

import base64
import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aura.core.errors import UserError
from aura.core.outside_names import plain_names
from aura.sharing import foreign_git, foreign_store, model_card
from aura.sharing.delivery import run_outputs
from aura.sharing.git import GitFailed
from aura.tokenizer import foreign
from tests.conftest import REPOSITORY
from tests.hostile import GUIDE

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(0, 1).map(lambda more: 16 ** (5000 + more))
    | st.floats()
    | st.text()
    | st.dates()
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["metrics", "sha256", "vocab_size", "\n"]), inner),
    max_leaves=8,
)
NAMES = st.text(st.sampled_from("aAbHEADhead.-~/\\\n\u202e\u0301é \x1b"), max_size=8)


@given(ANYTHING)
def test_whatever_a_card_holds_is_shown_in_one_short_line(card: Any):
    held = {"metrics": card} if not isinstance(card, dict) else card
    for keys in (("metrics",), ("metrics", "vocab_size"), ("sha256", "spiece.model")):
        shown = model_card.value(held, *keys)
        assert 0 < len(shown) <= model_card.SHOWN + 1
        assert "\n" not in shown
    try:
        found = model_card.sha256(held, "v1")
    except UserError:
        return
    assert all(isinstance(name, str) and re.fullmatch("[0-9a-f]{64}", digest) for name, digest in found.items())


@given(st.lists(NAMES, max_size=4))
def test_a_name_that_is_let_through_is_plain(names: list[str]):
    try:
        plain_names(names, "a list")
    except UserError:
        return
    for part in (part for name in names for part in name.split("/")):
        assert part.isprintable()
        assert part[0] not in ".-~"
        assert part.lower() != "head"
    assert len({name.casefold() for name in names}) == len(names)


@pytest.mark.parametrize("name", ["aux", "sub/NUL.txt", "com1", "a:b", "a.", "a ", 'a"', "x|y", "a*"])
def test_a_name_that_windows_does_not_allow_is_refused(name: str):
    with pytest.raises(UserError, match="may take for something else"):
        plain_names([name], "a list")


def test_names_of_usual_tokenizers_are_let_through():
    names = [
        "spiece.model",
        "_SHA256SUMS",
        "tokenizer.json",
        "sub/é ü.txt",
        "data-00001-of-2.bin",
        "heads",
        "config.json",
    ]
    assert plain_names(names, "a list") == names


def test_a_name_of_many_folders_takes_no_memory():
    began = time.monotonic()
    with pytest.raises(UserError, match="no path below a folder"):
        plain_names(["a/" * 200_000 + "a"], "a list")
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", "[" * 100_000),
        ("tokenizer.json", {"model": 5}),
        ("tokenizer.json", {"model": {"type": "BPE", "vocab": {}, "merges": []}}),
        ("tokenizer.json", {"model": {"type": "WordLevel", "vocab": {"a": 4_000_000_000}, "unk_token": "a"}}),
        ("tekken.json", {"vocab": [], "config": 5}),
        ("tekken.json", {"vocab": [], "config": {"pattern": "x"}}),
        (
            "tekken.json",
            {"vocab": 5, "config": {"pattern": "x", "default_num_special_tokens": 0, "default_vocab_size": 1}},
        ),
        (
            "tekken.json",
            {
                "vocab": [{"token_bytes": "YQ=="}] * 2,
                "config": {"pattern": "x", "default_num_special_tokens": 0, "default_vocab_size": 2},
            },
        ),
        (
            "tekken.json",
            {
                "vocab": [],
                "config": {"pattern": "x", "default_num_special_tokens": 10**12, "default_vocab_size": 10**12},
            },
        ),
        ("x.tiktoken", "YQ== 0\nYQ== 1\n"),
        ("x.tiktoken", "YQ== " + "9" * 5000),
        ("x.tiktoken", "YQ=="),
        ("x.model", "no model"),
    ],
)
def test_a_tokenizer_file_of_another_shape_is_one_line(tmp_path: Path, name: str, content: Any):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    path.with_suffix(".pattern").write_text("(")
    assert base64.b64decode("YQ==") == b"a"
    with pytest.raises(UserError, match=r"Expected|expected"):
        foreign.load(path, "theirs")


@pytest.mark.parametrize("text", ["[" * 5000, "a: " + "9" * 5000, "- " * 3000 + "a", "x" * 300_000, "outs: 5", "\0"])
def test_a_record_of_a_run_that_is_none_is_not_taken(tmp_path: Path, text: str):
    (tmp_path / "record").write_text(text)
    assert run_outputs(tmp_path / "record", "runs/aa/b/c") is None


def test_git_is_ended_at_its_limit_and_obeys_no_other_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    subprocess.run(["git", "init", "-q", "--bare", tmp_path / "one"], check=True)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))  # as a hook of git sets it
    assert foreign_git.foreign_git("rev-parse", "--is-bare-repository", clone=tmp_path / "one") == "true"
    with pytest.raises(GitFailed, match="not allowed"):
        foreign_git.foreign_git("ls-remote", "--", f"ext::sh -c 'touch {tmp_path}/planted'")
    monkeypatch.setattr(foreign_git, "SECONDS", 0.2)
    with pytest.raises(GitFailed, match="took more than"):
        foreign_git.foreign_git("-c", "alias.wait=!sleep 30", "wait")
    assert not (tmp_path / "planted").exists()


def test_a_copy_ends_where_it_goes_on_beyond_its_size():
    copy = foreign_store.limited({"bucket/x": 5}).branched("bucket/x", "here")
    copy.relative_update(5)
    with pytest.raises(UserError, match="goes on beyond the 5 bytes"):
        copy.relative_update(1)


def test_the_list_of_attempts_names_only_tests_that_there_are():
    listed = re.findall(r"`(tests/slow/test_hostile_\w+\.py)`", GUIDE.read_text(encoding="utf-8"))
    there = {f"tests/slow/{path.name}" for path in (REPOSITORY / "tests/slow").glob("test_hostile_*.py")}
    assert set(listed) == there

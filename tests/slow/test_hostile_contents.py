"""Another tokenizer than the one that was published, taken for right."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from tests.hostile import (
    GOOD,
    ONE,
    OTHER,
    Attempt,
    Canary,
    Meet,
    Repository,
    Victim,
    card_of,
    check,
    fetch,
    small_model,
)

pytestmark = pytest.mark.slow


def test_contents(tmp_path: Path, canary: Canary, meet: Meet):
    victim, hostile = meet(), Repository(tmp_path / "attacker")
    rounds = {"aura.sharing.delivery.PAUSES": [0, 0]}
    attempts = []
    assert ONE != OTHER
    assert hashlib.md5(ONE, usedforsecurity=False).digest() == hashlib.md5(OTHER, usedforsecurity=False).digest()

    def attempt(
        title: str, files: dict[str, bytes], comes: str, card: dict[str, bytes] | None = None, *, works: bool = False
    ) -> str:
        version = hostile.release(hostile.listed(files), card_of(files if card is None else card))
        attempts.append(Attempt(title, fetch(hostile, version), comes, works=works, limits=rounds))
        return version

    attempt(
        "other bytes than the card's SHA-256",
        {"spiece.model": small_model(("abab", 1))},
        "expected spiece.model with the SHA-256",
        GOOD,
    )
    attempt("a file of the card is not there", {"spiece.model": GOOD["spiece.model"]}, "no such file", GOOD)
    listed = hostile.listed([("x", hostile.put(b"swapped", oid="c" * 32))])
    attempts.append(
        Attempt(
            "bytes that do not have their MD5", fetch(hostile, hostile.release(listed)), "is damaged", limits=rounds
        )
    )
    listed = hostile.put(b"[]", ".dir", oid="d" * 32)
    attempts.append(
        Attempt(
            "a list that does not have its MD5", fetch(hostile, hostile.release(listed)), "is damaged", limits=rounds
        )
    )
    listed = hostile.listed(
        [("x", hostile.put(ONE)), ("y", hostile.put(OTHER))]
    )  # the second takes the first one's place
    card = card_of({"x": ONE, "y": OTHER})
    attempts.append(Attempt("two files of one MD5", fetch(hostile, hostile.release(listed, card)), "with the SHA-256"))
    single = hostile.put(b"one file")
    attempts.append(
        Attempt("a single file instead of a folder", fetch(hostile, hostile.release(single)), "got a single file")
    )
    for title, content, comes in (
        ("no model at all", b"no model", "expected a whole SentencePiece model"),
        ("a model cut off", small_model()[:3000], "expected a whole SentencePiece model"),
        ("a model where text makes `<eos>`", small_model(("<eos>", 4)), "repeats the piece"),
        ("a model that claims other settings", small_model() + b"\x12\x04\x18\x05\x20\x01", "that claims 1"),
        ("a model with a piece of 20 MB", small_model(("x" * 20_000_000, 1)), "piece is too long"),
        ("a model with 100,000 user symbols", small_model(*((f"s{n}", 4) for n in range(100_000))), r"^\[263\]"),
    ):
        version = hostile.release(hostile.listed({"spiece.model": content}), card_of({"spiece.model": content}))
        works = comes.startswith("^")
        attempts.append(Attempt(title, ["load", version, hostile.address], comes, works=works))
    version = hostile.release(hostile.listed({"x": b"x"}))
    attempts.append(Attempt("a folder without a model", ["load", version, hostile.address], "holds no spiece.model"))
    hostile.release(hostile.listed(GOOD), card_of(GOOD), "v5.0.0")
    hostile.finish()
    check(
        [
            *attempts,
            Attempt("nothing hostile, for comparison", ["load", "v5.0.0", hostile.address], r"\[\d+", works=True),
        ],
        victim,
        tmp_path,
        canary,
    )
    _moved(hostile, victim, tmp_path, canary)
    _poisoned(tmp_path, victim, canary)


def _moved(hostile: Repository, victim: Victim, tmp_path: Path, canary: Canary) -> None:
    """A tag that was fetched is moved: what was fetched stays, also where the cache lost a part of it."""
    folder = tmp_path / "moved"
    subprocess.run(["git", "clone", "-q", hostile.address, folder], check=True)
    again = Attempt(
        "a tag that was moved, again from an address",
        ["load", "v5.0.0", hostile.address],
        r"\[263\]|\[\d+\]",
        works=True,
    )
    first = Attempt("nothing hostile, for comparison", ["load", "v5.0.0", str(folder)], r"\[\d+\]", works=True)
    before = victim.run(again).printed
    check([first], victim, tmp_path, canary)
    other = {"spiece.model": small_model(("abab", 1))}
    hostile.release(hostile.listed(other), card_of(other), "v5.0.0")
    hostile.finish()
    subprocess.run(["git", "fetch", "-q", "--tags", "--force"], cwd=folder, check=True)
    check([again], victim, tmp_path, canary)
    assert victim.run(again).printed == before
    moved = Attempt(
        "a tag that was moved, from a folder",
        ["load", "v5.0.0", str(folder)],
        "has other files than when it was fetched before",
    )
    for path in (victim.home / ".cache/aura/versions").rglob("files/md5/*/*"):
        path.unlink()
    lost = Attempt(
        "the same: what was fetched is lost", ["load", "v5.0.0", hostile.address], "has other files than when"
    )
    check([moved, lost], victim, tmp_path, canary)


def _poisoned(tmp_path: Path, victim: Victim, canary: Canary) -> None:
    """An MD5 pair: one file is fetched from the attacker, and must not come out as the other of an honest project."""
    evil, honest = Repository(tmp_path / "evil"), Repository(tmp_path / "honest")
    for repository, content in ((evil, OTHER), (honest, ONE)):
        repository.release(repository.listed({"x": content}), version="v1.0.0")
        repository.finish()
    attempts = [
        Attempt(
            "a forged MD5 in the cache", [*fetch(repository, "v1.0.0")[:-1], f"output/{name}"], "MD5 alone", works=True
        )
        for name, repository in (("evil", evil), ("honest", honest))
    ]
    check(attempts, victim, tmp_path, canary)
    assert (victim.work / "output/honest/x").read_bytes() == ONE

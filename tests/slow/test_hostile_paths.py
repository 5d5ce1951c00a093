"""Names that lead out of the output folder, or that other programs obey."""

import hashlib
import os
from pathlib import Path

import pytest

from tests.hostile import GOOD, PLANTED, SPOOF, Attempt, Canary, Meet, Repository, card_of, check, fetch

pytestmark = pytest.mark.slow


def test_paths(tmp_path: Path, canary: Canary, meet: Meet):
    victim, hostile = meet(), Repository(tmp_path / "attacker")
    good, bad = hostile.put(GOOD["spiece.model"]), hostile.put(b"attack")
    attempts = []

    def attempt(title: str, names: list[object], comes: str) -> None:
        oid = hostile.listed([("spiece.model", good), *((name, bad) for name in names)])
        attempts.append(Attempt(title, fetch(hostile, hostile.release(oid)), comes))

    outside = "no path below a folder"
    attempt("absolute name in a list of files", [str(victim.home / PLANTED)], outside)
    attempt("`../` in a list of files", [f"../../{PLANTED}"], outside)
    attempt("`a/../../` in a list of files", [f"a/../../../{PLANTED}"], outside)
    attempt("`./`, `//` and empty names", [f".//{PLANTED}"], outside)
    attempt("NUL in a name", [f"a\0/../{PLANTED}"], outside)
    attempt("a number for a name", [5], outside)
    attempt("a name of 20,000 folders", ["a/" * 20_000 + "a"], outside)
    attempt("a name longer than disks allow", ["a" * 256], outside)
    attempt("a name twice", ["a", "a"], "twice, or as a file and as a folder")
    attempt("a file and a folder of one name", ["a", "a/b"], "twice, or as a file and as a folder")
    other = "may take for something else"
    attempt("`.git/config` and hooks in the output", [".git/config", ".git/hooks/post-checkout"], other)
    attempt("a bare repository as the output (`HEAD`, `config`)", ["HEAD", "config", "objects/x", "refs/x"], other)
    attempt("`.envrc`, `.dvc/config`, hidden files", ["sub/.envrc"], other)
    attempt("a name that is an option (`-rf`)", ["-rf"], other)
    attempt("`~/x`", [f"~/{PLANTED}"], other)
    attempt("a backslash", ["..\\x"], other)
    attempt("names of devices, and what Windows does not allow", ["aux.txt", "a:b", "a.", "x?"], other)
    attempt("line breaks in a name", [f"a\n{SPOOF}"], other)
    attempt("marks of direction in a name", ["a\u202egnp.exe"], other)
    attempt("escape sequences in a name", ["\x1b[2Ja"], other)
    attempt("names that differ in case alone", ["Sub/a", "sub/b"], "one file on some disks")
    attempt("names that differ in accents' form alone", ["caf\u00e9", "cafe\u0301"], "one file on some disks")
    tree = hostile.listed(GOOD)
    wrong = {
        "dvc.yaml names `../../etc`": ("dvc.yaml", b"artifacts: {tokenizer: {path: ../../etc}}", outside),
        "dvc.yaml names `/etc`": ("dvc.yaml", b"artifacts: {tokenizer: {path: /etc}}", outside),
        "dvc.yaml is a link to /dev/zero": ("dvc.yaml", ("120000", b"/dev/zero"), "expected a map"),
        "dvc.yaml is a submodule": ("dvc.yaml", ("160000", b""), "no file dvc.yaml"),
        "a .dvc file is a link to a key": ("models/spm.dvc", ("120000", b"/etc/passwd"), "expected a map"),
        "a hash of `../../x`": ("models/spm.dvc", b"outs: [{path: spm, md5: ../../x}]", "expected an MD5"),
        "the remote is the victim's home": (
            ".dvc/config",
            f"[core]\nremote=s\n['remote \"s\"']\nurl={victim.home}\n".encode(),
            "is not in the bucket",
        ),
    }
    for title, (name, content, comes) in wrong.items():
        attempts.append(Attempt(title, fetch(hostile, hostile.release(tree, other={name: content})), comes))
    for title, make in {
        "an object that is a link to a key": lambda path: path.symlink_to(victim.home / ".ssh/id_rsa"),
        "an object that is a link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
        "an object that is a pipe": os.mkfifo,
    }.items():
        place = hostile.place(oid := hashlib.md5(title.encode(), usedforsecurity=False).hexdigest())
        place.parent.mkdir(parents=True, exist_ok=True)
        make(place)
        attempts.append(
            Attempt(title, fetch(hostile, hostile.release(hostile.listed([("x", oid)]))), "is no regular file")
        )
    attempts.append(
        Attempt(
            "nothing hostile, for comparison", fetch(hostile, hostile.release(tree, card_of(GOOD))), "notes", works=True
        )
    )
    hostile.finish()
    check(attempts, victim, tmp_path, canary)
    assert (victim.work / "output").is_dir()
    assert {path.name for path in (victim.work / "output").rglob("*") if path.is_file()} == {
        "spiece.model",
        "notes.txt",
    }

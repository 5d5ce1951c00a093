"""Memory, disk and time that an attacker could use up."""

import gzip
import http.server
import json
import random
import time
import urllib.request
from pathlib import Path

import pytest

from tests.bucket import BUCKET, Bucket
from tests.hostile import BOMB, GOOD, Attempt, Canary, Meet, Repository, Serve, card_of, check, fetch

pytestmark = pytest.mark.slow


def test_size_and_time(tmp_path: Path, canary: Canary, meet: Meet, serving: Serve, bucket: Bucket):
    victim, hostile = meet(bucket.endpoint), Repository(tmp_path / "attacker")
    attempts = []

    def attempt(title: str, oid: str, comes: str, *more: str, **other: object) -> None:
        attempts.append(Attempt(title, fetch(hostile, hostile.release(oid, **other), *more), comes))  # type: ignore[arg-type]

    sparse = hostile.put(b"", oid="a" * 32)
    with hostile.place(sparse).open("wb") as file:
        file.truncate(10**13)
    attempt("an object of 10 TB (sparse)", hostile.listed([("x", sparse)]), "has 10,000,000,000,000 bytes")
    many = hostile.put(b"x" * 400_000)
    attempt(
        "one object under 9,000 names",
        hostile.listed([(f"f{n}", many) for n in range(9_000)]),
        "at most 1,000,000,000 are written",
        "--max-gb",
        "1",
    )
    attempt("a list of 20,000 files", hostile.listed([(f"f{n}", many) for n in range(20_000)]), "names 20,000 files")
    attempt("a list of 8 MB", hostile.put(b"[" + b" " * 8_000_000 + b"]", ".dir"), "has 8,000,002 bytes")
    attempt("a list of a million brackets", hostile.put(b"[" * 1_000_000, ".dir"), "no list of files")
    attempt("a list of no files", hostile.put(b"[]", ".dir"), "a list of none")
    tree = hostile.listed(GOOD)
    shallow = {"dvc.yaml": b"artifacts: {tokenizer: {path: m}}"}  # which no .dvc file tracks, so dvc.lock is read
    for title, other, comes in (
        ("an alias bomb in dvc.yaml", {"dvc.yaml": BOMB.encode()}, "at most 16 aliases"),
        ("brackets in dvc.lock", shallow | {"dvc.lock": b"[" * 100_000}, "at most 16 aliases"),
        ("indents in dvc.yaml", {"dvc.yaml": b"".join(b" " * n + b"a:\n" for n in range(600))}, "at most 16 aliases"),
        ("dvc.yaml of 2 MB", {"dvc.yaml": b"#" * 2_000_000}, "at most 200,000 are read"),
        ("dvc.lock of 5 MB", shallow | {"dvc.lock": b"#" * 5_000_000}, "at most 1,000,000 are read"),
        (".dvc/config of 1 MB", {".dvc/config": b"[a]\n" * 250_000}, "at most 200,000 are read"),
        (
            "a thousand sections in .dvc/config",
            {".dvc/config": b"".join(b"[" * n + b"a" + b"]" * n + b"\n" for n in range(1, 440))},
            "no default remote",
        ),
    ):
        attempts.append(Attempt(title, fetch(hostile, hostile.release(tree, other=other)), comes))
    attempt("a card of 10 MB", tree, "", other={}, card="x" * 10_000_000)
    attempts[-1] = Attempt(attempts[-1].title, attempts[-1].arguments, "MD5 alone", works=True)
    hostile.release(tree, version="v50.0.0", other={"large": random.Random(0).randbytes(3_000_000)})  # noqa: S311
    hostile.finish()
    attempts += _bucket_attempts(hostile, bucket)
    attempts += _many_tags(tmp_path)
    attempts += _slow_servers(hostile, serving)
    check(attempts, victim, tmp_path, canary)


def _bucket_attempts(hostile: Repository, bucket: Bucket) -> list[Attempt]:
    """Objects in a real store's terms: one that swells when it is sent, and one of 50 MB above the limit."""
    bomb = gzip.compress(b"\0" * 100_000_000, 1)
    theirs = Repository(hostile.folder.parent / "bucket", url=f"gs://{BUCKET}/evil")
    large = theirs.put(b"\1" * 50_000_000)
    lists = {"gzip": theirs.listed([("x", "b" * 32)]), "large": theirs.listed([("x", large)])}
    versions = {name: theirs.release(oid) for name, oid in lists.items()}
    theirs.finish()
    for path in theirs.store.rglob("*"):
        if path.is_file():
            _upload(bucket, f"evil/{path.relative_to(theirs.store).as_posix()}", path.read_bytes(), "")
    _upload(bucket, f"evil/files/md5/bb/{'b' * 30}", bomb, "gzip")
    return [
        Attempt("an object that its server unpacks, 1:1000", fetch(theirs, versions["gzip"]), "which swells"),
        Attempt(
            "an object above the limit, in a bucket",
            fetch(theirs, versions["large"], "--max-gb", "0.01"),
            "has 50,000,000 bytes",
        ),
    ]


def _upload(bucket: Bucket, name: str, content: bytes, encoding: str) -> None:
    metadata = json.dumps({"name": name, **({"contentEncoding": encoding} if encoding else {})}).encode()
    parts = b"--x\r\nContent-Type: application/json\r\n\r\n" + metadata
    parts += b"\r\n--x\r\nContent-Type: application/octet-stream\r\n\r\n" + content + b"\r\n--x--"
    request = urllib.request.Request(  # noqa: S310 - this machine
        f"{bucket.endpoint}/upload/storage/v1/b/{BUCKET}/o?uploadType=multipart",
        data=parts,
        headers={"Content-Type": "multipart/related; boundary=x"},
    )
    urllib.request.urlopen(request, timeout=60).read()  # noqa: S310


def _many_tags(tmp_path: Path) -> list[Attempt]:
    """Fifty thousand versions, and a chain of tags of tags."""
    hostile = Repository(tmp_path / "tags")
    hostile.release(hostile.listed(GOOD), card_of(GOOD), "v1.0.0")
    hostile.finish()
    tag = hostile.git("rev-parse", "refs/tags/tokenizer@v1.0.0").decode().strip()
    with (hostile.folder / "packed-refs").open("w") as packed:
        packed.write("# pack-refs with: peeled fully-peeled sorted \n")
        names = sorted(f"refs/tags/tokenizer@v2.{n // 1000}.{n % 1000}" for n in range(50_000))
        commit = hostile.git("rev-parse", f"{tag}^{{}}").decode().strip()
        packed.writelines(f"{tag} {name}\n^{commit}\n" for name in names)
    deep = tag
    for n in range(300):
        text = f"object {deep}\ntype tag\ntag t{n}\ntagger x <x@x> 1 +0000\n\nx\n".encode()
        deep = hostile.git("hash-object", "-t", "tag", "-w", "--stdin", text=text).decode().strip()
    hostile.git("update-ref", "refs/tags/tokenizer@v3.0.0", deep)
    return [
        Attempt(
            "50,000 tags: versions",
            ["versions", "--repo", hostile.address],
            "older versions are not listed",
            works=True,
        ),
        Attempt("50,000 tags: a version that is not there", fetch(hostile, "v9.0.0"), "There are: .*, …"),
        Attempt("a tag of a tag of a tag, 300 deep", fetch(hostile, "v3.0.0"), "MD5 alone", works=True),
    ]


def _slow_servers(hostile: Repository, serving: Serve) -> list[Attempt]:
    """Servers that send a byte now and then, or for ever; with shorter limits than users have."""

    def drip(asked: http.server.BaseHTTPRequestHandler) -> None:
        asked.send_response(200)
        asked.send_header("Content-Type", "application/x-git-upload-pack-advertisement")
        asked.end_headers()
        try:
            for _ in range(200):
                asked.wfile.write(b"0")
                asked.wfile.flush()
                time.sleep(0.2)
        except OSError:
            return

    def flood(asked: http.server.BaseHTTPRequestHandler) -> None:
        asked.send_response(200)
        asked.send_header("Content-Type", "application/x-git-upload-pack-advertisement")
        asked.end_headers()
        line = b"1" * 40 + b" refs/tags/tokenizer@v1.0.0\n"
        packet = b"%04x" % (len(line) + 4) + line
        try:
            asked.wfile.write(b"001e# service=git-upload-pack\n0000")
            while True:
                asked.wfile.write(packet * 1000)
        except OSError:
            return

    def endless_redirect(asked: http.server.BaseHTTPRequestHandler) -> None:
        asked.send_response(302)
        asked.send_header("Location", f"/again{asked.path}")
        asked.end_headers()

    short = {"aura.sharing.foreign_git.SECONDS": 4.0}
    less = {"aura.sharing.foreign_git.MEMORY": 400 << 20, "aura.sharing.foreign_git.SECONDS": 30.0}
    pack = {"aura.sharing.foreign_git.LARGEST_PACK": 1_000_000}
    return [
        Attempt("a server that drips", ["fetch", "v1.0.0", "--repo", serving(drip)], "took more than", limits=short),
        Attempt(
            "a server that never stops naming tags",
            ["versions", "--repo", serving(flood)],
            "cannot read",
            limits=less,
        ),
        Attempt("an endless redirect", ["fetch", "v1.0.0", "--repo", serving(endless_redirect)], "cannot read"),
        Attempt("a repository larger than the limit", fetch(hostile, "v50.0.0"), "MB of a repository", limits=pack),
    ]

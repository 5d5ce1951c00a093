"""Tags, model cards, paths and replies that would deceive a terminal, or its reader."""

import http.server
import json
from pathlib import Path

import pytest

from tests.hostile import BOMB, GOOD, MESSAGE, SPOOF, Attempt, Canary, Meet, Repository, Serve, check, fetch

pytestmark = pytest.mark.slow


def test_names_and_terminal(tmp_path: Path, canary: Canary, meet: Meet, serving: Serve):
    hostile = Repository(tmp_path / "attacker")
    tree, attempts, victim = hostile.listed(GOOD), [], meet()
    cards = {
        "escape sequences in a card's values": json.dumps(
            {"metrics": {"vocab_size": MESSAGE, "bytes_per_token": MESSAGE}}
        ),
        "a card whose parts are lists": json.dumps({"metrics": [1], "params": [MESSAGE], "sha256": ["x"]}),
        "a card whose parts are words": json.dumps({"metrics": MESSAGE, "params": 5, "sha256": MESSAGE}),
        "a card that is a list": "[1, 2]",
        "numbers of 20,000 digits": f"metrics: {{vocab_size: 0x{'f' * 20_000}, bytes_per_token: {'9' * 20_000}}}",
        "dates, sets, bytes and infinities": "metrics: {vocab_size: 2020-01-01, bytes_per_token: .inf}\n"
        "params: {model_type: !!binary aGVsbG8=}\nsha256: {spiece.model: 2020-01-01}",
        "keys that are no text": "? [1, 2]\n: x\n5: 6\nsha256: {5: x}",
        "values of 60,000 characters": json.dumps({"params": {"model_type": "x" * 60_000}}),
        "mark-up in a card": json.dumps({"params": {"model_type": "[red]x[/red] :bomb: [link=http://x]y[/link]"}}),
        "no UTF-8 in a card": "metrics: {vocab_size: \udcff\udcfe}",
        "a card that is an alias bomb": BOMB,
    }
    for title, card in cards.items():
        single = Repository(tmp_path / f"attacker-{len(attempts)}")
        version = single.release(single.listed(GOOD), card)
        single.finish()
        attempts.append(Attempt(title, ["versions", "--repo", single.address], version, works=True))
    for title, card in cards.items():
        broken = "sha256" in card
        comes = "expected sha256 in its model card" if broken else "MD5 alone"
        attempts.append(Attempt(title, fetch(hostile, hostile.release(tree, card)), comes, works=not broken))
    for title, other, comes in (
        (
            "line breaks in an artifact's path",
            {"dvc.yaml": json.dumps({"artifacts": {"tokenizer": {"path": f"m\n{SPOOF}"}}}).encode()},
            "not printed",
        ),
        (
            "escape sequences in a hash",
            {"models/spm.dvc": json.dumps({"outs": [{"path": "spm", "md5": MESSAGE}]}).encode()},
            "expected an MD5",
        ),
        (
            "escape sequences in .dvc/config",
            {".dvc/config": f"[core]\nremote = s\n[{MESSAGE}".encode()},
            "cannot be read",
        ),
        (
            "escape sequences in a remote's url",
            {".dvc/config": f"[core]\nremote=s\n['remote \"s\"']\nurl='''{MESSAGE}'''\n".encode()},
            "url is",
        ),
        ("dvc.yaml is no UTF-8", {"dvc.yaml": b"\xff\xfe\x00"}, "expected a map"),
    ):
        attempts.append(Attempt(title, fetch(hostile, hostile.release(tree, other=other)), comes))
    odd = (
        "v1.0." + "9" * 5000,
        "v99.0.0-é",
        "v1.0.0!#7",
        "v01.0.0",
        "v1.0.0-" + "a.b" * 60,
        "v3.0.0#prod#1",
        "deprecatedx",
    )
    for version in odd[1:]:
        hostile.release(tree, version=version)
    hostile.finish()
    commit = hostile.git("rev-parse", "refs/tags/tokenizer@v1.0.1^{}").decode().strip()
    with (hostile.folder / "packed-refs").open("a") as packed:
        packed.write(f"{commit} refs/tags/tokenizer@{odd[0]}\n")
    attempts.append(
        Attempt(
            "tags with 5,000 digits and other odd names", ["versions", "--repo", hostile.address], "v1.0.1 ", works=True
        )
    )
    attempts.append(Attempt("the same: an unknown version", fetch(hostile, "v77.0.0"), "There are: v"))

    def answer(asked: http.server.BaseHTTPRequestHandler) -> None:
        asked.send_response(500)
        asked.send_header("Content-Type", "text/plain; charset=utf-8")
        asked.end_headers()
        asked.wfile.write((MESSAGE * 1000).encode())

    address = serving(answer)
    for command in (["fetch", "v1.0.0"], ["versions"]):
        title = "a server whose error message is an attack"
        attempts.append(Attempt(title, [*command, "--repo", address], "cannot read http"))
    check(attempts, victim, tmp_path, canary)

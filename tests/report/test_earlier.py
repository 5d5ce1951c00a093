"""`aura report --since REV`: what anybody may have committed is text on the page, and bounded."""

import subprocess
from pathlib import Path

import pytest

from aura.report import earlier, page

HOSTILE = "<script>alert(1)</script>"


@pytest.mark.usefixtures("validated")
def test_a_commit_of_anybody_is_shown_as_text_and_what_it_spoils_is_named():
    good = {name: Path(name).read_bytes() for name in ("params.yaml", "reports/validate/metrics.json")}
    hostile = {
        "params.yaml": f"'{HOSTILE}': '{HOSTILE}'\n? [1, 2]\n: 'half \\ud800'\nlong: {'x' * 9000}\n".encode(),
        "dvc.lock": f"schema: '2.0'\nstages:\n  a:\n    outs:\n    - path: '{HOSTILE}'\n      md5: [1]\n".encode(),
        "reports/validate/metrics.json": b'{"bytes_per_token": "many", "documents": {}, "bytes": NaN}',
        "reports/pretrain/metrics.json": b'{"bits_per_byte": 1e999, "loss": [1], "<b>": 1' + b"0" * 400 + b"}",
    }
    for name, content in hostile.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content)
    commit_all(f"{HOSTILE}\u2028 of \udcff".encode(errors="surrogateescape"))
    for name, content in good.items():
        Path(name).write_bytes(content)
    Path("reports/pretrain/metrics.json").unlink()
    commit_all(f"{HOSTILE} later".encode())
    text = page.write("HEAD~1").read_text(encoding="utf-8")
    assert HOSTILE not in text
    assert text.count("&lt;script&gt;alert(1)") >= 4
    assert "x" * 300 not in text
    assert "was not read" not in text


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"a: [", "while parsing"),
        (b"a: &x {b: *x}", "a value holds itself"),
        (b"a: 0x" + b"f" * 6000, "it has an integer of more than 3,000 digits"),
        (b"- 1", "expected keys with values, got list"),
        (b"\xff\xfe\0", "special characters are not allowed"),
        (b"a: " + b"x" * 300_000, "it has 300,003 bytes; at most 200,000 are read"),
        ("../../secret", "it is a link"),
        (None, "it is a folder"),
    ],
)
@pytest.mark.usefixtures("validated")
def test_a_file_of_a_commit_that_cannot_be_read_is_named_with_the_reason(content: bytes | str | None, told: str):
    path, good = Path("params.yaml"), Path("params.yaml").read_bytes()
    path.unlink()
    if isinstance(content, str):
        path.symlink_to(content)
    elif content is None:
        path.mkdir()
        (path / "inside").write_text("x")
    else:
        path.write_bytes(content)
    commit_all(b"results")
    if path.is_dir() and not path.is_symlink():
        (path / "inside").unlink()
        path.rmdir()
    path.unlink(missing_ok=True)
    path.write_bytes(good)
    found = earlier.at("HEAD")
    assert found is not None
    assert found.params == {}
    assert told in found.unread["params.yaml"]
    assert "params.yaml of that commit was not read" in page.render("HEAD")


def commit_all(message: bytes) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "i18n.commitEncoding=latin-1"]
    for command in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qF", "-"]):
        subprocess.run(["git", *command], check=True, input=message)
